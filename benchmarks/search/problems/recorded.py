"""Our own task: curves recorded on the demo's worlds, and between the recorded configurations a forest of whole curves.

A search proposes what was never recorded, in some 40 dimensions, so a table alone cannot answer it. What is truly
so of a configuration is what extremely random trees predict from the recorded ones; its error on those left out is
`Error`. What a search sees of it differs from that as a recorded configuration's curve on the search's folds differs
from its own curve elsewhere, epochs, seeds, sites and domains included: which one, chance decides once. Trainings that
diverged are not among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.choosing import TODAY, WAYS, World, worlds_of
from benchmarks.recorded_curves import N_FOLDS, Curves
from benchmarks.search.problems.problem import Training, Values, fingerprint, noise_of
from search_spaces.parameter import encode
from search_spaces.space import DEFAULT, SearchSpace
from search_spaces.task_space import fit_to_task
from trainable.config import TrialConfig
from trainable.data.task import beetles
from trainable.plain_values import JsonObject

Floats = NDArray[np.float64]

MAX_EPOCHS = 20

_SHARES = np.arange(1, MAX_EPOCHS + 1) / MAX_EPOCHS
"""Of a training, at which curves of all lengths are compared."""

_N_TREES, _N_PARTS = 50, 5

FEWEST = 30
"""Configurations of a world, trained to the end on all folds, below which nothing is made of it (assumption)."""


@dataclass(frozen=True)
class Recorded:
    """Instance `number`: a world, the fold that a search begins with, and noise. n_folds: that score a trial."""

    number: int
    file: Path
    n_folds: int = 2
    max_epochs: int = MAX_EPOCHS

    @property
    def space(self) -> SearchSpace:
        """`full`, as it is for the challenge's data."""
        return _space()

    @property
    def starts(self) -> dict[str, JsonObject]:
        """The space's named configurations, which were recorded."""
        named = {point.name: point.config.with_epochs(self.max_epochs) for point in self.space.named}
        return {name: self.space.values_of(named[name]) for name in (DEFAULT, *named)}

    def train(self, values: Values) -> Training:
        """Deeper trainings take longer, adapters a little more (assumption)."""
        return self._training(values, noise_of(values, self.number))

    def train_elsewhere(self, values: Values, fold: int) -> Training:
        """It differs from the truth as another recorded configuration's curve does."""
        return self._training(values, noise_of(values, self.number, fold))

    def _training(self, values: Values, rng: np.random.Generator) -> Training:
        config, model = self.space.config(values, MAX_EPOCHS), self._model
        other = int(rng.integers(len(model.names)))
        curve = model.predicted(fingerprint(values), config) + model.deviations[self.n_folds][other]
        at = np.arange(1, config.n_epochs + 1) / config.n_epochs
        kind = 1.0 if config.adapter.kind == "full" else 1.3
        seconds = 0.3 + 0.2 * config.tail.n_blocks * kind
        return Training(scores=tuple(np.interp(at, _SHARES, curve).tolist()), epoch_seconds=seconds)

    def truth(self, values: Values) -> float:
        """Lowest of the curve on the folds that the search has nothing of."""
        return float(self._model.predicted(fingerprint(values), self.space.config(values, MAX_EPOCHS)).min())

    @property
    def _model(self) -> "Surrogate":
        worlds = recorded_worlds(self.file)
        return surrogate(self.file, self.number % len(worlds), self.number // len(worlds) % N_FOLDS)


class Surrogate:
    """The trees of one world and first fold. deviations: number of folds -> [configurations, shares]."""

    def __init__(self, world: World, first: int) -> None:
        self.names = tuple(world.names)
        self.configs = [TrialConfig.from_dict(dict(world.of[name, 0].config)) for name in self.names]
        looked_at = [first, (first + 1) % N_FOLDS]
        judges = [(first + i) % N_FOLDS for i in range(2, N_FOLDS)]
        fresh = world.fresh(judges, looked_at=looked_at)
        score = WAYS[TODAY[0]]
        self.truths = np.stack([_at_shares(score(world.seen(name, fresh))) for name in self.names])
        self.deviations = {
            n: np.stack([_at_shares(score(world.seen(name, world.searched(looked_at[:n])))) for name in self.names])
            - self.truths
            for n in (1, 2)
        }
        self._features = np.stack([features(config) for config in self.configs])
        self._trees = _trees().fit(self._features, self.truths)
        self.predicted = lru_cache(maxsize=4096)(self._predicted)

    def _predicted(self, key: int, config: TrialConfig) -> Floats:
        del key  # a configuration has no hash of its own
        place = features(config)[None].astype(np.float32)
        # what `predict` returns, without its checks, which cost ten times as much
        found: Floats = np.mean([tree.tree_.predict(place)[0, :, 0] for tree in self._trees.estimators_], axis=0)
        return found

    def out_of_fold(self) -> tuple[float, float]:
        """R2 and Spearman's of the lowest of the curve, of configurations that the trees were not made from."""
        parts = np.arange(len(self.names)) % _N_PARTS
        found = np.empty(len(self.names))
        for part in range(_N_PARTS):
            is_out = parts == part
            trees = _trees().fit(self._features[~is_out], self.truths[~is_out])
            found[is_out] = trees.predict(self._features[is_out]).min(axis=1)
        lowest = self.truths.min(axis=1)
        r2 = 1 - ((found - lowest) ** 2).sum() / ((lowest - lowest.mean()) ** 2).sum()
        return float(r2), float(spearmanr(found, lowest).statistic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Of all worlds and first folds, means. sd: of the true values of what was recorded. seen_by: number of folds ->
    Spearman's between the lowest score that a search would see, recorded, and the true value.
    """

    n_configurations: int
    r2: float
    spearman: float
    sd: float
    seen_by: dict[int, float]


def surrogate_error(file: Path) -> Error:
    """How far the forest is to be believed, and how well the search's own folds are."""
    models = [surrogate(file, world, first) for world in range(len(recorded_worlds(file))) for first in range(N_FOLDS)]
    found = np.array([model.out_of_fold() for model in models]).mean(axis=0)
    lowest = [model.truths.min(axis=1) for model in models]
    seen_by = {
        n: float(
            np.mean(
                [
                    spearmanr((model.truths + model.deviations[n]).min(axis=1), true).statistic
                    for model, true in zip(models, lowest, strict=True)
                ]
            )
        )
        for n in (1, 2)
    }
    return Error(
        n_configurations=min(len(model.names) for model in models),
        r2=float(found[0]),
        spearman=float(found[1]),
        sd=float(np.mean([true.std() for true in lowest])),
        seen_by=seen_by,
    )


@cache
def recorded_worlds(file: Path) -> tuple[World, ...]:
    """Those with enough configurations, the default among them."""
    worlds = worlds_of(Curves(file))
    return tuple(world for world in worlds if DEFAULT in world.names and len(world.names) >= FEWEST)


@cache
def surrogate(file: Path, world: int, first: int) -> Surrogate:
    """Made once a process."""
    return Surrogate(recorded_worlds(file)[world], first)


@cache
def _space() -> SearchSpace:
    return fit_to_task(SearchSpace.load("full"), beetles())[0]


def features(config: TrialConfig) -> Floats:
    """One number a value; a word has one for each of those that may stand there."""
    found: list[float] = []
    for name, value in config.flat().items():
        if name in _words():
            found += [float(encode(value) == word) for word in _words()[name]]
        elif isinstance(value, int | float):
            found.append(float(value))
    return np.array(found)


@cache
def _words() -> dict[str, Sequence[str]]:
    """Configuration keys that hold words, with those that the space has for them."""
    return {
        parameter.key: [str(choice) for choice in parameter.choices]
        for parameter in _space().parameters
        if any(isinstance(choice, str) for choice in parameter.choices)
    }


def _at_shares(curve: Floats) -> Floats:
    at = np.arange(1, len(curve) + 1) / len(curve)
    found: Floats = np.interp(_SHARES, at, curve)
    return found


def _trees() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor  # of the development tools

    return ExtraTreesRegressor(n_estimators=_N_TREES, max_features=0.5, random_state=0)
