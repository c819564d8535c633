"""In what units targets are learnt: a regressor's weights, rates and first losses are laid out for an SD near 1."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped
from numpy.typing import NDArray

from trainable.scoring.crps import Floats
from trainable.scoring.targets import Targets, event_labels


@dataclass(frozen=True, eq=False, slots=True)
class LabelUnits:
    """Label = centre + spread x what is learnt, a value an output; 0 and 1 for standard units and for classes."""

    centre: Float64[Floats, " outputs"]
    spread: Float64[Floats, " outputs"]

    @classmethod
    def of(
        cls,
        targets: Targets,
        labels: Float[NDArray[np.floating], "specimens targets"],
        event_ids: Shaped[NDArray[np.generic], " specimens"],
        train: Int64[NDArray[np.int64], " train"],
    ) -> Self:
        """From the training events alone, each counted once: held-out labels have no part in what is learnt."""
        if targets.task.has_classes:
            n_classes = targets.task.n_outputs
            return cls(np.zeros(n_classes), np.ones(n_classes))
        is_standard = np.array([target.is_standard for target in targets.task.targets])
        events = event_labels(labels, event_ids, train)
        found = events.std(axis=0)
        spread = np.where(is_standard, 1.0, np.where(found > 0, found, targets.spread))
        return cls(np.where(is_standard, 0.0, events.mean(axis=0)), spread)

    @property
    def are_the_targets_own(self) -> bool:
        """Whether nothing is converted."""
        return not self.centre.any() and bool((self.spread == 1).all())

    def learnt(self, labels: Float[NDArray[np.floating], "rows targets"]) -> Float[NDArray[np.float32], "rows targets"]:
        """Labels in the units that are learnt."""
        if self.are_the_targets_own:
            return np.asarray(labels, dtype=np.float32)
        return ((labels.astype(np.float64) - self.centre) / self.spread).astype(np.float32)

    def labels(self, learnt: Float[NDArray[np.float32], "rows outputs"]) -> Float[NDArray[np.float32], "rows outputs"]:
        """The inverse of `learnt`, of predictions."""
        if self.are_the_targets_own:
            return learnt
        return (learnt.astype(np.float64) * self.spread + self.centre).astype(np.float32)
