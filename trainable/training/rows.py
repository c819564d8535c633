"""What belongs to each specimen beside its features, on the training device: labels, indices of codes, loss weight."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.config import LossConfig
from trainable.training.augment import Batch
from trainable.training.feed import FeatureFeed
from trainable.training.label_units import LabelUnits
from trainable.training.losses import LossOf, class_shares, class_weights, event_weights
from trainable.training.number_units import NumberUnits
from trainable.training.resident_feed import ResidentFeed
from trainable.training.trial_data import TrialData


@dataclass(frozen=True, eq=False)
class Rows:
    """labels: in the units that are learnt, of classes a share of each. weights: 0 for specimens that are held out.
    species, numbers: None where no code reads them; numbers as `NumberUnits.read` gives them.
    """

    labels: Float32[Tensor, "specimens outputs"]
    domains: Int64[Tensor, " specimens"]
    weights: Float32[Tensor, " specimens"]
    species: Int64[Tensor, " specimens"] | None = None
    numbers: Float32[Tensor, "specimens inputs"] | None = None

    @classmethod
    def place(
        cls,
        data: TrialData,
        *,
        units: LabelUnits,
        known_domains: Sequence[int] | Sequence[str],
        known_species: Sequence[str] | None = None,
        number_units: NumberUnits | None = None,
        loss: LossConfig,
        device: torch.device,
    ) -> Self:
        """known_domains: ascending. known_species, number_units: the same, or None where no code reads them."""
        train, task = data.split.train, data.targets.task
        weights = np.zeros(len(data.labels), dtype=np.float32)
        weights[train] = event_weights(data.event_ids[train], exponent=loss.event_exponent)
        if task.has_classes:
            classes = data.labels[:, 0].astype(np.int64)
            weights[train] = class_weights(classes[train], weights[train], exponent=loss.class_exponent)
            learnt = class_shares(classes, n_classes=task.n_outputs, smoothing=loss.label_smoothing)
        else:
            learnt = units.learnt(data.labels)
        return cls(
            labels=torch.from_numpy(learnt).to(device),
            domains=torch.from_numpy(_places(data.domain_ids, known_domains)).to(device),
            weights=torch.from_numpy(weights).to(device),
            species=None
            if known_species is None
            else torch.from_numpy(_places(data.species, known_species)).to(device),
            numbers=None
            if number_units is None or data.numbers is None
            else torch.from_numpy(number_units.read(data.numbers)).to(device),
        )

    def batches(
        self,
        index_batches: Sequence[Int64[NDArray[np.int64], " _"]],
        feed: FeatureFeed | ResidentFeed,
        versions: Int64[NDArray[np.int64], " specimens"] | None = None,
    ) -> Iterator[Batch]:
        """For each non-empty array of specimens: what belongs to them, each valid until the next one is taken.

        versions: of all specimens, what their features are to be of: 0, the image, or the number of a copy.
        """
        if not index_batches:
            return
        order = torch.from_numpy(np.concatenate(index_batches)).to(self.labels.device)
        sizes = [len(indices) for indices in index_batches]

        def batched(column: Tensor) -> Iterable[Tensor]:
            parts: Sequence[Tensor] = column.index_select(0, order).split(sizes)
            return parts

        species, numbers = (repeat(None) if of is None else batched(of) for of in (self.species, self.numbers))
        columns = [batched(column) for column in (self.domains, self.labels, self.weights)]
        rows_of_batches = index_batches
        if versions is not None:
            rows_of_batches = [indices + len(versions) * versions[indices] for indices in index_batches]
        for tokens, domains, targets, weights, names, known in zip(
            feed.batches(rows_of_batches), *columns, species, numbers, strict=False
        ):
            yield Batch(tokens, domains, targets, weights, species=names, numbers=known)

    @torch.no_grad()
    def loss_of_zero(self, train: Int64[NDArray[np.int64], " train"], loss_of: LossOf) -> float:
        """The training loss of always predicting 0 (with sigma 1): about that of an untrained regressor."""
        rows = torch.from_numpy(train).to(self.labels.device)
        targets = self.labels[rows]
        return float((self.weights[rows] * loss_of(torch.zeros_like(targets), targets)).mean())


def _places(values: NDArray[Any], known: Sequence[Any]) -> Int64[NDArray[np.int64], " specimens"]:
    """Each value's place among the known ones, which ascend; `len(known)`, *unknown*, for all others."""
    if not known:
        return np.zeros(len(values), dtype=np.int64)
    return np.where(np.isin(values, known), np.searchsorted(known, values), len(known)).astype(np.int64)
