"""All methods that are compared, by name; each makes a searcher of a problem and a seed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from benchmarks.search.confirming import Confirming, PerFold
from benchmarks.search.one_epoch import OneEpoch
from benchmarks.search.optuna_peers import OptunaPeer
from benchmarks.search.ours import NAME, Change, Ours
from benchmarks.search.problems.problem import Problem, ProblemOfFolds
from benchmarks.search.ray_peers import RayAsha
from benchmarks.search.simulator import Searcher
from benchmarks.search.syne_peers import SyneTune

Make = Callable[[Problem, int], Searcher]

STOCK = "stock"


def _optuna(
    name: str, sampler: Callable[[int], BaseSampler], pruner: Callable[[Problem], BasePruner] | None = None
) -> Make:
    def make(problem: Problem, seed: int) -> Searcher:
        return OptunaPeer(problem, name=name, sampler=sampler(seed), pruner=None if pruner is None else pruner(problem))

    return make


def _hyperband(problem: Problem) -> BasePruner:
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=problem.max_epochs, reduction_factor=3)


def _tpe(seed: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed)


PEERS: dict[str, Make] = {
    NAME: Ours,
    STOCK: partial(RayAsha, name=STOCK),
    "random + ASHA": partial(RayAsha, name="random + ASHA", is_random=True),
    "TPE full": _optuna("TPE full", _tpe),
    "TPE + median": _optuna("TPE + median", _tpe, lambda _: optuna.pruners.MedianPruner()),
    "TPE + Hyperband": _optuna("TPE + Hyperband", _tpe, _hyperband),
    "random full": _optuna("random full", lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "one epoch": partial(OneEpoch, name="one epoch"),
    "GP full": _optuna("GP full", lambda seed: optuna.samplers.GPSampler(seed=seed)),
}
"""The program's search and those that it is held against. Stock: Ray Tune with Optuna, as a user writes it."""

EXTRAS: dict[str, Make] = {
    "Syne ASHA": partial(SyneTune, name="Syne ASHA", scheduler="ASHA"),
    "Syne CQR": partial(SyneTune, name="Syne CQR", scheduler="ASHACQR"),
}
"""Peers whose package must be installed first, see syne_peers.py."""


def _changed(name: str, change: Change) -> Make:
    return partial(Ours, change=change, name=name)


def _of_length(name: str, share: float, **header: int) -> Make:
    """Rungs that begin at a share of the length."""

    def make(problem: Problem, seed: int) -> Searcher:
        grace = max(1, round(problem.max_epochs * share))
        return Ours(problem, seed, change=Change(header={"grace_epochs": grace, **header}), name=name)

    return make


CHANGES: dict[str, Make] = {
    "ours, grace 5 %": _of_length("ours, grace 5 %", 0.05),
    "ours, grace 25 %": _of_length("ours, grace 25 %", 0.25),
    "ours, reduction 2": _changed("ours, reduction 2", Change(header={"reduction_factor": 2})),
    "ours, reduction 4": _changed("ours, reduction 4", Change(header={"reduction_factor": 4})),
    "ours, no patience": _changed("ours, no patience", Change(header={"patience": 0})),
    "ours, 5 first": _changed("ours, 5 first", Change(arguments={"n_startup_trials": 5})),
    "ours, 20 first": _changed("ours, 20 first", Change(arguments={"n_startup_trials": 20})),
    "ours, 64 candidates": _changed("ours, 64 candidates", Change(arguments={"n_ei_candidates": 64})),
}
"""The program's search with one thing changed: where its rungs begin, how many go on, random trials before TPE."""


def _stock_started(problem: ProblemOfFolds, seed: int) -> Searcher:
    return RayAsha(problem, seed, name="stock, started", starts=list(problem.starts.values()))


FOLDS: dict[str, PerFold] = {
    "ours, started": (),
    "ours, 3 x 1 fold": (3,),
    "ours, 3 x 2 folds": (3, 3),
    "ours, 3 x 3 folds": (3, 3, 3),
    "ours, race 4, 2": (4, 2),
    "ours, race 5, 2, 2": (5, 2, 2),
}
"""The program's search from its starting points, and what of its best runs further folds within the same budget."""

STARTED: dict[str, Callable[[ProblemOfFolds, int], Searcher]] = {
    "stock, started": _stock_started,
    **{name: partial(Confirming, name=name, n_of_fold=n_of_fold) for name, n_of_fold in FOLDS.items()},
}
"""For problems of folds, where there is something to start from."""

METHODS: dict[str, Callable[[Any, int], Searcher]] = {**PEERS, **EXTRAS, **CHANGES, **STARTED}
