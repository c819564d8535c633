"""The smallest and the largest configuration that a search can come to, and drawn ones between them."""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.parameter import Parameter, Plain
from search_spaces.space import SearchSpace
from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from tune.decisions.define_by_run import StandIn, any_value
from tune.measuring.demand import demand

COSTLY_KEYS = (
    "tail.n_blocks", "adapter.kind", "adapter.rank", "adapter.targets", "optim.batch_size", "optim.accumulation_steps",
    "optim.average",
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
    found = [point.config.with_epochs(epochs) for point in space.named]
    for values in itertools.product(*extremes.values()):
        chosen = dict(zip(extremes, values, strict=True))
        found.append(space.config(space.suggest(StandIn(partial(_given, chosen))), epochs))

    def size(config: TrialConfig) -> float:
        return demand(config, architecture).bytes

    return Corners(smallest=min(found, key=size), largest=max(found, key=size))


def drawn(space: SearchSpace, n: int, *, epochs: int, seed: int) -> list[TrialConfig]:
    """Configurations drawn evenly from the space's ranges."""
    draw = partial(_drawn, random.Random(seed))
    return [space.config(space.suggest(StandIn(draw)), epochs) for _ in range(n)]


def _extremes(parameter: Parameter) -> tuple[Plain, ...]:
    if parameter.kind == "categorical":
        return parameter.choices
    kind = int if parameter.kind == "int" else float
    return (kind(parameter.low), kind(parameter.high))


def _given(values: Mapping[str, Plain], name: str, distribution: BaseDistribution) -> Plain:
    return values.get(name, any_value(distribution))


def _drawn(generator: random.Random, name: str, distribution: BaseDistribution) -> Plain:
    del name
    if isinstance(distribution, CategoricalDistribution):
        choice = generator.choice(distribution.choices)
        assert choice is not None  # which Optuna knows as a choice, and spaces do not
        return choice
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, is_whole = distribution.low, distribution.high, isinstance(distribution, IntDistribution)
    if distribution.log:
        value = float(low * (high / low) ** generator.random())
    elif is_whole:
        return generator.randrange(int(low), int(high) + 1, int(distribution.step or 1))
    else:
        value = generator.uniform(low, high)
    return min(high, max(low, round(value) if is_whole else value))
