"""The standard error of a score, or of a difference of two, when events come in domains and folds.

What a configuration gets right or wrong in a domain is common to that domain's events, in whichever fold and part they
are held out; what one training got right or wrong by chance is common to its fold. Events are few clusters then, not
many draws. Two-way clustered variance (Cameron, Gelbach & Miller 2011, "Robust Inference With Multiway Clustering"):
that over domains, plus what folds add beyond the domains inside them. The domains' part is a delete-one jackknife
(CR3), which stays honest with few and unequal clusters; the interval is Student's t with the effective number of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from trainable.scoring.crps import Floats


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class PartValues:
    """One part's events, a row an event in a fold.

    other: the rival's CRPS on the same rows; None for a score alone.
    """

    crps: Float64[Floats, "rows columns"]
    other: Float64[Floats, "rows columns"] | None
    domains: Shaped[NDArray[np.generic], " rows"]
    sites: Shaped[NDArray[np.generic], " rows"]
    folds: Int64[NDArray[np.int64], " rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredError:
    """error: standard error, in the score's unit; infinite where one cluster alone says nothing of others. n_effective:
    clusters that count, as many equal ones would.
    """

    error: float
    n_effective: float

    def half_width(self, level: float) -> float:
        """Of the interval that holds the truth with probability `level`.

        Raises: ValueError for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise ValueError(f"`0 < level < 1` must hold, but got {level}")
        if self.error == 0.0:
            return 0.0
        if not math.isfinite(self.error):
            return math.inf
        return self.error * float(stdtrit(max(1.0, self.n_effective), (1 + level) / 2))

    def probability_below_zero(self, value: float) -> float:
        """Of the truth, when `value` is what was measured, and nothing else is known of it."""
        if self.error == 0.0:
            return 0.5 if value == 0.0 else float(value < 0.0)
        if not math.isfinite(self.error):
            return 0.5
        return float(stdtr(max(1.0, self.n_effective), -value / self.error))


def clustered_error(parts: Sequence[PartValues]) -> ClusteredError:
    """Of the root mean square, over parts and columns, of mean CRPS; or of its difference to the rival's.

    Clusters are domains; where a part has one alone, sites, and where it has one site alone, events.
    """
    labels = _clusters(parts)
    names, inverse = np.unique(np.concatenate(labels), return_inverse=True)
    cluster_of = np.split(inverse, np.cumsum([len(part) for part in labels])[:-1])
    if len(names) < 2:
        return ClusteredError(error=math.inf, n_effective=1.0)
    left_out = np.array([_without(parts, cluster_of, g) for g in range(len(names))])
    by_domain = (len(names) - 1) / len(names) * ((left_out - left_out.mean()) ** 2).sum()
    weights = np.mean([np.bincount(of, minlength=len(names)) / len(of) for of in cluster_of], axis=0)
    return ClusteredError(
        error=math.sqrt(by_domain + _added_by_folds(parts, cluster_of)),
        n_effective=min(float(1 / (weights**2).sum()), len(names) - 1.0),
    )


def score_of(means: Sequence[Float64[Floats, " columns"]]) -> float:
    """Root mean square of all parts' mean CRPS."""
    return float(np.sqrt(np.mean(np.concatenate(means) ** 2)))


def _clusters(parts: Sequence[PartValues]) -> list[NDArray[np.generic]]:
    """One label a row; the same domain or site has the same in all parts."""
    for name in ("domains", "sites"):
        labels = [getattr(part, name).astype(np.str_) for part in parts]
        if all(len(np.unique(of)) > 1 for of in labels):
            return labels
    return [np.char.add(f"{i}/", np.arange(len(part.crps)).astype(np.str_)) for i, part in enumerate(parts)]


def _without(parts: Sequence[PartValues], cluster_of: Sequence[NDArray[np.intp]], cluster: int) -> float:
    kept = [of != cluster for of in cluster_of]
    value = score_of([part.crps[rows].mean(axis=0) for part, rows in zip(parts, kept, strict=True)])
    others = [part.other[rows].mean(axis=0) for part, rows in zip(parts, kept, strict=True) if part.other is not None]
    return value - (score_of(others) if others else 0.0)


def _added_by_folds(parts: Sequence[PartValues], cluster_of: Sequence[NDArray[np.intp]]) -> float:
    """Variance between folds beyond that of the domains inside them; never below zero."""
    folds = np.concatenate([part.folds for part in parts])
    n_folds = len(np.unique(folds))
    if n_folds < 2:
        return 0.0
    influence = _influence([part.crps for part in parts])
    if all(part.other is not None for part in parts):
        influence = influence - _influence([part.other for part in parts if part.other is not None])
    between = _squared_sums(influence, folds) * n_folds / (n_folds - 1)
    cells = np.unique(np.stack([folds, np.concatenate(cluster_of)]), axis=1, return_inverse=True)[1]
    return max(0.0, between - _squared_sums(influence, cells.ravel()))


def _influence(crps: Sequence[Float64[Floats, "_ columns"]]) -> Float64[Floats, " rows"]:
    """What each row moves the score by, to first order."""
    means = [values.mean(axis=0) for values in crps]
    score, n_columns = score_of(means), sum(len(mean) for mean in means)
    rows = [
        ((values - mean) * mean).sum(axis=1) / (n_columns * score * len(values))
        for values, mean in zip(crps, means, strict=True)
    ]
    return np.concatenate(rows)


def _squared_sums(values: Float64[Floats, " rows"], groups: Shaped[NDArray[np.generic], " rows"]) -> float:
    return float((np.bincount(np.unique(groups, return_inverse=True)[1], weights=values) ** 2).sum())
