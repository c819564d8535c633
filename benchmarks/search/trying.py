"""One search of one instance, and what its choices are truly worth."""

import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import optuna

from benchmarks.recorded_curves import RESULTS as CURVES
from benchmarks.search.confirming import n_runs
from benchmarks.search.methods import FOLDS, METHODS
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.problems.hartmann import MINIMUM, PLAIN, Hartmann
from benchmarks.search.problems.lcbench import LcBench
from benchmarks.search.problems.problem import Problem, drawn_at_random
from benchmarks.search.problems.recorded import Recorded, recorded_worlds
from benchmarks.search.results import Found, looks_until
from benchmarks.search.simulator import Cluster, simulate

N_RANDOM = 200
"""Configurations that the median is of."""


@dataclass(frozen=True, slots=True)
class Places:
    """Files that problems are made from; lcbench: None where it is not there."""

    curves: Path = CURVES
    lcbench: Path | None = None


def _lcbench(places: Places, number: int) -> Problem:
    assert places.lcbench is not None  # the command line sees to it
    return LcBench(number, places.lcbench)


PROBLEMS: dict[str, Callable[[Places, int], Problem]] = {
    "hartmann": lambda _, number: Hartmann(number),
    "hartmann, plain": lambda _, number: Hartmann(number, *PLAIN),
    "fine-tuning": lambda _, number: FineTuning(number),
    "lcbench": _lcbench,
    "recorded": lambda places, number: Recorded(number, places.curves),
    "recorded, one fold": lambda places, number: Recorded(number, places.curves, n_folds=1),
}
"""Name -> instance of a number."""


OF_FOLDS = ("fine-tuning", "recorded")
"""Those that are a `ProblemOfFolds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A search to be made. lengths: its budget."""

    problem: str
    instance: int
    method: str
    lengths: float
    places: Places

    @property
    def key(self) -> tuple[str, str, int, str]:
        """As `Found.key`."""
        return self.problem, basis(self.problem, self.places), self.instance, self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Of one instance: true values of random configurations, and the seconds of one full length."""

    median: float
    best: float
    full_seconds: float


def run(job: Job) -> Found:
    """Search, and look up what was found."""
    problem = PROBLEMS[job.problem](job.places, job.instance)
    looks, cluster, reference = looks_until(job.lengths), Cluster(), reference_of(problem)
    second = reference.full_seconds / cluster.n_workers
    searcher = METHODS[job.method](problem, job.instance)
    kept = n_runs(FOLDS.get(job.method, ()))
    ends = [max(0.0, look - kept) * second for look in looks]  # of the search, what it keeps for further folds left out
    seen = simulate(searcher, problem, ends, cluster=cluster, seed=job.instance)
    tried = [problem.truth(values) for values in seen[-1].tried]
    return Found(
        problem=job.problem,
        instance=job.instance,
        method=job.method,
        basis=basis(job.problem, job.places),
        looks=looks,
        trials=tuple(look.n_trials for look in seen),
        # until there is something to choose, what was begun first
        chosen={
            name: tuple(problem.truth(look.chosen.get(name, look.tried[0])) for look in seen)
            for name in seen[-1].chosen
        },
        tried=tuple(min(tried[: look.n_trials]) for look in seen),
        median=reference.median,
        best=reference.best,
    )


@lru_cache(maxsize=256)
def reference_of(problem: Problem) -> Reference:
    """best: the known optimum, where there is one."""
    random = [problem.truth(drawn_at_random(problem.space, 10**6 + i)) for i in range(N_RANDOM)]
    known = MINIMUM[problem.n_dimensions] if isinstance(problem, Hartmann) else np.inf
    return Reference(
        median=float(np.median(random)),
        best=float(min(known, *random)),
        full_seconds=full_seconds(problem, Cluster()),
    )


def full_seconds(problem: Problem, cluster: Cluster) -> float:
    """What it takes one worker to train a random configuration for the full length, on average."""
    drawn = [problem.train(drawn_at_random(problem.space, 2 * 10**6 + i)) for i in range(100)]
    return cluster.startup_seconds + problem.max_epochs * float(np.mean([one.epoch_seconds for one in drawn]))


def basis(problem: str, places: Places) -> str:
    """What the problem is made from, in words that change with it."""
    if not problem.startswith("recorded"):
        return ""
    return ", ".join(f"{len(world.names)}" for world in recorded_worlds(places.curves)) + " configurations"


def prepare() -> None:
    """A process that searches: one thread, and no word of Optuna's or Syne Tune's."""
    os.environ["OMP_NUM_THREADS"] = "1"
    _one_thread()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("syne_tune").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@cache
def _one_thread() -> None:
    import torch  # Optuna's GP sampler computes with it

    torch.set_num_threads(1)
