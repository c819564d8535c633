"""Ray Tune's searcher and scheduler, called as its controller calls them; no Ray is started.

A trial whose worker dies has failed: Ray's `FailureConfig` retries nothing unless told to. One that diverges has, too.
"""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.problems.problem import Problem, Values, drawn_at_random
from benchmarks.search.simulator import Started
from search_spaces.parameter import Plain

_SCORE = "score"

LOWEST = ", lowest"
"""Behind a method's name: chosen by the lowest score of all."""


class RayAsha:
    """`ASHAScheduler(max_t=epochs)`, with `OptunaSearch(space)` or with random configurations. starts: come first.

    Ways of choosing: `get_best_result(metric, mode)` takes the lowest last score; with `scope="all"` the lowest of all.
    """

    def __init__(
        self, problem: Problem, seed: int, *, name: str, is_random: bool = False, starts: Sequence[Values] = ()
    ) -> None:
        np.random.seed(seed)  # noqa: NPY002 - which the scheduler draws its bracket from
        self._name, self._problem, self._seed = name, problem, seed
        self._scheduler = ASHAScheduler(metric=_SCORE, mode="min", max_t=problem.max_epochs)
        self._search: Any = None
        if not is_random:
            first = [dict(values) for values in starts] or None
            space = _define_by_run(problem)
            self._search = OptunaSearch(space, points_to_evaluate=first, metric=_SCORE, mode="min", seed=seed)
        self._trials: dict[str, SimpleNamespace] = {}
        self._values: dict[str, Values] = {}
        self._last: dict[str, float] = {}
        self._lowest: dict[str, float] = {}

    def start(self) -> Started:
        """A trial is always to be had."""
        number = len(self._values)
        name = f"t{number}"
        if self._search is None:
            values: Values = drawn_at_random(self._problem.space, self._seed * 100_003 + number)
        else:
            values = _flat(self._search.suggest(name))
        self._values[name] = values
        self._trials[name] = SimpleNamespace(trial_id=name)
        self._scheduler.on_trial_add(None, self._trials[name])
        return Started(trial=name, values=values)

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """The searcher hears of all epochs but the one at which a trial is stopped."""
        self._last[trial] = score
        self._lowest[trial] = min(score, self._lowest.get(trial, score))
        result = {"training_iteration": epoch, _SCORE: score}
        if is_last:  # the training function has returned
            self._scheduler.on_trial_complete(None, self._trials[trial], result)
        elif self._scheduler.on_trial_result(None, self._trials[trial], result) == TrialScheduler.CONTINUE:
            if self._search is not None:
                self._search.on_trial_result(trial, result)
            return True
        if self._search is not None:
            self._search.on_trial_complete(trial, result)
        return False

    def diverged(self, trial: str, epoch: int) -> None:
        """The training function has raised."""
        del epoch
        self.lost(trial)

    def lost(self, trial: str) -> None:
        """An error, and no best result is taken from it."""
        self._last.pop(trial, None)
        self._lowest.pop(trial, None)
        self._scheduler.on_trial_error(None, self._trials[trial])
        if self._search is not None:
            self._search.on_trial_complete(trial, error=True)

    def chosen(self) -> Mapping[str, Values]:
        """Both ways."""
        if not self._last:
            return {}
        return {
            self._name: self._values[min(self._last, key=self._last.__getitem__)],
            f"{self._name}{LOWEST}": self._values[min(self._lowest, key=self._lowest.__getitem__)],
        }


def _flat(values: Mapping[str, Any]) -> Values:
    """Of a parameter whose name has a slash Ray makes a mapping of its own."""
    found: dict[str, Plain] = {}
    for name, value in values.items():
        found |= {f"{name}/{k}": v for k, v in _flat(value).items()} if isinstance(value, Mapping) else {name: value}
    return found


def _define_by_run(problem: Problem) -> Any:
    def space(trial: Any) -> None:
        problem.space.suggest(trial)

    return space
