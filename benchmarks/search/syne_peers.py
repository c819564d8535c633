"""Syne Tune's schedulers, called as its tuner calls them; its package is not among the development tools.

pip install --no-deps syne-tune dill sortedcontainers statsmodels patsy xgboost-cpu

Syne Tune knows no conditions: it draws every parameter, and those that do not apply change nothing. A trial whose
worker dies has failed; what it had reported stays among the results.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from benchmarks.search.problems.problem import Problem, Values
from benchmarks.search.simulator import Started
from search_spaces.parameter import Plain
from tune.decisions.define_by_run import StandIn
from tune.decisions.sampler import Space
from tune.decisions.tpe import draw_uniform

_SCORE, _EPOCH = "score", "epoch"

N_DRAWS = 300
"""Random configurations, among which every parameter that applies now and then applies once."""


class SyneTune:
    """One of its multi-fidelity schedulers, by its class's name. Chosen is `best_config`: the lowest of all results."""

    def __init__(self, problem: Problem, seed: int, *, name: str, scheduler: str) -> None:
        from syne_tune.optimizer import baselines  # an extra

        np.random.seed(seed)  # noqa: NPY002 - which its random configurations come from, whatever `random_seed` is
        self._name, self._problem = name, problem
        self._scheduler: Any = getattr(baselines, scheduler)(
            config_space={name: _domain(of) for name, of in _distributions(problem.space).items()},
            metric=_SCORE,
            time_attr=_EPOCH,
            max_t=problem.max_epochs,
            random_seed=seed,
        )
        self._trials: dict[str, Any] = {}
        self._values: dict[str, Values] = {}
        self._best: tuple[float, str] | None = None

    def start(self) -> Started:
        """A trial is always to be had."""
        from syne_tune.backend.trial_status import Trial

        number = len(self._trials)
        config, name = self._scheduler.suggest().config, f"t{number}"
        self._trials[name] = Trial(trial_id=number, config=config, creation_time=datetime.now(UTC))
        self._values[name] = self._problem.space.suggest(StandIn(lambda key, _: config[key]))
        self._scheduler.on_trial_add(self._trials[name])
        return Started(trial=name, values=self._values[name])

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """Stopped where the scheduler says so."""
        self._best = min(self._best or (score, trial), (score, trial))
        result = {_SCORE: score, _EPOCH: epoch}
        if is_last:
            self._scheduler.on_trial_complete(self._trials[trial], result)
            return False
        goes_on: bool = self._scheduler.on_trial_result(self._trials[trial], result) == "CONTINUE"
        return goes_on

    def diverged(self, trial: str, epoch: int) -> None:
        """The training function has raised."""
        del epoch
        self.lost(trial)

    def lost(self, trial: str) -> None:
        """Failed."""
        self._scheduler.on_trial_error(self._trials[trial])

    def chosen(self) -> Mapping[str, Values]:
        """The lowest of all."""
        return {} if self._best is None else {self._name: self._values[self._best[1]]}


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """Of all parameters, whether or not they apply."""
    found: dict[str, BaseDistribution] = {}
    for seed in range(N_DRAWS):
        trial = StandIn(_drawing(seed))
        space.suggest(trial)
        found |= trial.distributions
    return found


def _drawing(seed: int) -> Callable[[str, BaseDistribution], Plain]:
    sampler = RandomSampler(seed=seed)
    return lambda name, distribution: draw_uniform(sampler, name, distribution)


def _domain(distribution: BaseDistribution) -> Any:
    """The same range in Syne Tune's words."""
    from syne_tune import config_space

    match distribution:
        case CategoricalDistribution(choices=choices):
            return config_space.choice(list(choices))
        case IntDistribution(low=low, high=high, log=is_log, step=1):
            return (config_space.lograndint if is_log else config_space.randint)(low, high)
        case FloatDistribution(low=low, high=high, log=is_log, step=None):
            return (config_space.loguniform if is_log else config_space.uniform)(low, high)
    raise ValueError(f"Syne Tune has no {distribution}")
