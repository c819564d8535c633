"""In what units the numbers known when predicting are read: of unit SD over the training specimens, or missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from numpy.typing import NDArray

from trainable.plain_values import JsonObject
from trainable.scoring.crps import Floats

MOST_SDS = 5.0
"""A number further from the mean counts as so far: an odd cell is no reason for an odd forecast."""

SD_OF_NONE = 1e30
"""Of a number that never differs in training: whatever it is later, it counts as its mean."""


@dataclass(frozen=True, eq=False, slots=True)
class NumberUnits:
    """names: of the numbers. mean, sd: of those that training specimens have; where these do not differ, or there are
    none, `SD_OF_NONE`.
    """

    names: tuple[str, ...]
    mean: Float64[Floats, " numbers"]
    sd: Float64[Floats, " numbers"]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        numbers: Float[NDArray[np.float64], "specimens numbers"],
        train: Int64[NDArray[np.int64], " train"],
    ) -> Self:
        """From the training specimens alone; one that never differs among them says nothing, whatever it is later."""
        found = [column[np.isfinite(column)] for column in numbers[train].T]
        mean = [column.mean() if len(column) else 0.0 for column in found]
        return cls(tuple(names), np.array(mean), np.array([_spread(column) for column in found]))

    def read(self, numbers: Float[NDArray[np.float64], "rows numbers"]) -> Float32[NDArray[np.float32], "rows inputs"]:
        """Standardised numbers within `MOST_SDS`, 0 where missing, and beside them 1 for each that is missing."""
        is_missing = ~np.isfinite(numbers)
        with np.errstate(over="ignore"):
            standard = np.clip((numbers - self.mean) / self.sd, -MOST_SDS, MOST_SDS)
        return np.concatenate([np.where(is_missing, 0.0, standard), is_missing], axis=1).astype(np.float32)

    def to_dict(self) -> list[JsonObject]:
        """A plain object a number, as an exported model and a checkpoint keep it."""
        return [
            {"name": name, "mean": float(mean), "sd": float(sd)}
            for name, mean, sd in zip(self.names, self.mean, self.sd, strict=True)
        ]


def _spread(column: Float64[Floats, " given"]) -> float:
    """The SD; where values are all equal, so large a one that others read as the mean: nothing was learnt of them."""
    found = float(column.std()) if len(column) and column.min() < column.max() else 0.0
    return found or SD_OF_NONE
