"""A probe first: regressor and codes trained to their end on frozen features, before everything trains.

Fine-tuning from a random regressor bends pretrained features to fit it; from a fitted one it need not (Kumar et al.
2022, arXiv 2202.10054). A pooled feature is one row a specimen, so all are held at once, and full-batch L-BFGS, which
needs no rate, is done in seconds. It ends when training events that were set aside gain no more.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from trainable.randomness import stream_seed
from trainable.tail.number_code import all_missing
from trainable.tail.tail import Tail
from trainable.training.augment import Batch
from trainable.training.losses import LossOf
from trainable.training.optim import LBFGS

SHARE_SET_ASIDE = 0.2
"""Of the training events, those that say when to stop."""

_ROUND_ITERATIONS, _MOST_ROUNDS, _PATIENCE = 5, 40, 3


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """What a probe sees of specimens. features: what `Tail.embed` makes of them. species, numbers: None if unread."""

    features: Float[Tensor, "specimens embed_dim"]
    domains: Int64[Tensor, " specimens"]
    targets: Float[Tensor, "specimens outputs"]
    weights: Float[Tensor, " specimens"]
    species: Int64[Tensor, " specimens"] | None = None
    numbers: Float[Tensor, "specimens inputs"] | None = None

    @classmethod
    @torch.no_grad()
    def pooled(cls, tail: Tail, batches: Iterable[Batch]) -> Self:
        """One pass of the tail's blocks over all batches."""
        found = [(tail.embed(b.tokens), b.domains, b.targets, b.weights, b.species, b.numbers) for b in batches]
        *columns, species, numbers = zip(*found, strict=True)
        features, domains, targets, weights = map(torch.cat, columns)
        return cls(
            features,
            domains,
            targets,
            weights,
            None if tail.species_code is None else torch.cat(species),
            None if tail.number_code is None else torch.cat(numbers),
        )

    def of(self, rows: Bool[Tensor, " specimens"]) -> "ProbeRows":
        """Some of them."""
        species, numbers = (None if of is None else of[rows] for of in (self.species, self.numbers))
        features, domains, targets, weights = self.features, self.domains, self.targets, self.weights
        return ProbeRows(features[rows], domains[rows], targets[rows], weights[rows], species, numbers)


def set_aside(
    event_ids: Shaped[NDArray[np.generic], " specimens"], *, seed: int
) -> Bool[NDArray[np.bool_], " specimens"]:
    """Which specimens say when to stop: those of a fifth of the events; all where there are too few to divide."""
    events = np.unique(event_ids)
    n_aside = round(SHARE_SET_ASIDE * len(events))
    if n_aside == 0:
        return np.ones(len(event_ids), dtype=np.bool_)
    drawn = np.random.default_rng(stream_seed(seed, "probe")).permutation(events)[:n_aside]
    return np.isin(event_ids, drawn)


def probe_loss(
    tail: Tail,
    rows: ProbeRows,
    *,
    loss_of: LossOf,
    domain_dropout: float,
    unknown_domain: int,
    species_dropout: float = 0.0,
    unknown_species: int = 0,
    number_dropout: float = 0.0,
) -> Float[Tensor, ""]:
    """The training's loss without chance: of dropped and kept domains, species and numbers by their probabilities."""
    of_domains = _kept_and_dropped(rows.domains, domain_dropout, unknown_domain)
    of_species = [(1.0, rows.species)]
    if rows.species is not None:
        of_species = [*_kept_and_dropped(rows.species, species_dropout, unknown_species)]
    of_numbers = [(1.0, rows.numbers)]
    if rows.numbers is not None:
        of_numbers = [(1 - number_dropout, rows.numbers), (number_dropout, all_missing(rows.numbers))]
    loss = torch.zeros_like(rows.weights[0])
    of_all = product(of_domains, of_species, of_numbers)
    for (domain_share, domains), (species_share, species), (number_share, numbers) in of_all:
        if share := domain_share * species_share * number_share:
            losses = loss_of(tail.regress(rows.features, domains, species=species, numbers=numbers), rows.targets)
            loss = loss + share * (rows.weights * losses).mean()
    return loss


def _kept_and_dropped(
    categories: Int64[Tensor, " specimens"], dropout: float, unknown: int
) -> list[tuple[float, Int64[Tensor, " specimens"]]]:
    return [(1 - dropout, categories), (dropout, torch.full_like(categories, unknown))]


def fit_probe(
    parameters: Sequence[Tensor],
    loss_of: Callable[[ProbeRows], Tensor],
    rows: ProbeRows,
    aside: Bool[NDArray[np.bool_], " specimens"],
) -> None:
    """Move the parameters to where the loss of the rows set aside is least on the way to the others' minimum.

    loss_of: differentiable in the parameters, and without chance.
    """
    is_aside = torch.from_numpy(aside).to(rows.features.device)
    judged, fitted = rows.of(is_aside), rows if aside.all() else rows.of(~is_aside)
    best = _Best(parameters)
    optimizer = LBFGS(parameters, max_iter=_ROUND_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> float:
        best.offer(loss_of, judged)  # a round is longer than the way to where those set aside lose again
        optimizer.zero_grad()
        loss = loss_of(fitted)
        loss.backward()
        return loss.item()

    n_without_gain = 0
    for _ in range(_MOST_ROUNDS):
        before = best.value
        optimizer.step(closure)
        n_without_gain = 0 if best.value < before else n_without_gain + 1
        if n_without_gain == _PATIENCE:
            break
    best.offer(loss_of, judged)
    best.put_back()


class _Best:
    """The parameters where a loss was least."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.value = math.inf
        self._parameters = parameters
        self._kept: list[Tensor] = []

    @torch.no_grad()
    def offer(self, loss_of: Callable[[ProbeRows], Tensor], rows: ProbeRows) -> None:
        value = loss_of(rows).item()
        if not self._kept or value < self.value:  # NaN is not
            self.value = value
            self._kept = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def put_back(self) -> None:
        for parameter, kept in zip(self._parameters, self._kept, strict=True):
            parameter.copy_(kept)
