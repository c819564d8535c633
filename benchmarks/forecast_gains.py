"""By how much one arm forecasts better than another on the same worlds, folds and seeds, and what chance would do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student_t

from benchmarks.forecast_results import Cell, Losses, Result
from trainable.scoring.clustered_error import PartValues, clustered_error, score_of
from trainable.scoring.intervals import LEVEL

Epoch = Literal["best", "last"]
PARTS = ("id", "ood")
FEWEST_WORLDS = 3
"""From how many on a gain is said to be beyond chance: fewer say little of how worlds differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much lower the score is than that of the other: above 0, it is better. score: its own, mean over worlds.

    half_width: of the interval that holds the mean over all worlds with probability `LEVEL`. n_trainings: pairs.
    """

    score: float
    mean: float
    half_width: float
    n_worlds: int
    n_trainings: int

    @property
    def is_beyond_chance(self) -> bool:
        """Better or worse than 0 by more than the interval, on worlds enough."""
        return self.n_worlds >= FEWEST_WORLDS and abs(self.mean) > self.half_width


def gain(
    one: Mapping[Cell, Result], other: Mapping[Cell, Result], *, epoch: Epoch, parts: Sequence[str] = PARTS
) -> Gain | None:
    """Over the cells that both have, whole; None without any.

    The interval is the wider of two: Student's t over the worlds' gains, which takes worlds as the draws they are but
    knows their spread badly from few; and what the worlds' own intervals, clustered by domain and fold, add up to.
    """
    cells = [cell for cell in one if cell in other and not one[cell].failed and not other[cell].failed]
    if not cells:
        return None
    worlds = sorted({cell.data for cell in cells})
    found = [_of_world([c for c in cells if c.data == world], one, other, epoch, parts) for world in worlds]
    scores, gains, halves = np.array(found).T
    within = float(np.sqrt((halves**2).sum())) / len(worlds)
    between = 0.0
    if len(worlds) > 1:
        factor = float(student_t.ppf((1 + LEVEL) / 2, len(worlds) - 1))
        between = factor * float(gains.std(ddof=1)) / math.sqrt(len(worlds))
    return Gain(
        score=float(scores.mean()),
        mean=float(gains.mean()),
        half_width=max(within, between),
        n_worlds=len(worlds),
        n_trainings=len(cells),
    )


def cost(one: Mapping[Cell, Result], other: Mapping[Cell, Result]) -> float:
    """CPU seconds of a training over those of the other's on the same cell, the median; NaN where there are none."""
    ratios = [
        one[cell].cpu_seconds / other[cell].cpu_seconds
        for cell in one
        if cell in other and not one[cell].failed and not other[cell].failed and other[cell].cpu_seconds
    ]
    return float(np.median(ratios)) if ratios else math.nan


def score(result: Result, *, epoch: Epoch, parts: Sequence[str] = PARTS) -> float:
    """`score/all`, or that of some parts, of one training."""
    losses: Losses = getattr(result, epoch)
    return score_of([_mean(losses[part]) for part in parts if part in losses])


def _mean(sites: Mapping[str, object]) -> np.ndarray:
    values = list(sites.values())
    return np.average([v.crps for v in values], axis=0, weights=[v.n_events for v in values])  # type: ignore[attr-defined]


def _of_world(
    cells: Sequence[Cell],
    one: Mapping[Cell, Result],
    other: Mapping[Cell, Result],
    epoch: Epoch,
    parts: Sequence[str],
) -> tuple[float, float, float]:
    """Score, gain, and half the interval of the gain, over one world's folds; a fold's seeds are averaged."""
    pairs = [values for part in parts if (values := _part_values(part, cells, one, other, epoch)) is not None]
    scores = score_of([pair.crps.mean(axis=0) for pair in pairs])
    others = score_of([pair.other.mean(axis=0) for pair in pairs if pair.other is not None])
    return scores, others - scores, clustered_error(pairs).half_width(LEVEL)


def _part_values(
    part: str, cells: Sequence[Cell], one: Mapping[Cell, Result], other: Mapping[Cell, Result], epoch: Epoch
) -> PartValues | None:
    """A row an event; those of a site have the site's mean, which leaves all sums over sites, domains, folds alone."""
    columns: dict[str, list[object]] = {"crps": [], "other": [], "domains": [], "sites": [], "folds": []}
    for fold in sorted({cell.fold for cell in cells}):
        seeds = [cell for cell in cells if cell.fold == fold]
        sites: Mapping[str, object] = getattr(one[seeds[0]], epoch).get(part, {})
        for name in sites:
            n = getattr(one[seeds[0]], epoch)[part][name].n_events
            for column, results in (("crps", one), ("other", other)):
                mean = np.mean([getattr(results[cell], epoch)[part][name].crps for cell in seeds], axis=0)
                columns[column] += [mean] * n
            columns["domains"] += [name.partition("/")[0]] * n
            columns["sites"] += [name] * n
            columns["folds"] += [fold] * n
    if not columns["crps"]:
        return None
    return PartValues(**{name: np.array(values) for name, values in columns.items()})  # type: ignore[arg-type]
