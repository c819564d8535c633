"""The program's whole way: from its starting points through a search to a choice on folds that it did not search by.

A part of the budget is kept for that. Each run on a further fold is counted as one full length, though those of good
configurations take about half on `recorded`, and two thirds on `fine-tuning`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.search.ours import Change, Ours
from benchmarks.search.problems.problem import ProblemOfFolds, Values, fingerprint
from search_spaces.space import DEFAULT

PerFold = tuple[int, ...]
"""How many of the best run each further fold, beside the default; who goes on to the next has the lowest mean."""


def n_runs(n_of_fold: PerFold) -> int:
    """Those of the default included."""
    return sum(n_of_fold) + len(n_of_fold)


class Confirming(Ours):
    """What it would ship now is what it would if its search ended here: a confirmation takes no time in it."""

    def __init__(self, problem: ProblemOfFolds, seed: int, *, name: str, n_of_fold: PerFold) -> None:
        super().__init__(problem, seed, change=Change(starts=problem.starts), name=name)
        self._problem, self._n_of_fold = problem, n_of_fold

    def chosen(self) -> Mapping[str, Values]:
        """Without further folds, what the search itself chooses."""
        chosen = super().chosen()
        if not self._n_of_fold:
            return chosen
        return {name: confirmed(self._problem, self.ranked(), self._n_of_fold) for name in chosen}


def confirmed(problem: ProblemOfFolds, ranked: Sequence[Values], n_of_fold: PerFold) -> Values:
    """The lowest mean over the further folds, which may be the default's; ranked: the search's best first."""
    default = problem.starts[DEFAULT]
    runs: dict[int, list[Sequence[float]]] = {}

    def mean(values: Values) -> float:
        return lowest_of_mean(runs[fingerprint(values)])

    going = [values for values in ranked if values != default]
    for fold, n in enumerate(n_of_fold, start=1):
        going = (sorted(going, key=mean) if fold > 1 else going)[:n]
        for values in (*going, default):
            runs.setdefault(fingerprint(values), []).append(problem.train_elsewhere(values, fold).scores)
    return min((*going, default), key=mean)


def lowest_of_mean(curves: Sequence[Sequence[float]]) -> float:
    """Of the mean curve over folds, at its best epoch; infinite where one diverged."""
    if not all(map(math.isfinite, (score for curve in curves for score in curve))):
        return math.inf
    return float(np.mean(np.array(curves), axis=0).min())
