"""One configuration's forecasts of held-out events, gathered over folds and seeds: its score, its sigma, its rivals.

Every run forecast events that it was not trained on, so what is measured here is what new sites and domains will see.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from numpy.typing import ArrayLike, NDArray

from trainable.data.task import Task
from trainable.plain_values import JsonObject
from trainable.scoring.clustered_error import PartValues, clustered_error
from trainable.scoring.crps import Floats
from trainable.scoring.intervals import LEVEL
from trainable.scoring.scoring import EventForecast, root_mean_square
from trainable.scoring.targets import Targets

_OF_EVENTS = ("folds", "event_ids", "sites", "domains", "labels", "crps")


@dataclass(frozen=True, eq=False, kw_only=True)
class PartForecasts:
    """Forecasts of one part's events; a row is an event in a fold.

    folds: int64 [E]. event_ids: int64 or str [E]. sites, domains: str [E]. labels: [E, T]. mu: [S, E, O], one a seed.
    crps: [E, T], the mean over seeds of the loss (of classes that of their score), each with its own sigma or
    temperature fitted on other sites. sigma: [S, E, T], kept of classes alone: their figures need the temperature.
    `from_dict` holds files to these shapes.
    """

    folds: NDArray[np.int64]
    event_ids: NDArray[np.int64] | NDArray[np.str_]
    sites: NDArray[np.generic]
    domains: NDArray[np.generic]
    labels: Floats
    mu: Floats
    crps: Floats
    sigma: Floats | None = None

    def of(self, rows: Bool[NDArray[np.bool_], " rows"]) -> "PartForecasts":
        """Those of some rows."""
        columns = {name: getattr(self, name)[rows] for name in _OF_EVENTS}
        return PartForecasts(mu=self.mu[:, rows], sigma=None if self.sigma is None else self.sigma[:, rows], **columns)

    def to_dict(self) -> JsonObject:
        """Plain values for JSON; floats exact."""
        names = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        return {name: np.asarray(getattr(self, name)).tolist() for name in names}

    @classmethod
    def from_dict(cls, values: JsonObject, *, task: Task) -> Self:
        """Inverse of `to_dict`; where no domains were written down, each site counts as one.

        Raises: KeyError, ValueError or TypeError for anything else.
        """
        part = cls(
            domains=np.asarray(values.get("domains", values["sites"]), dtype=np.str_),
            folds=np.asarray(values["folds"], dtype=np.int64),
            event_ids=_ids(values["event_ids"]),
            sites=np.asarray(values["sites"], dtype=np.str_),
            labels=np.asarray(values["labels"], dtype=np.float64),
            mu=np.asarray(values["mu"], dtype=np.float64),
            crps=np.asarray(values["crps"], dtype=np.float64),
            sigma=np.asarray(values["sigma"], dtype=np.float64) if task.has_classes else None,
        )
        part._check(task)
        return part

    def _check(self, task: Task) -> None:
        n, n_seeds, n_targets = len(self.labels), len(self.mu), len(task.targets)
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(("folds", "event_ids", "sites", "domains"), (n,))
        wanted |= {"labels": (n, n_targets), "crps": (n, n_targets), "mu": (n_seeds, n, task.n_outputs)}
        if task.has_classes:
            wanted["sigma"] = (n_seeds, n, n_targets)
        for name, shape in wanted.items():
            column = getattr(self, name)
            if column.shape != shape or not column.size:
                raise ValueError(f"`{name}` must be of shape {shape}, none of it 0, but is of {column.shape}")
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise ValueError(f"`{name}` must be finite, but is not")


@dataclass(frozen=True, eq=False, kw_only=True)
class OutOfFold:
    """parts: "id" (known domains, unseen sites) and "ood" (unseen domains), where there are such events."""

    parts: dict[str, PartForecasts]
    targets: Targets = field(default_factory=Targets.beetles)

    @classmethod
    def gather(
        cls, runs: Mapping[int, Sequence[Mapping[str, EventForecast]]], domain_of_site: Mapping[str, object]
    ) -> Self:
        """runs: fold -> one mapping a seed, of part -> forecasts as `HeldOutScorer.forecasts` gives them."""
        names = dict.fromkeys(name for seeds in runs.values() for name in seeds[0])
        targets = next(iter(next(iter(runs.values()))[0].values())).targets
        return cls(parts={name: _gather_part(name, runs, domain_of_site) for name in names}, targets=targets)

    def metrics(self) -> dict[str, float]:
        """`score/all`, `score/PART`, and per target T `KIND_PART/T` of what the targets' rule gathers over seeds."""
        values: dict[str, float] = {}
        means = {name: part.crps.mean(axis=0) for name, part in self.parts.items()}
        floor = self.targets.floor
        values["score/all"] = float(root_mean_square(np.concatenate([mean / floor for mean in means.values()])))
        for name, part in self.parts.items():
            values[f"score/{name}"] = float(root_mean_square(means[name] / floor))
            figures = self.targets.rule.gathered_figures(part.labels, part.mu, part.crps, part.sigma)
            for i, target in enumerate(self.targets.names):
                values |= {f"{kind}_{name}/{target}": float(of_targets[i]) for kind, of_targets in figures.items()}
        return values

    def intervals(self, *, level: float = LEVEL) -> dict[str, tuple[float, float]]:
        """Of `score/all` and of each part's score: what other domains and other trainings would have changed."""
        found = {"score/all": self._interval(list(self.parts.values()), level)}
        return found | {f"score/{name}": self._interval([part], level) for name, part in self.parts.items()}

    def _interval(self, parts: Sequence[PartForecasts], level: float) -> tuple[float, float]:
        floor = self.targets.floor
        score = float(root_mean_square(np.concatenate([part.crps.mean(axis=0) / floor for part in parts])))
        half = clustered_error([_values(part, None, floor) for part in parts]).half_width(level)
        return max(0.0, score - half), score + half

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        values = {name: part.to_dict() for name, part in self.parts.items()}
        return values if self.targets.task.is_beetles else values | {"targets": self.targets.to_dict()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Self:
        """Inverse of `to_dict`.

        Raises: KeyError, ValueError or TypeError for anything else.
        """
        targets = Targets.from_dict(values["targets"]) if "targets" in values else Targets.beetles()
        parts = {name: part for name, part in values.items() if name != "targets"}
        return cls(
            parts={str(name): PartForecasts.from_dict(part, task=targets.task) for name, part in parts.items()},
            targets=targets,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much higher one configuration scores than another on the same events: below 0, it is better.

    low, high: the interval that holds the truth, of other domains and other trainings, with probability `level`.
    p_better: probability that the truth is below 0, by the same error; None where it was not written down.
    """

    mean: float
    low: float
    high: float
    level: float
    p_better: float | None = None

    @property
    def is_win(self) -> bool:
        """Better beyond what other trainings and other domains would have changed."""
        return self.high < 0

    @property
    def size(self) -> str:
        """ "0.011 [0.004, 0.018]": by how much it is better, or worse where `mean` is above 0, with its interval."""
        digits = 3 if abs(self.mean) >= 0.001 else 5
        low, high = (self.low, self.high) if self.mean > 0 else (-self.high, -self.low)
        return f"{abs(self.mean):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def paired_difference(one: OutOfFold, other: OutOfFold, *, level: float = LEVEL) -> Difference:
    """`score/all` of the one minus that of the other, with the interval of the pairs; see `clustered_error`.

    Raises: ValueError unless both forecast the same events in the same folds.
    """
    if problem := different_events(one, other):
        raise ValueError(problem)
    mean = one.metrics()["score/all"] - other.metrics()["score/all"]
    pairs = [_values(part, other.parts[name].crps, one.targets.floor) for name, part in one.parts.items()]
    error = clustered_error(pairs)
    half, p_better = error.half_width(level), error.probability_below_zero(mean)
    return Difference(mean=mean, low=mean - half, high=mean + half, level=level, p_better=p_better)


def restricted(one: OutOfFold, to: OutOfFold) -> OutOfFold:
    """The one's forecasts of the events that the other forecast, in the same folds; parts without any are left out."""
    parts = {}
    for name, part in one.parts.items():
        if name in to.parts:
            wanted = set(zip(to.parts[name].folds.tolist(), to.parts[name].event_ids.tolist(), strict=True))
            pairs = zip(part.folds.tolist(), part.event_ids.tolist(), strict=True)
            rows = np.array([pair in wanted for pair in pairs], dtype=np.bool_)
            if rows.any():
                parts[name] = part.of(rows)
    return replace(one, parts=parts)


def different_events(one: OutOfFold, other: OutOfFold) -> str | None:
    """Why two configurations cannot be compared pairwise; None when they can."""
    if one.targets.task.fingerprint != other.targets.task.fingerprint:
        return f"their tasks differ: the one's of {', '.join(one.targets.names)} and the other's are not the same"
    if one.parts.keys() != other.parts.keys():
        return f"the one has the parts {', '.join(one.parts)}, the other {', '.join(other.parts)}"
    for name, part in one.parts.items():
        rival = other.parts[name]
        if not np.array_equal(part.folds, rival.folds) or not np.array_equal(part.event_ids, rival.event_ids):
            return f"they did not forecast the same {name} events in the same folds"
        if not np.array_equal(part.labels, rival.labels):
            return f"the labels of their {name} events differ"
    return None


def only_fresh(
    forecasts: Mapping[str, EventForecast], seen: Shaped[NDArray[np.generic], " seen"]
) -> dict[str, EventForecast]:
    """Of one fold's forecasts those of events that nothing was chosen by yet; all of them where none is fresh.

    seen: event ids that the search scored its trials on. A part without a fresh event is left out.
    """
    fresh = {name: ~np.isin(part.event_ids, seen) for name, part in forecasts.items()}
    if not any(rows.any() for rows in fresh.values()):
        return dict(forecasts)
    return {name: part.of(fresh[name]) for name, part in forecasts.items() if fresh[name].any()}


def calibrated_sigmas(forecasts: OutOfFold, *, n_members: int = 1) -> dict[str, Float64[Floats, " targets"]]:
    """ "known" and "unknown" (domains) -> sigma, or temperature, per target of the lowest mean loss on these events.

    n_members: of the ensemble that will forecast; its mean errs less than one run, so that of as many seeds, where
    there are as many, is what sigma is fitted to. A kind of domain that was never held out gets the other's sigma.
    """
    sigmas = {name: _fitted(part, n_members, forecasts.targets) for name, part in forecasts.parts.items()}
    known = sigmas.get("id", sigmas.get("ood"))
    unknown = sigmas.get("ood", known)
    if known is None or unknown is None:
        raise ValueError("a sigma is fitted to at least one part's forecasts")
    return {"known": known, "unknown": unknown}


def _fitted(part: PartForecasts, n_members: int, targets: Targets) -> Float64[Floats, " targets"]:
    n_seeds = len(part.mu)
    mu = part.mu if n_members == 1 else part.mu[: min(n_members, n_seeds)].mean(axis=0, keepdims=True)
    rows = mu.reshape(-1, mu.shape[-1])
    labels = np.broadcast_to(part.labels, (len(mu), *part.labels.shape)).reshape(len(rows), -1)
    return targets.rule.within(targets.rule.fit(labels, rows, np.full((1, len(rows)), 1 / len(rows)))[0])


def _gather_part(
    name: str, runs: Mapping[int, Sequence[Mapping[str, EventForecast]]], domain_of_site: Mapping[str, object]
) -> PartForecasts:
    folds = {fold: [seed[name] for seed in seeds] for fold, seeds in runs.items() if name in seeds[0]}
    first = [seeds[0] for seeds in folds.values()]
    sites = np.concatenate([f.sites for f in first]).astype(np.str_)
    return PartForecasts(
        folds=np.repeat(np.array(list(folds), dtype=np.int64), [len(f.labels) for f in first]),
        event_ids=_ids(np.concatenate([f.event_ids for f in first])),
        sites=sites,
        domains=np.array([str(domain_of_site[str(site)]) for site in sites], dtype=np.str_),
        labels=np.concatenate([f.labels for f in first]),
        mu=first[0].targets.rule.kept(
            np.concatenate([np.stack([f.mu for f in seeds]) for seeds in folds.values()], axis=1)
        ),
        crps=np.concatenate([np.mean([f.crps for f in seeds], axis=0) for seeds in folds.values()]),
        sigma=np.concatenate([np.stack([f.sigma for f in seeds]) for seeds in folds.values()], axis=1)
        if first[0].targets.task.has_classes
        else None,
    )


def _ids(values: ArrayLike) -> NDArray[np.int64] | NDArray[np.str_]:
    """Event ids as they are: numbers, or text."""
    given = np.asarray(values)
    if given.dtype.kind == "U":
        return given.astype(np.str_)
    return np.asarray(values, dtype=np.int64)


def _values(
    part: PartForecasts, other: Float64[Floats, "rows targets"] | None, floor: Float64[Floats, " targets"]
) -> PartValues:
    return PartValues(
        crps=part.crps / floor,
        other=None if other is None else other / floor,
        domains=part.domains,
        sites=part.sites,
        folds=part.folds,
    )
