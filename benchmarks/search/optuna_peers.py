"""Optuna's own searches, as several processes with `study.optimize` run them: ask, report, prune, tell."""

from collections.abc import Mapping
from typing import cast

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from benchmarks.search.problems.problem import Problem, Values
from benchmarks.search.simulator import Started
from search_spaces.parameter import Draws


class OptunaPeer:
    """A sampler and a pruner. The objective returns its last score; one that raises, or whose process dies, failed."""

    def __init__(self, problem: Problem, *, name: str, sampler: BaseSampler, pruner: BasePruner | None = None) -> None:
        self._name, self._problem = name, problem
        self._study = optuna.create_study(sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())
        self._trials: dict[str, Trial] = {}
        self._best: tuple[float, str] | None = None
        self._values: dict[str, Values] = {}

    def start(self) -> Started:
        """A trial is always to be had."""
        trial = self._study.ask()
        name = f"t{trial.number}"
        self._trials[name] = trial
        self._values[name] = self._problem.space.suggest(cast(Draws, trial))  # whose overloads are too many for mypy
        return Started(trial=name, values=self._values[name])

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """Pruned where the pruner says so."""
        own = self._trials[trial]
        own.report(score, epoch)
        if is_last:
            self._study.tell(own, score)
            self._best = min(self._best or (score, trial), (score, trial))
            return False
        if own.should_prune():
            self._study.tell(own, state=TrialState.PRUNED)
            return False
        return True

    def diverged(self, trial: str, epoch: int) -> None:
        """The objective has raised."""
        del epoch
        self.lost(trial)

    def lost(self, trial: str) -> None:
        """Failed."""
        self._study.tell(self._trials[trial], state=TrialState.FAIL)

    def chosen(self) -> Mapping[str, Values]:
        """`study.best_trial`: of those that came to their end."""
        return {} if self._best is None else {self._name: self._values[self._best[1]]}
