"""From true values to regrets, differences in pairs with their intervals, and tables of them.

Regret: the true value of what a search would ship less the best known of its instance, in % of the median random
configuration's. Best known is the lowest of all that anything here ever tried, and of the known optimum.
"""

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


def share_to_reach(courses: Courses, way: str, other: str, budget: float, *, problem: str) -> float | None:
    """Share of the budget after which the mean regret of `way` stays at or below that of `other` at its end.

    Of the looks that there were; infinite where that is never so, None where none was looked at.
    """
    both = [at for at in courses[way] if at in courses.get(other, {}) and at[0] == problem]
    both = [at for at in both if courses[way][at].at(budget) is not None and courses[other][at].at(budget) is not None]
    if not both:
        return None
    looks = [look for look in courses[way][both[0]].looks if look <= budget]
    wanted = np.mean([courses[other][at].at(budget) for at in both])
    means = [np.mean([courses[way][at].at(look) for at in both]) for look in looks]
    above = [number for number, mean in enumerate(means) if mean > wanted]
    first = above[-1] + 1 if above else 0
    return looks[first] / budget if first < len(looks) else np.inf
