"""The smallest and the largest configuration that a search can come to, and drawn ones between them."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace
from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from tune.measuring.demand import demand

COSTLY_KEYS = (
    "tail.n_blocks", "adapter.kind", "adapter.rank", "adapter.targets", "optim.batch_size", "optim.accumulation_steps",
)  # fmt: skip
"""Configuration keys that memory and time depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corners:
    """By memory: the least and the most demanding configuration."""

    smallest: TrialConfig
    largest: TrialConfig


def corners(space: SearchSpace, architecture: VisionArchitecture, *, epochs: int) -> Corners:
    """Of all extreme values of what costs memory, and of the points that the space begins or compares with."""
    extremes = {p.name: _extremes(p) for p in space.parameters if p.key in COSTLY_KEYS}
    found = [point.config.with_epochs(epochs) for point in (*space.start_from, *space.compare_with)]
    for values in itertools.product(*extremes.values()):
        chosen = dict(zip(extremes, values, strict=True))
        found.append(space.config(space.suggest(_Fixed(chosen)), epochs))

    def size(config: TrialConfig) -> float:
        return demand(config, architecture).bytes

    return Corners(smallest=min(found, key=size), largest=max(found, key=size))


def drawn(space: SearchSpace, n: int, *, epochs: int, seed: int) -> list[TrialConfig]:
    """Configurations drawn evenly from the space's ranges."""
    trial = _Drawn(random.Random(seed))
    return [space.config(space.suggest(trial), epochs) for _ in range(n)]


def starting_configs(space: SearchSpace, *, epochs: int) -> list[TrialConfig]:
    """What a search runs first, and in full."""
    return [point.config.with_epochs(epochs) for point in (*space.start_from, *space.compare_with)]


def _extremes(parameter: Parameter) -> tuple[Any, ...]:
    if parameter.kind == "categorical":
        return parameter.choices
    kind = int if parameter.kind == "int" else float
    return (kind(parameter.low), kind(parameter.high))


class _Fixed:
    """Stands where the space expects an Optuna trial; takes given values, and the first or lowest of all others."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._values.get(name, choices[0])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del high, step, log
        return int(self._values.get(name, low))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        del high, log
        return float(self._values.get(name, low))


class _Drawn:
    """Stands there, too; draws every value anew."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        del name
        return self._generator.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del name
        if not log:
            return self._generator.randrange(low, high + 1, step)
        return min(high, max(low, round(self._between(low, high, log=True))))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        del name
        return min(high, max(low, self._between(low, high, log=log)))

    def _between(self, low: float, high: float, *, log: bool) -> float:
        if log:
            return float(low * (high / low) ** self._generator.random())
        return self._generator.uniform(low, high)
