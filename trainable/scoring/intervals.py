"""How far a trial's score could have come out otherwise: intervals over the held-out sites."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy.typing import ArrayLike, NDArray

from trainable.scoring.crps import Floats
from trainable.scoring.scoring import EventForecast, root_mean_square

LEVEL = 0.9
"""Share of resampled scores that lies inside an interval."""


def score_interval(
    forecasts: Mapping[str, EventForecast], *, seed: int, level: float = LEVEL, n: int = 1000
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `score/all` and of each part's score, resampling whole sites, whose events are alike.

    forecasts: part ("id", "ood") -> its events, as `HeldOutScorer.forecasts` gives them. Each part's sites are drawn
    anew with replacement `n` times; mean CRPS and its root mean square follow as in `HeldOutScorer.score`. Predictions
    and sigmas stay as they are: the interval speaks of other sites, not of other trainings. In a part with one site
    the events are drawn instead, which is too narrow where they are alike.

    Raises: ValueError for a level outside (0, 1).
    """
    rng = np.random.default_rng(seed)
    means = {part: _resampled_means(f.scaled_crps, f.sites, rng, n=n) for part, f in forecasts.items()}
    scores = {f"score/{part}": root_mean_square(m) for part, m in means.items()}
    scores = {"score/all": root_mean_square(np.concatenate(list(means.values()), axis=1)), **scores}
    return {name: (float(low), float(high)) for name, (low, high) in _percentiles(scores, level).items()}


def bootstrap_interval(
    per_event_labels: ArrayLike, groups: ArrayLike, *, seed: int, level: float = LEVEL, n: int = 1000
) -> Float64[Floats, " 2 *columns"]:
    """Percentile interval of the mean over events, resampling whole groups (sites), whose events are alike.

    per_event_labels: a row an event, of any shape; give differences of two models on the same events for a paired
    interval. groups: `[events]`. Returns low, then high. With one group the events are resampled instead, which is too
    narrow where they are alike; there is no better from one site.
    """
    values = np.asarray(per_event_labels, dtype=np.float64)
    columns = values.reshape(len(values), -1)
    means = _resampled_means(columns, np.asarray(groups), np.random.default_rng(seed), n=n)
    interval: Floats = np.asarray(_percentiles({"mean": means}, level)["mean"])
    return interval.reshape(2, *values.shape[1:])


def resample_sites(
    values: Float64[Floats, "events columns"],
    groups: Shaped[NDArray[np.generic], " events"],
    rng: np.random.Generator,
    *,
    n: int,
) -> tuple[Float64[Floats, "draws columns"], Float64[Floats, " draws"]]:
    """n draws of as many groups (sites) as there are: sums over their events, and how many these are.

    With one group the events are drawn instead.
    """
    group_of_event, draws = site_draws(groups, rng, n=n)
    n_groups = draws.shape[1]
    counts = np.bincount(group_of_event, minlength=n_groups).astype(np.float64)
    sums = np.zeros((n_groups, values.shape[1]))
    np.add.at(sums, group_of_event, values)
    return draws @ sums, draws @ counts


def site_draws(
    groups: Shaped[NDArray[np.generic], " events"], rng: np.random.Generator, *, n: int
) -> tuple[Int64[NDArray[np.int64], " events"], Float64[Floats, "draws groups"]]:
    """Each event's group, and how often each group is in each of n draws of as many as there are.

    With one group each event is its own.
    """
    group_of_event = np.unique(groups, return_inverse=True)[1]
    if group_of_event.max() == 0:
        group_of_event = np.arange(len(groups))
    n_groups = int(group_of_event.max()) + 1
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n).astype(np.float64)
    return group_of_event.astype(np.int64), draws


def _resampled_means(
    values: Float64[Floats, "events columns"],
    groups: Shaped[NDArray[np.generic], " events"],
    rng: np.random.Generator,
    *,
    n: int,
) -> Float64[Floats, "draws columns"]:
    sums, counts = resample_sites(values, groups, rng, n=n)
    means: Floats = sums / counts[:, None]
    return means


def _percentiles(samples: Mapping[str, Floats], level: float) -> dict[str, Floats]:
    if not 0 < level < 1:
        raise ValueError(f"`0 < level < 1` must hold, but got {level}")
    tail = (1 - level) / 2
    return {name: np.quantile(values, [tail, 1 - tail], axis=0) for name, values in samples.items()}
