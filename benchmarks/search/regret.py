"""From true values to regrets, differences in pairs with their intervals, and tables of them.

Regret: the true value of what a search would ship less the best known of its instance, in % of the median random
configuration's. Best known is the lowest of all that anything here ever tried, and of the known optimum.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.results import Found

Floats = NDArray[np.float64]

N_RESAMPLES = 10_000
LEVEL = 0.95

FEWEST = 5
"""Instances below which no interval is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One way of choosing on one instance. regret, best_tried: at each look, in %."""

    looks: tuple[float, ...]
    trials: tuple[int, ...]
    regret: Floats
    best_tried: Floats

    def at(self, look: float) -> float | None:
        """Regret then; None of a search that ended before."""
        return float(self.regret[self.looks.index(look)]) if look in self.looks else None

    def lost_by_choosing(self, look: float) -> float | None:
        """Regret of what is chosen less that of the best that was begun."""
        if look not in self.looks:
            return None
        at = self.looks.index(look)
        return float(self.regret[at] - self.best_tried[at])


Instance = tuple[str, int]
"""Problem and number."""

Courses = Mapping[str, Mapping[Instance, Course]]
"""Way of choosing -> instance -> course."""


def courses_of(found: Sequence[Found]) -> Courses:
    """All regrets."""
    best: dict[Instance, float] = {}
    for one in found:
        at = one.problem, one.instance
        best[at] = min(best.get(at, np.inf), one.best, *one.tried)
    courses: dict[str, dict[Instance, Course]] = {}
    for one in found:
        at = one.problem, one.instance
        scale = 100.0 / (one.median - best[at])
        for way, truths in one.chosen.items():
            courses.setdefault(way, {})[at] = Course(
                looks=one.looks,
                trials=one.trials,
                regret=(np.array(truths) - best[at]) * scale,
                best_tried=(np.array(one.tried) - best[at]) * scale,
            )
    return courses


@dataclass(frozen=True, slots=True)
class Mean:
    """Of n instances, with an interval of 95 %; bold where that excludes 0."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.n < FEWEST:
            return f"{self.mean:+.1f}"
        text = f"{self.mean:+.1f} [{self.low:.1f}, {self.high:.1f}]"
        return text if self.low <= 0 <= self.high else f"**{text}**"


def bootstrap(values: Sequence[float]) -> Mean:
    """The mean, and where means of instances drawn anew lie."""
    drawn = np.random.default_rng(0).integers(0, len(values), (N_RESAMPLES, len(values)))
    means = np.asarray(values)[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Mean(float(np.mean(values)), float(low), float(high), len(values))


def difference(courses: Courses, way: str, other: str, look: float, *, problems: Sequence[str]) -> Mean | None:
    """How much lower (below 0) the regret of `way` is on instances that both searched; None without any."""
    pairs = []
    for at, course in courses.get(way, {}).items():
        theirs = courses.get(other, {}).get(at)
        mine, its = course.at(look), None if theirs is None else theirs.at(look)
        if at[0] in problems and mine is not None and its is not None:
            pairs.append(mine - its)
    return bootstrap(pairs) if pairs else None


@dataclass(frozen=True, slots=True)
class Share:
    """Of a budget, infinite where it is not enough; low, high: where that of instances drawn anew lies."""

    share: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        shown, low, high = ("never" if math.isinf(x) else f"{x:.2f}" for x in (self.share, self.low, self.high))
        return shown if self.n < FEWEST else f"{shown} [{low}, {high}]"


def share_to_reach(courses: Courses, way: str, other: str, budget: float, *, problem: str) -> Share | None:
    """Share of the budget after which the mean regret of `way` stays at or below that of `other` at its end.

    Of the looks that there were; None where none was looked at.
    """
    both = [at for at in courses[way] if at in courses.get(other, {}) and at[0] == problem]
    both = [at for at in both if courses[way][at].at(budget) is not None and courses[other][at].at(budget) is not None]
    if not both:
        return None
    looks = [look for look in courses[way][both[0]].looks if look <= budget]
    wanted = np.array([courses[other][at].at(budget) for at in both])
    mine = np.array([[courses[way][at].at(look) for look in looks] for at in both])
    drawn = np.random.default_rng(0).integers(0, len(both), (N_RESAMPLES, len(both)))
    resampled = _first_that_stays(mine[drawn].mean(axis=1), wanted[drawn].mean(axis=1), looks) / budget
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")  # some may be infinite
    share = _first_that_stays(mine.mean(axis=0)[None], wanted.mean()[None], looks)[0] / budget
    return Share(float(share), float(low), float(high), len(both))


def _first_that_stays(means: Floats, wanted: Floats, looks: Sequence[float]) -> Floats:
    """means: `[resamples, looks]`. wanted: `[resamples]`. The look from which on all are as low; else infinity."""
    above = means > wanted[:, None]
    n_after_last = np.argmax(above[:, ::-1], axis=1)  # looks behind the last one above
    first = np.where(above.any(axis=1), means.shape[1] - n_after_last, 0)
    found: Floats = np.append(looks, np.inf)[first]
    return found
