"""Hartmann's functions with epochs: a flattened, noisy one at first, the true one at the end.

Hartmann 1973; the epochs as in mf-prior-bench (Mallik et al. 2023, "PriorBand", arXiv 2306.12370, appendix): with the
share of the logarithm of the epochs that is still to come, the four heights fall by `bias`, and the scores rise by
half-normal noise of scale `noise`. With its preset "moderate" the noise of the first epoch is as wide as the function.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.problems.problem import DrawnSpace, Training, Values, noise_of
from search_spaces.parameter import Draws, Plain
from tune.decisions.sampler import Space

Floats = NDArray[np.float64]

MODERATE, PLAIN = (3.0, 3.0), (0.5, 0.1)
"""Bias and noise: of the preset of that name, and of none."""

MINIMUM = {3: -3.86278, 6: -3.32237}

_HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
_NARROWNESS = {
    3: np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]], dtype=float),
    6: np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]],
        dtype=float,
    ),
}
_PLACES = {
    3: np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]) * 1e-4,
    6: np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    * 1e-4,
}


def hartmann(x: Floats, *, lowered: float | Floats = 0.0) -> Floats:
    """The function of 3 or 6 numbers in [0, 1]. lowered: by how much the heights of its four pits are."""
    n = len(x)
    depths = np.exp(-np.sum(_NARROWNESS[n] * (x - _PLACES[n]) ** 2, axis=1))
    found: Floats = -(_HEIGHTS - np.asarray(lowered)[..., None]) @ depths
    return found


@dataclass(frozen=True)
class Hartmann:
    """Instance `number` has 6 dimensions where even, 3 where odd, and noise of its own."""

    number: int
    bias: float = MODERATE[0]
    noise: float = MODERATE[1]
    max_epochs: int = 27

    @property
    def space(self) -> Space:
        """A number from 0 to 1 for each dimension."""
        return DrawnSpace(self._draw)

    @property
    def n_dimensions(self) -> int:
        """6 or 3."""
        return 3 if self.number % 2 else 6

    def train(self, values: Values) -> Training:
        """An epoch takes a half to two seconds, by the first dimension."""
        to_come = 1 - np.log(np.arange(1, self.max_epochs + 1)) / math.log(self.max_epochs)
        noise = np.abs(noise_of(values, self.number).normal(size=self.max_epochs)) * self.noise * to_come
        scores = hartmann(self._place(values), lowered=self.bias * to_come) + noise
        return Training(scores=tuple(scores.tolist()), epoch_seconds=2.0 ** (2.0 * float(values["x0"]) - 1.0))

    def truth(self, values: Values) -> float:
        """Of the last epoch, which has no noise."""
        return float(hartmann(self._place(values)))

    def _draw(self, trial: Draws) -> dict[str, Plain]:
        names = [f"x{i}" for i in range(self.n_dimensions)]
        return {name: trial.suggest_float(name, 0.0, 1.0, log=False) for name in names}

    def _place(self, values: Values) -> Floats:
        return np.array([float(values[f"x{i}"]) for i in range(self.n_dimensions)])
