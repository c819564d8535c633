"""The best of a study's configurations that are unlike one another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.parameter import Parameter
from search_spaces.space import SearchSpace
from trainable.plain_values import JsonObject
from tune.decisions.trial_record import TrialRecord

MIN_DISTANCE = 0.1
"""Two configurations are alike when they are closer: mean over parameters of the difference as a share of the range."""


@dataclass(frozen=True, slots=True)
class ScoredTrial:
    """A trial that has a score, as a space sees it.

    values: the space's flat values; None for a configuration that lies outside of it. config: nested values, of full
    length.
    """

    record: TrialRecord
    score: float
    values: JsonObject | None
    config: JsonObject


def best_diverse(ranked: Sequence[ScoredTrial], space: SearchSpace, *, n: int) -> list[ScoredTrial]:
    """n of the candidates, given and returned best first.

    From the better half, best first, each not alike any before; filled up with the best of what that passes over.
    """
    better = ranked[: max(n, math.ceil(len(ranked) / 2))]
    taken: list[ScoredTrial] = []
    for candidate in better:
        if len(taken) < n and all(distance(space, candidate.values, other.values) >= MIN_DISTANCE for other in taken):
            taken.append(candidate)
    rest = [c for c in better if c.config not in [t.config for t in taken]]
    filled = [*taken, *rest[: n - len(taken)]]
    return sorted(filled, key=lambda c: (c.score, c.record.number))


def distance(space: SearchSpace, a: JsonObject | None, b: JsonObject | None) -> float:
    """Between two configurations' sampled values, from 0 for equal to 1.

    A parameter that applies to one of them alone counts as 1; so does a configuration that lies outside of the space.
    """
    if a is None or b is None:
        return 1.0
    active = [parameter for parameter in space.parameters if parameter.name in a or parameter.name in b]
    return sum(_difference(parameter, a, b) for parameter in active) / max(1, len(active))


def _difference(parameter: Parameter, a: JsonObject, b: JsonObject) -> float:
    if parameter.name not in a or parameter.name not in b:
        return 1.0
    x, y = a[parameter.name], b[parameter.name]
    if parameter.kind == "categorical" or x == y:
        return float(x != y)
    scale = math.log if parameter.log else float
    return abs(scale(x) - scale(y)) / (scale(parameter.high) - scale(parameter.low))
