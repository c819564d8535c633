"""One configuration's forecasts of held-out events, gathered over folds and seeds: its score, its sigma, its rivals.

Every run forecast events that it was not trained on, so what is measured here is what new sites and domains will see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainable.config import TARGETS
from trainable.scoring.crps import SIGMA_RANGE, Floats, fit_sigma
from trainable.scoring.intervals import LEVEL, resample_sites
from trainable.scoring.scoring import EventForecast, r2, root_mean_square

N_DRAWS = 2000
"""Of folds and sites, for an interval."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PartForecasts:
    """Forecasts of one part's events; a row is an event in a fold.

    folds, event_ids: int64 [E]. sites: str [E]. labels: [E, 3]. mu: [S, E, 3], one a seed. crps: [E, 3], the mean over
    seeds, each with its own sigma fitted on other sites.
    """

    folds: NDArray[np.int64]
    event_ids: NDArray[np.int64]
    sites: NDArray[Any]
    labels: Floats
    mu: Floats
    crps: Floats

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; floats exact."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(
            folds=np.asarray(values["folds"], dtype=np.int64),
            event_ids=np.asarray(values["event_ids"], dtype=np.int64),
            sites=np.asarray(values["sites"], dtype=np.str_),
            labels=np.asarray(values["labels"], dtype=np.float64),
            mu=np.asarray(values["mu"], dtype=np.float64),
            crps=np.asarray(values["crps"], dtype=np.float64),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class OutOfFold:
    """parts: "id" (known domains, unseen sites) and "ood" (unseen domains), where there are such events."""

    parts: dict[str, PartForecasts]

    @classmethod
    def gather(cls, runs: Mapping[int, Sequence[Mapping[str, EventForecast]]]) -> Self:
        """runs: fold -> one mapping a seed, of part -> forecasts as `HeldOutScorer.forecasts` gives them."""
        names = dict.fromkeys(name for seeds in runs.values() for name in seeds[0])
        return cls(parts={name: _gather_part(name, runs) for name in names})

    def metrics(self) -> dict[str, float]:
        """`score/all`, `score/PART`, and per target `crps_PART/T` and `r2_PART/T` (the mean over seeds)."""
        values: dict[str, float] = {}
        means = {name: part.crps.mean(axis=0) for name, part in self.parts.items()}
        values["score/all"] = float(root_mean_square(np.concatenate(list(means.values()))))
        for name, part in self.parts.items():
            values[f"score/{name}"] = float(root_mean_square(means[name]))
            explained = np.mean([r2(part.labels, mu) for mu in part.mu], axis=0)
            for i, target in enumerate(TARGETS):
                values[f"crps_{name}/{target}"] = float(means[name][i])
                values[f"r2_{name}/{target}"] = float(explained[i])
        return values

    def intervals(self, *, seed: int, level: float = LEVEL) -> dict[str, tuple[float, float]]:
        """Percentile intervals of `score/all` and of each part's score, over resampled folds and sites."""
        draws = _draws(self, seed)
        scores = {f"score/{name}": root_mean_square(means) for name, means in draws.items()}
        scores = {"score/all": root_mean_square(np.concatenate(list(draws.values()), axis=1)), **scores}
        return {name: _percentiles(values, level) for name, values in scores.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: part.to_dict() for name, part in self.parts.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises: KeyError, ValueError or TypeError for anything else.
        """
        return cls(parts={str(name): PartForecasts.from_dict(part) for name, part in values.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much higher one configuration scores than another on the same events: below 0, it is better.

    low, high: over resampled folds and sites, `level` of the draws between them.
    """

    mean: float
    low: float
    high: float
    level: float

    @property
    def is_win(self) -> bool:
        """Better beyond what other trainings and other sites would have changed."""
        return self.high < 0


def paired_difference(one: OutOfFold, other: OutOfFold, *, seed: int, level: float = LEVEL) -> Difference:
    """`score/all` of the one minus that of the other, with an interval: both get the same draws.

    Raises: ValueError unless both forecast the same events in the same folds.
    """
    if problem := different_events(one, other):
        raise ValueError(problem)
    mean = one.metrics()["score/all"] - other.metrics()["score/all"]
    a, b = (root_mean_square(np.concatenate(list(_draws(x, seed).values()), axis=1)) for x in (one, other))
    low, high = _percentiles(a - b, level)
    return Difference(mean=mean, low=low, high=high, level=level)


def different_events(one: OutOfFold, other: OutOfFold) -> str | None:
    """Why two configurations cannot be compared pairwise; None when they can."""
    if one.parts.keys() != other.parts.keys():
        return f"the one has the parts {', '.join(one.parts)}, the other {', '.join(other.parts)}"
    for name, part in one.parts.items():
        rival = other.parts[name]
        if not np.array_equal(part.folds, rival.folds) or not np.array_equal(part.event_ids, rival.event_ids):
            return f"they did not forecast the same {name} events in the same folds"
        if not np.array_equal(part.labels, rival.labels):
            return f"the labels of their {name} events differ"
    return None


def calibrated_sigmas(forecasts: OutOfFold, *, n_members: int = 1) -> dict[str, Floats]:
    """ "known" and "unknown" (domains) -> sigma per target [3], of the lowest mean CRPS on all these events.

    n_members: of the ensemble that will forecast; its mean errs less than one run, so that of as many seeds, where
    there are as many, is what sigma is fitted to. A kind of domain that was never held out gets the other's sigma.
    """
    sigmas = {name: _fitted(part, n_members) for name, part in forecasts.parts.items()}
    known = sigmas.get("id", sigmas.get("ood"))
    unknown = sigmas.get("ood", known)
    if known is None or unknown is None:
        raise ValueError("a sigma is fitted to at least one part's forecasts")
    return {"known": known, "unknown": unknown}


def _fitted(part: PartForecasts, n_members: int) -> Floats:
    n_seeds = len(part.mu)
    mu = part.mu if n_members == 1 else part.mu[: min(n_members, n_seeds)].mean(axis=0, keepdims=True)
    residuals = (part.labels[None] - mu).reshape(-1, len(TARGETS))
    fitted = fit_sigma(residuals, np.full((1, len(residuals)), 1 / len(residuals)))[0]
    sigma: Floats = np.clip(fitted, *SIGMA_RANGE)
    return sigma


def _gather_part(name: str, runs: Mapping[int, Sequence[Mapping[str, EventForecast]]]) -> PartForecasts:
    folds = {fold: [seed[name] for seed in seeds] for fold, seeds in runs.items() if name in seeds[0]}
    first = [seeds[0] for seeds in folds.values()]
    return PartForecasts(
        folds=np.repeat(np.array(list(folds), dtype=np.int64), [len(f.labels) for f in first]),
        event_ids=np.concatenate([f.event_ids for f in first]).astype(np.int64),
        sites=np.concatenate([f.sites for f in first]).astype(np.str_),
        labels=np.concatenate([f.labels for f in first]),
        mu=np.concatenate([np.stack([f.mu for f in seeds]) for seeds in folds.values()], axis=1),
        crps=np.concatenate([np.mean([f.crps for f in seeds], axis=0) for seeds in folds.values()]),
    )


def _draws(forecasts: OutOfFold, seed: int) -> dict[str, Floats]:
    """Part -> mean CRPS [draws, 3] of resampled folds and, within them, sites; equal events and seed, equal draws.

    What one training got right or wrong by chance is common to all events of its fold. Drawing sites alone takes that
    for skill: of two equally good configurations with a training noise of a tenth to a third of their errors, one
    "beat" the other at 90 % in 10 to 25 % of cases in place of 5; drawing folds first, in 3 to 10 % (simulated on the
    demo's splits).
    """
    rng = np.random.default_rng(seed)
    folds = np.unique(np.concatenate([part.folds for part in forecasts.parts.values()]))
    n_times = rng.multinomial(len(folds), np.full(len(folds), 1 / len(folds)), size=N_DRAWS).astype(np.float64)
    return {name: _part_draws(part, folds, n_times, rng) for name, part in forecasts.parts.items()}


def _part_draws(part: PartForecasts, folds: NDArray[np.int64], n_times: Floats, rng: np.random.Generator) -> Floats:
    """n_times: [draws, folds], how often each fold is in a draw; the same for both parts, whose runs are the same."""
    sums, counts = np.zeros((N_DRAWS, len(TARGETS))), np.zeros((N_DRAWS, 1))
    for times, fold in zip(n_times.T, folds, strict=True):
        rows = part.folds == fold
        if rows.any():
            fold_sums, fold_counts = resample_sites(part.crps[rows], part.sites[rows], rng, n=N_DRAWS)
            sums += times[:, None] * fold_sums
            counts += times[:, None] * fold_counts[:, None]
    # a draw of folds of which none has such events says nothing of them
    means: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), part.crps.mean(axis=0))
    return means


def _percentiles(values: Floats, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
