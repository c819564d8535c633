"""A finished model's forecasts beside the labels: its score, and what explains it, as plain values.

Unlike a trial's score, nothing is fitted here: mu and sigma, or logits and temperature, are what the model hands out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy.typing import NDArray
from scipy.special import ndtri

from trainable.plain_values import JsonObject
from trainable.scoring.class_evaluation import (
    ClassEvaluation,
    ClassEvents,
    ClassScores,
    confusion,
    outcomes,
    reliability,
    score_intervals,
)
from trainable.scoring.class_rule import ClassRule
from trainable.scoring.crps import Floats
from trainable.scoring.intervals import LEVEL, bootstrap_interval, score_interval
from trainable.scoring.normal_rule import r2
from trainable.scoring.out_of_fold import Difference, OutOfFold, paired_difference
from trainable.scoring.scoring import EventForecast, root_mean_square
from trainable.scoring.targets import Targets

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

NOMINAL = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Probabilities of the central intervals whose coverage is measured; 0.5 and 0.9 are among them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelForecasts:
    """What a model forecast for events, in rows, and for their images; and what was observed.

    event_ids: ascending. sites: text. is_known: whether the model knows the event's domain: those events are ID, the
    others OOD. mu, sigma: of classes logits and a temperature. event_of_image: the row of an image's event.
    """

    event_ids: Shaped[NDArray[np.generic], " events"]
    sites: Shaped[NDArray[np.generic], " events"]
    domains: Shaped[NDArray[np.generic], " events"]
    is_known: Bool[Mask, " events"]
    labels: Float64[Floats, "events targets"]
    mu: Float64[Floats, "events outputs"]
    sigma: Float64[Floats, "events targets"]
    event_of_image: Int64[Ints, " images"]
    image_predictions: Float64[Floats, "images outputs"]
    targets: Targets = field(default_factory=Targets.beetles)

    @cached_property
    def crps(self) -> Float64[Floats, "events targets"]:
        """Of every event and target; of classes the loss of their score."""
        return self.targets.rule.losses(self.labels, self.mu, self.sigma)

    @property
    def scaled_crps(self) -> Float64[Floats, "events targets"]:
        """What a score is made of."""
        return self.crps / self.targets.floor

    @property
    def has_domains(self) -> bool:
        """Whether the task has domains to tell apart."""
        return self.targets.task.columns.domain is not None

    def parts(self) -> dict[str, Bool[Mask, " events"]]:
        """The events of "id" and "ood"; a part without events is left out."""
        return {name: mask for name, mask in (("id", self.is_known), ("ood", ~self.is_known)) if mask.any()}

    @property
    def of_classes(self) -> ClassEvents | None:
        """The same of a task of classes; None of real targets."""
        rule = self.targets.rule
        return ClassEvents(rule, self.labels, self.mu, self.sigma, self.sites) if isinstance(rule, ClassRule) else None

    def worst_events(self, n: int) -> Int64[Ints, " worst"]:
        """Rows of the n events with the highest mean CRPS over targets, the worst first."""
        return np.argsort(-self.scaled_crps.mean(axis=1), kind="stable")[:n].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScores:
    """One target in one group of events.

    crps, rmse, bias, r2: over events; r2 is None where it is undefined, for fewer than two events. mae: over images.
    bias: mean of forecast minus label.
    """

    crps: float
    r2: float | None
    mae: float
    rmse: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """One group of events: a part, a domain, a site.

    part: "id", "ood", or "all" for both. score: root mean square over targets (and parts) of mean CRPS.
    """

    name: str
    part: str
    n_events: int
    n_images: int
    n_sites: int
    score: float
    targets: dict[str, TargetScores] | dict[str, ClassScores]

    def figure(self, target: str, kind: str) -> float | None:
        """One of a target's scores; None where it is undefined."""
        value: float | None = getattr(self.targets[target], kind)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many labels lie in the central interval of a nominal probability; low, high: over resampled sites."""

    nominal: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All figures of one model on one set of events.

    score: the official one, root mean square of the `parts`: part -> target -> mean CRPS. groups: "all", "id", "ood".
    domains, sites: each one's own, ascending; no domains where the task has none. coverage: "all", "id", "ood" ->
    target -> one entry for each of `NOMINAL`; of classes empty. intervals: of score/all, score/id, score/ood, over
    resampled sites. level: share of draws in an interval. classes: what there is of these alone.
    """

    score: float
    parts: dict[str, dict[str, float]]
    groups: dict[str, GroupScores]
    domains: tuple[GroupScores, ...]
    sites: tuple[GroupScores, ...]
    coverage: dict[str, dict[str, tuple[Coverage, ...]]]
    intervals: dict[str, tuple[float, float]]
    level: float
    classes: ClassEvaluation | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Names, in the task's order."""
        return tuple(self.groups["all"].targets)

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        left_out = "classes" if self.classes is None else "coverage"
        return {name: value for name, value in asdict(self).items() if name != left_out}

    def seed_results(self) -> dict[str, dict[str, float | None]]:
        """The results of the systems that this project replaces: MAE by image and R2 by event, over all events.

        Of classes accuracy and macro F1 by event.
        """
        kinds = {"MAE": "mae", "r2": "r2"} if self.classes is None else {"accuracy": "accuracy", "macro F1": "macro_f1"}
        everything = self.groups["all"]
        return {name: {k: everything.figure(name, kind) for k, kind in kinds.items()} for name in everything.targets}


def evaluate_forecasts(forecasts: ModelForecasts, *, seed: int = 0, level: float = LEVEL) -> Evaluation:
    """Score forecasts of at least one event; seed: of the resampled sites."""
    masks = forecasts.parts()
    means = {name: forecasts.crps[mask].mean(axis=0) for name, mask in masks.items()}
    score = float(root_mean_square(np.concatenate([mean / forecasts.targets.floor for mean in means.values()])))
    everything = np.ones(len(forecasts.labels), dtype=np.bool_)
    groups = {name: _group(forecasts, mask, name) for name, mask in masks.items()}
    groups = {"all": replace(_group(forecasts, everything, "all"), part="all", score=score), **groups}
    return Evaluation(
        score=score,
        parts={name: forecasts.targets.by_name(mean) for name, mean in means.items()},
        groups=groups,
        domains=tuple(_groups_by(forecasts, forecasts.domains)) if forecasts.has_domains else (),
        sites=tuple(_groups_by(forecasts, forecasts.sites)),
        coverage={}
        if forecasts.of_classes is not None
        else {
            name: _coverage(forecasts, mask, seed=seed, level=level)
            for name, mask in {"all": everything, **masks}.items()
        },
        intervals=score_interval(_event_forecasts(forecasts), seed=seed, level=level),
        level=level,
        classes=_of_classes(forecasts, {"all": everything, **masks}, seed=seed, level=level),
    )


def score_differences(one: ModelForecasts, other: ModelForecasts, *, level: float = LEVEL) -> dict[str, Difference]:
    """`score/all`, `score/id`, `score/ood` -> the one's minus the other's on the same events, in pairs.

    Raises: ValueError unless both forecast the same events, in the same parts.
    """
    domain_of_site = dict(zip(one.sites.tolist(), one.domains.tolist(), strict=True))
    a, b = (OutOfFold.gather({0: [_event_forecasts(f)]}, domain_of_site) for f in (one, other))
    differences = {"score/all": paired_difference(a, b, level=level)}
    for name in a.parts:
        alone = (replace(f, parts={name: f.parts[name]}) for f in (a, b))
        differences[f"score/{name}"] = paired_difference(*alone, level=level)
    return differences


def with_common_parts(forecasts: Mapping[str, ModelForecasts]) -> dict[str, ModelForecasts]:
    """The same forecasts of the same events, ID only where every model knows the domain."""
    is_known = np.logical_and.reduce([f.is_known for f in forecasts.values()])
    return {name: replace(f, is_known=is_known) for name, f in forecasts.items()}


def _event_forecasts(forecasts: ModelForecasts) -> dict[str, EventForecast]:
    return {
        name: EventForecast(
            labels=forecasts.labels[mask],
            mu=forecasts.mu[mask],
            sigma=forecasts.sigma[mask],
            crps=forecasts.crps[mask],
            pooled_sigma=forecasts.sigma[mask].mean(axis=0),
            sites=forecasts.sites[mask],
            event_ids=forecasts.event_ids[mask],
            targets=forecasts.targets,
        )
        for name, mask in forecasts.parts().items()
    }


def _groups_by(forecasts: ModelForecasts, keys: Shaped[NDArray[np.generic], " events"]) -> Iterator[GroupScores]:
    for key in np.unique(keys):
        yield _group(forecasts, keys == key, str(key))


def _of_classes(
    forecasts: ModelForecasts, masks: Mapping[str, Bool[Mask, " events"]], *, seed: int, level: float
) -> ClassEvaluation | None:
    events = forecasts.of_classes
    if events is None:
        return None
    names = forecasts.targets.task.classes
    return ClassEvaluation(
        intervals={name: score_intervals(events.of(mask), seed=seed, level=level) for name, mask in masks.items()},
        reliability={name: reliability(events.of(mask), seed=seed, level=level) for name, mask in masks.items()},
        outcomes=tuple(outcomes(events, names)),
        confusion=confusion(events, names),
    )


def _group(forecasts: ModelForecasts, mask: Bool[Mask, " events"], name: str) -> GroupScores:
    of_group, crps = mask[forecasts.event_of_image], forecasts.crps[mask].mean(axis=0)
    events = forecasts.of_classes
    return GroupScores(
        name=name,
        part="id" if forecasts.is_known[mask][0] else "ood",
        n_events=int(mask.sum()),
        n_images=int(of_group.sum()),
        n_sites=len(np.unique(forecasts.sites[mask])),
        score=float(root_mean_square(crps / forecasts.targets.floor)),
        targets=_target_scores(forecasts, mask)
        if events is None
        else dict.fromkeys(forecasts.targets.names, events.of(mask).scores()),
    )


def _target_scores(forecasts: ModelForecasts, mask: Bool[Mask, " events"]) -> dict[str, TargetScores]:
    labels, mu = forecasts.labels[mask], forecasts.mu[mask]
    of_group = mask[forecasts.event_of_image]
    image_labels = forecasts.labels[forecasts.event_of_image[of_group]]
    crps, explained = forecasts.crps[mask].mean(axis=0), r2(labels, mu)
    absolute = np.abs(forecasts.image_predictions[of_group] - image_labels).mean(axis=0)
    squared, bias = ((mu - labels) ** 2).mean(axis=0), (mu - labels).mean(axis=0)
    return {
        target: TargetScores(
            crps=float(crps[i]),
            r2=float(explained[i]) if np.isfinite(explained[i]) else None,
            mae=float(absolute[i]),
            rmse=float(np.sqrt(squared[i])),
            bias=float(bias[i]),
        )
        for i, target in enumerate(forecasts.targets.names)
    }


def _coverage(
    forecasts: ModelForecasts, mask: Bool[Mask, " events"], *, seed: int, level: float
) -> dict[str, tuple[Coverage, ...]]:
    """Target -> coverage at each of `NOMINAL`."""
    widths = ndtri((1 + np.array(NOMINAL)) / 2)
    z = np.abs(forecasts.labels[mask] - forecasts.mu[mask]) / forecasts.sigma[mask]
    inside = (z[:, :, None] <= widths).astype(np.float64)  # [events, targets, levels]
    observed = inside.mean(axis=0)
    low, high = bootstrap_interval(inside, forecasts.sites[mask], seed=seed, level=level)
    return {
        target: tuple(
            Coverage(nominal=p, observed=float(observed[i, k]), low=float(low[i, k]), high=float(high[i, k]))
            for k, p in enumerate(NOMINAL)
        )
        for i, target in enumerate(forecasts.targets.names)
    }
