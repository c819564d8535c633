"""Augmentation of cached features during training; a strength of 0 is exactly off and draws nothing."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.randomness import make_generator, stream_seed
from trainable.tail.number_code import all_missing
from trainable.training.bags import borders, partners_in, places_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Specimens of one step on the training device.

    targets: labels as they are learnt, of classes a share of each.
    tokens: as the store has them, or float32. species, numbers: None where no code reads them. After mixup:
    partner_domains, partner_species, and shares, the part of the own specimen in the mixture. bags: each specimen's, on
    the CPU, ascending; None where each is alone.
    """

    tokens: Float[Tensor, "batch tokens width"]
    domains: Int64[Tensor, " batch"]
    targets: Float[Tensor, "batch outputs"]
    weights: Float[Tensor, " batch"]
    partner_domains: Int64[Tensor, " batch"] | None = None
    shares: Float[Tensor, " batch"] | None = None
    species: Int64[Tensor, " batch"] | None = None
    partner_species: Int64[Tensor, " batch"] | None = None
    bags: Int64[Tensor, " batch"] | None = None
    numbers: Float[Tensor, "batch inputs"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, n_parts: int) -> list["Batch"]:
        """At most `n_parts` batches of consecutive specimens, as equal as can be; no bag is cut."""
        if n_parts == 1 or len(self) == 1:
            return [self]
        columns = [getattr(self, f.name) for f in fields(self)]
        cuts: int | list[int] = min(n_parts, len(self)) if self.bags is None else borders(self.bags, n_parts)
        n_parts = cuts if isinstance(cuts, int) else len(cuts) + 1
        chunks = [[None] * n_parts if c is None else c.tensor_split(cuts) for c in columns]
        return [Batch(*parts) for parts in zip(*chunks, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strengths:
    """How strongly each augmentation acts; the fields are those of `AugmentConfig`.

    copy_probability: that one of `image_copies` copies is read in place of the image.
    """

    feature_noise: float = 0.0
    mixup_alpha: float = 0.0
    specimen_dropout: float = 0.0
    domain_dropout: float = 0.0
    species_dropout: float = 0.0
    number_dropout: float = 0.0
    image_copies: int = 0
    copy_probability: float = 0.0

    def ramped(self, *, epoch: int, epochs: int, ramp_fraction: float) -> "Strengths":
        """The strengths in epoch `epoch` (from 0) of `epochs`: linearly from 0 over the first `ramp_fraction`.

        Mixup is ramped by its alpha: Beta(alpha, alpha) tends to "all of one, none of the other" as alpha tends to 0.
        """
        if epoch >= ramp_fraction * epochs:
            return self
        share = epoch / (ramp_fraction * epochs)
        return Strengths(
            feature_noise=self.feature_noise * share,
            mixup_alpha=self.mixup_alpha * share,
            specimen_dropout=self.specimen_dropout * share,
            domain_dropout=self.domain_dropout * share,
            species_dropout=self.species_dropout * share,
            number_dropout=self.number_dropout * share,
            image_copies=self.image_copies,
            copy_probability=self.copy_probability * share,
        )


class EpochAugmentation:
    """The augmentation of one epoch; each kind draws from a stream of its own that starts with the epoch."""

    def __init__(
        self,
        strengths: Strengths,
        *,
        channel_std: Float[Tensor, " width"],
        unknown_domain: int,
        unknown_species: int = 0,
        seed: int,
        epoch: int,
    ) -> None:
        """channel_std: the tap's SDs, on the training device. unknown_domain, unknown_species: indices of *unknown*."""
        self.strengths = strengths
        self._noise_std = strengths.feature_noise * channel_std
        self._unknown_domain, self._unknown_species = unknown_domain, unknown_species
        self._specimens = make_generator(seed, "specimens", epoch)
        self._noise = make_generator(seed, "noise", epoch, channel_std.device)
        self._domains = make_generator(seed, "domains", epoch)
        self._species = make_generator(seed, "species", epoch)
        self._numbers = make_generator(seed, "numbers", epoch)
        self._partners = make_generator(seed, "mixup", epoch)
        self._shares = np.random.default_rng(stream_seed(seed, "mixup", epoch))
        self._copies = make_generator(seed, "copies", epoch)

    def versions(self, n_specimens: int) -> Int64[NDArray[np.int64], " specimens"] | None:
        """What to read in this epoch of each of the data's specimens: 0, its image, or the number of a copy.

        None where there are no copies. One draw a specimen: the same however batches are cut.
        """
        if self.strengths.image_copies == 0:
            return None
        draws = torch.rand((2, n_specimens), generator=self._copies, dtype=torch.float64).numpy()
        copies = 1 + np.floor(draws[1] * self.strengths.image_copies).astype(np.int64)
        return np.where(draws[0] < self.strengths.copy_probability, copies, 0)

    def keep(self, indices: Int64[NDArray[np.int64], " batch"]) -> Int64[NDArray[np.int64], " kept"]:
        """Specimens that stay in the step: each is left out with the dropout's probability, never all."""
        if self.strengths.specimen_dropout == 0 or len(indices) == 0:
            return indices
        draws = torch.rand(len(indices), generator=self._specimens).numpy()
        kept = draws >= self.strengths.specimen_dropout
        kept[draws.argmax()] = True
        return indices[kept]

    def apply(self, batch: Batch) -> Batch:
        """Noise, dropout of what is known, then mixup, in float32; noise is added in place to tokens of that type."""
        if self.strengths.feature_noise or self.strengths.mixup_alpha:
            batch = replace(batch, tokens=batch.tokens.float())
        if self.strengths.feature_noise:
            noise = torch.randn(
                batch.tokens.shape, generator=self._noise, device=batch.tokens.device, dtype=batch.tokens.dtype
            )
            batch.tokens.addcmul_(noise, self._noise_std)
        if self.strengths.domain_dropout:
            dropped = torch.rand(len(batch), generator=self._domains) < self.strengths.domain_dropout
            domains = batch.domains.masked_fill(dropped.to(batch.domains.device), self._unknown_domain)
            batch = replace(batch, domains=domains)
        if self.strengths.species_dropout and batch.species is not None:
            dropped = torch.rand(len(batch), generator=self._species) < self.strengths.species_dropout
            species = batch.species.masked_fill(dropped.to(batch.species.device), self._unknown_species)
            batch = replace(batch, species=species)
        if self.strengths.number_dropout and batch.numbers is not None:
            dropped = torch.rand(len(batch), generator=self._numbers) < self.strengths.number_dropout
            is_dropped = dropped.to(batch.numbers.device)[:, None]
            batch = replace(batch, numbers=torch.where(is_dropped, all_missing(batch.numbers), batch.numbers))
        return self._mix(batch) if self.strengths.mixup_alpha else batch

    def _pairs(self, n: int) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
        """A partner for each of n, and the part of the own one, on the CPU."""
        alpha = self.strengths.mixup_alpha
        partner = torch.randperm(n, generator=self._partners)
        return partner, torch.from_numpy(self._shares.beta(alpha, alpha, size=n).astype(np.float32))

    def _mix(self, batch: Batch) -> Batch:
        """Each specimen with a partner of the same batch, in a proportion of its own (Zhang 2018, arXiv 1710.09412).

        In bags, a bag's specimens with those of one other bag, all in one proportion: of specimens with partners of
        their own a mean says little of any event.
        """
        device = batch.tokens.device
        if batch.bags is None:
            partner, shares = self._pairs(len(batch))
        else:
            places = places_of(batch.bags)
            other, of_bag = self._pairs(int(places[-1]) + 1)
            partner, shares = partners_in(places, other), of_bag[places]
        partner, shares = partner.to(device), shares.to(device)
        return Batch(
            tokens=torch.lerp(batch.tokens[partner], batch.tokens, shares[:, None, None]),
            domains=batch.domains,
            targets=torch.lerp(batch.targets[partner], batch.targets, shares[:, None]),
            weights=torch.lerp(batch.weights[partner], batch.weights, shares),
            partner_domains=batch.domains[partner],
            shares=shares,
            species=batch.species,
            partner_species=None if batch.species is None else batch.species[partner],
            bags=batch.bags,
            numbers=None
            if batch.numbers is None
            else torch.lerp(batch.numbers[partner], batch.numbers, shares[:, None]),
        )
