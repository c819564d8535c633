"""What belongs to each specimen beside its features, on the training device: labels, domain index, loss weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.training.augment import Batch
from trainable.training.feed import FeatureFeed
from trainable.training.losses import event_weights, specimen_losses
from trainable.training.resident_feed import ResidentFeed
from trainable.training.trial_data import TrialData


@dataclass(frozen=True, eq=False)
class Rows:
    """weights: 0 for specimens that are held out."""

    labels: Float32[Tensor, "specimens targets"]
    domains: Int64[Tensor, " specimens"]
    weights: Float32[Tensor, " specimens"]

    @classmethod
    def place(
        cls, data: TrialData, *, known_domains: Sequence[int], event_exponent: float, device: torch.device
    ) -> Self:
        """known_domains: ascending; a domain's index is its place among them, all others are `len(known_domains)`."""
        train = data.split.train
        is_known = np.isin(data.domain_ids, known_domains)
        domains = np.where(is_known, np.searchsorted(known_domains, data.domain_ids), len(known_domains))
        weights = np.zeros(len(data.labels), dtype=np.float32)
        weights[train] = event_weights(data.event_ids[train], exponent=event_exponent)
        return cls(
            labels=torch.from_numpy(np.asarray(data.labels, dtype=np.float32)).to(device),
            domains=torch.from_numpy(domains.astype(np.int64)).to(device),
            weights=torch.from_numpy(weights).to(device),
        )

    def batches(
        self, index_batches: Sequence[Int64[NDArray[np.int64], " _"]], feed: FeatureFeed | ResidentFeed
    ) -> Iterator[Batch]:
        """For each non-empty array of specimens: what belongs to them, each valid until the next one is taken."""
        if not index_batches:
            return
        order = torch.from_numpy(np.concatenate(index_batches)).to(self.labels.device)
        sizes = [len(indices) for indices in index_batches]
        columns = (c.index_select(0, order).split(sizes) for c in (self.domains, self.labels, self.weights))
        yield from map(Batch, feed.batches(index_batches), *columns)

    def loss_of_zero(self, train: Int64[NDArray[np.int64], " train"], *, learns_sigma: bool) -> float:
        """The training loss of always predicting 0 (with sigma 1): about that of an untrained regressor."""
        rows = torch.from_numpy(train).to(self.labels.device)
        targets = self.labels[rows]
        log_sigma = torch.zeros_like(targets[0]) if learns_sigma else None
        losses = specimen_losses(torch.zeros_like(targets), targets, log_sigma)
        return float((self.weights[rows] * losses).mean())
