"""Random configurations for one epoch each, the lowest of which is chosen.

Egele et al. 2024, "The Unreasonable Effectiveness Of Early Discarding After One Epoch", arXiv 2404.04111.
"""

from collections.abc import Mapping

from benchmarks.search.problems.problem import Problem, Values, drawn_at_random
from benchmarks.search.simulator import Started


class OneEpoch:
    """Stops every trial after its first epoch."""

    def __init__(self, problem: Problem, seed: int, *, name: str) -> None:
        self._problem, self._seed, self._name = problem, seed, name
        self._values: list[Values] = []
        self._best: tuple[float, int] | None = None

    def start(self) -> Started:
        """A trial is always to be had."""
        number = len(self._values)
        self._values.append(drawn_at_random(self._problem.space, self._seed * 100_003 + number))
        return Started(trial=str(number), values=self._values[-1])

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """No trial goes on."""
        del epoch, is_last
        self._best = min(self._best or (score, int(trial)), (score, int(trial)))
        return False

    def diverged(self, trial: str, epoch: int) -> None:
        """It is not chosen."""

    def lost(self, trial: str) -> None:
        """It is not chosen."""

    def chosen(self) -> Mapping[str, Values]:
        """The lowest first epoch."""
        return {} if self._best is None else {self._name: self._values[self._best[1]]}
