"""A made-up fine-tuning: 12 parameters, some conditional; crossing curves, over-training, divergence, three noises.

Scores have the size of this program's own: about 0.4 to 0.6, with configurations that are tried spread by some
hundredths. Spreads of seed and epoch are as measured on the demo; that of folds is an assumption.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.problems.problem import DrawnSpace, Training, Values, noise_of
from search_spaces.parameter import Draws, Plain
from trainable.plain_values import JsonObject
from tune.decisions.sampler import Space

Floats = NDArray[np.float64]

EPOCH_SD, SEED_SD, FOLD_SD = 0.008, 0.011, 0.02
"""Of a score: from epoch to epoch, between trainings, and of what a fold says of a configuration."""

_START = 0.75
"""Before any training."""

DEFAULT: JsonObject = {
    "n_blocks": 2, "kind": "full", "lr": 3e-4, "block_multiplier": 0.1, "head_multiplier": 3.0, "weight_decay": 0.01,
    "dropout": 0.1, "batch_size": 64, "schedule": "cosine", "warmup": 0.05, "noise": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class FineTuning:
    """Instance `number` has best values of its own, about the default's. n_folds: that score a trial together."""

    number: int
    n_folds: int = 2
    max_epochs: int = 20

    @property
    def space(self) -> Space:
        """12 parameters."""
        return DrawnSpace(_draw)

    @property
    def starts(self) -> dict[str, JsonObject]:
        """The default alone: fair in every instance, best in none."""
        return {"default": dict(DEFAULT)}

    def train(self, values: Values) -> Training:
        """Deeper and fuller trainings take longer; the hot corner diverges in the second to fifth epoch."""
        return self._training(values, noise_of(values, self.number))

    def train_elsewhere(self, values: Values, fold: int) -> Training:
        """The same curve with noise of its own."""
        return self._training(values, noise_of(values, self.number, fold))

    def _training(self, values: Values, rng: np.random.Generator) -> Training:
        fold = rng.normal(0.0, FOLD_SD / math.sqrt(self.n_folds))
        noise = fold + rng.normal(0.0, SEED_SD) + rng.normal(0.0, EPOCH_SD, self.max_epochs)
        scores = (self._curve(values) + noise).tolist()
        if self._heat(values) > _HEAT_LIMIT:
            scores = [*scores[: int(rng.integers(1, 5))], math.nan]
        return Training(scores=tuple(scores), epoch_seconds=_epoch_seconds(values))

    def truth(self, values: Values) -> float:
        """Lowest of the curve; what nothing trained scores, where it diverges."""
        return _START if self._heat(values) > _HEAT_LIMIT else float(self._curve(values).min())

    @cached_property
    def _best(self) -> dict[str, float]:
        """Where each parameter is best, on its scale from 0 to 1, and what choices cost."""
        rng = np.random.default_rng([73, self.number])
        usual = {"rank": 0.5} | _places(DEFAULT)
        of_numbers = {name: float(np.clip(rng.normal(usual[name], 0.2), 0.05, 0.95)) for name in _WEIGHTS}
        choices = ("full", "lora", "dora", "constant", "cosine", "32", "64", "128")
        return of_numbers | {name: float(rng.uniform(0.0, 0.03)) for name in choices}

    def _end(self, values: Values) -> float:
        """The score that the curve comes near to."""
        best, places = self._best, _places(values)
        lr = best["lr"] + 0.15 * (float(values["batch_size"]) / 64 - 1) + (0.0 if _kind(values) == "full" else 0.15)
        wanted = best | {"lr": lr}
        lost = sum(_WEIGHTS[name] * (place - wanted[name]) ** 2 for name, place in places.items())
        lost += 0.06 * (places["lr"] - wanted["lr"]) * (places["head_multiplier"] - wanted["head_multiplier"])
        return (
            0.4 + lost + sum(best[str(choice)] for choice in (_kind(values), values["schedule"], values["batch_size"]))
        )

    def _curve(self, values: Values) -> Floats:
        """Without noise, an epoch each: falls to its end at its own pace, and rises where too much is trained."""
        places, share = _places(values), np.arange(1, self.max_epochs + 1) / self.max_epochs
        pace = 0.05 + 0.45 * (1.0 - places["lr"]) ** 2
        curve = self._end(values) + (_START - self._end(values)) * np.exp(-share / pace)
        if values["schedule"] == "cosine":
            curve += 0.02 * np.cos(np.pi * share / 2) - 0.005
        memory = 0.08 * places["n_blocks"] * places["lr"] * (1.0 if _kind(values) == "full" else 0.5)
        memory *= 1.5 - places["noise"] - 0.5 * places["dropout"]
        found: Floats = curve + memory * np.maximum(0.0, share - 0.3)
        return found

    def _heat(self, values: Values) -> float:
        places = _places(values)
        warm = float(values["warmup"]) * 2.0 if "warmup" in values else 0.0
        return places["lr"] + 0.5 * places["head_multiplier"] - warm


_HEAT_LIMIT = 1.2

_WEIGHTS = {
    "lr": 0.25, "head_multiplier": 0.08, "n_blocks": 0.05, "block_multiplier": 0.04, "rank": 0.02,
    "weight_decay": 0.02, "dropout": 0.03, "warmup": 0.01, "noise": 0.04,
}  # fmt: skip
"""What it costs to miss a parameter's best value by its whole range."""

_RANGES = {
    "lr": (1e-5, 3e-3), "head_multiplier": (0.5, 30.0), "block_multiplier": (0.01, 1.0), "rank": (4, 256),
    "weight_decay": (1e-4, 0.1),
}  # fmt: skip


def _draw(trial: Draws) -> dict[str, Plain]:
    values: dict[str, Plain] = {"n_blocks": trial.suggest_int("n_blocks", 0, 6, step=1, log=False)}

    def log_float(name: str) -> None:
        values[name] = trial.suggest_float(name, *_RANGES[name], log=True)

    if values["n_blocks"]:
        values["kind"] = trial.suggest_categorical("kind", ["full", "lora", "dora"])
        log_float("block_multiplier")
        if values["kind"] != "full":
            values["rank"] = trial.suggest_int("rank", 4, 256, step=1, log=True)
    for name in ("lr", "head_multiplier", "weight_decay"):
        log_float(name)
    values["dropout"] = trial.suggest_float("dropout", 0.0, 0.5, log=False)
    values["batch_size"] = trial.suggest_categorical("batch_size", [32, 64, 128])
    values["schedule"] = trial.suggest_categorical("schedule", ["constant", "cosine"])
    if values["schedule"] == "cosine":
        values["warmup"] = trial.suggest_float("warmup", 0.0, 0.2, log=False)
    values["noise"] = trial.suggest_float("noise", 0.0, 1.0, log=False)
    return values


def _kind(values: Values) -> str:
    """Without trained blocks there is nothing to choose."""
    return str(values.get("kind", "full"))


def _places(values: Values) -> dict[str, float]:
    """Numbers on the scale from 0 to 1 of their range; those that do not apply are left out."""
    found = {"n_blocks": float(values["n_blocks"]) / 6, "dropout": float(values["dropout"]) * 2}
    found["noise"] = float(values["noise"])
    if "warmup" in values:
        found["warmup"] = float(values["warmup"]) * 5
    for name, (low, high) in _RANGES.items():
        if name in values:
            found[name] = math.log(float(values[name]) / low) / math.log(high / low)
    return found


def _epoch_seconds(values: Values) -> float:
    of_block = 0.2 * (1.0 if _kind(values) == "full" else 1.3) * math.pow(64 / float(values["batch_size"]), 0.25)
    return 0.3 + of_block * float(values["n_blocks"])
