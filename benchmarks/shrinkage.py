"""How good candidates are by few noisy folds: each one's mean, drawn to that of all by as much as noise explains.

Empirical Bayes for a two-way layout of candidates and folds: what folds have in common is taken out, the noise is what
is left of the differences between folds, and the spread of the candidates what their means have beyond that noise
(Efron & Morris 1975, "Data Analysis Using Stein's Estimator and its Generalizations", JASA 70; the spread by moments as
in DerSimonian & Laird 1986). A candidate that has run fewer folds is drawn further.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean, variance
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)
Fold = TypeVar("Fold", bound=Hashable)

TIE_BREAKER = 1e-9
"""Of a candidate's own mean that is always kept, so that there is an order where noise explains everything."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """mean: over the candidate's own folds. value: what is to be expected of it on other folds. noise: SD of one fold's
    value about it; None where every candidate has run one fold alone.
    """

    mean: float
    value: float
    noise: float | None


def shrunk(values: Mapping[Name, Mapping[Fold, float]]) -> dict[Name, Shrunk]:
    """values: candidate -> fold -> its value there; each has one at least, and they share a fold."""
    of_fold: dict[Fold, list[float]] = {}
    for own in values.values():
        for fold, value in own.items():
            of_fold.setdefault(fold, []).append(value)
    common = {fold: fmean(found) for fold, found in of_fold.items()}
    effect = {name: fmean([value - common[fold] for fold, value in own.items()]) for name, own in values.items()}
    noise = _noise_variance(values, common, effect)
    spread = max(0.0, variance(effect.values()) - noise * fmean([1 / len(own) for own in values.values()])) if (
        noise is not None and len(effect) > 1
    ) else None  # fmt: skip
    middle = fmean(common.values())
    found = {}
    for name, own in values.items():
        kept = 1.0
        if noise is not None and spread is not None and noise > 0.0:
            kept = max(TIE_BREAKER, spread / (spread + noise / len(own)))
        found[name] = Shrunk(
            mean=fmean(own.values()),
            value=middle + kept * effect[name],
            noise=None if noise is None else noise**0.5,
        )
    return found


def _noise_variance(
    values: Mapping[Name, Mapping[Fold, float]], common: Mapping[Fold, float], effect: Mapping[Name, float]
) -> float | None:
    freedom = sum(map(len, values.values())) - len(values) - len(common) + 1
    if freedom < 1:
        return None
    left = (value - common[fold] - effect[name] for name, own in values.items() for fold, value in own.items())
    return sum(each**2 for each in left) / freedom
