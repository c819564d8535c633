"""The score of a trial: an honestly calibrated loss, and the figures that explain it, on ID and OOD events.

*ID* events come from known domains at unseen sites, *OOD* events from unseen domains. A forecast for an event is a
normal (mu, sigma) per real target: mu is the mean over the event's images of the predictions clipped to the bounds,
sigma is fitted on events of *other* sites. Scores are means over events; the challenge scores them likewise
(`score4cast`, family "normal"). Of classes it is a probability each, mu being the mean of the images' logits, and
a temperature takes the place of sigma. What differs between the two is in the targets' `Rule`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy.typing import ArrayLike, NDArray

from trainable.scoring.crps import Floats
from trainable.scoring.group_floor import BY_DOMAIN, BY_SPECIES, GroupFloor
from trainable.scoring.targets import Targets, event_labels

if TYPE_CHECKING:
    from trainable.data.splits import Split

Ints = NDArray[np.int64]

MIN_FIT_EVENTS = 5
"""Fewest events a sigma is fitted on (assumption: below this, the SD of the training labels is the safer guess)."""

N_EVENT_FOLDS = 5


@dataclass(frozen=True)
class EventForecast:
    """What one part's events were given, and what it cost.

    sigma: the calibration, of classes a temperature. crps: the loss, of classes that of their score.
    pooled_sigma: fitted on all of the part's events: the one to hand in for new events. sites: for resampling by site.
    """

    labels: Float64[Floats, "events targets"]
    mu: Float64[Floats, "events outputs"]
    sigma: Float64[Floats, "events targets"]
    crps: Float64[Floats, "events targets"]
    pooled_sigma: Float64[Floats, " targets"]
    sites: Shaped[NDArray[np.generic], " events"]
    event_ids: Shaped[NDArray[np.generic], " events"]
    targets: Targets = field(default_factory=Targets.beetles)

    @property
    def scaled_crps(self) -> Float64[Floats, "events targets"]:
        """What a score is made of."""
        return self.crps / self.targets.floor

    def of(self, rows: Bool[NDArray[np.bool_], " events"]) -> "EventForecast":
        """Those of some of the events."""
        columns = ("labels", "mu", "sigma", "crps", "sites", "event_ids")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})


@dataclass(frozen=True)
class ScoredPart:
    """A part's forecasts, the clipped predictions that they are means of, and these images' labels."""

    forecast: EventForecast
    images: Float64[Floats, "images outputs"]
    image_labels: Float64[Floats, "images targets"]


class HeldOutScorer:
    """Scores predictions for a split's held-out specimens; all that does not depend on them is computed once.

    labels `[n, targets]`, event_ids and site_ids `[n]` describe all specimens; `split` names the training, ID and OOD
    rows. A part without rows is left out everywhere. targets: the challenge's where none are given. Its own event_ids
    and site_ids are those of the predictions.

    Where a part's sigmas come from:
    "other sites"      fitted on the part's events at all other sites: the rule;
    "other events"     fitted on the other folds of events, when there is one site or the others have too few;
    "training labels"  the SD of the training events' labels, when even so fewer than `MIN_FIT_EVENTS` are left; of
                       classes a temperature of 1.
    """

    def __init__(
        self,
        labels: ArrayLike,
        event_ids: ArrayLike,
        site_ids: ArrayLike,
        split: "Split",
        *,
        targets: Targets | None = None,
    ) -> None:
        self.targets = targets or Targets.beetles()
        values = np.asarray(labels, dtype=np.float64)
        events, sites = np.asarray(event_ids), np.asarray(site_ids)
        fallback = self.targets.rule.uncalibrated(event_labels(values, events, np.asarray(split.train)))
        rows = {"id": np.asarray(split.id_, dtype=np.int64), "ood": np.asarray(split.ood, dtype=np.int64)}
        predicted = np.concatenate(list(rows.values()))
        self.n_predictions, self.event_ids, self.site_ids = len(predicted), events[predicted], sites[predicted]
        if self.n_predictions == 0:
            raise ValueError("a split without held-out rows cannot be scored")
        self._parts: dict[str, _Part] = {}
        offset = 0
        for name, part in rows.items():
            if len(part):
                self._parts[name] = _Part.make(
                    values, events, sites, part, offset=offset, fallback=fallback, targets=self.targets
                )
            offset += len(part)

    def forecasts(self, predictions: ArrayLike) -> dict[str, EventForecast]:
        """Part -> forecasts of its events, and their losses; predictions as for `score`, all finite."""
        clipped = self.targets.clip(self._checked(predictions))
        return {name: part.forecast(clipped[part.image_slice]) for name, part in self._parts.items()}

    def score(self, predictions: ArrayLike) -> dict[str, float]:
        """All metrics of predictions `[len(id_) + len(ood), outputs]`, the ID rows first; see `metric_names`.

        With any prediction NaN or infinite every metric is NaN: whether the trial has diverged is the trainer's to
        say.
        """
        given = self._checked(predictions)
        if not np.isfinite(given).all():
            return dict.fromkeys(self.metric_names(), float("nan"))
        return metrics_of(self.scored(given), self.targets)

    def scored(self, predictions: ArrayLike) -> dict[str, ScoredPart]:
        """Part -> its forecasts beside what they are made of; predictions as for `score`, all finite."""
        clipped = self.targets.clip(self._checked(predictions))
        return {name: part.scored(clipped[part.image_slice]) for name, part in self._parts.items()}

    def metric_names(self) -> list[str]:
        """`score/all`, and for each part `score/PART` and, per target T, `KIND_PART/T` for each of the rule's kinds.

        score: root mean square, over targets (and parts), of mean losses over their target's floor. crps, r2: over
        events. mae: over images. sigma, temperature: fitted on all of the part's events. Those of classes: over events.
        """
        names = ["score/all"]
        for part in self._parts:
            names.append(f"score/{part}")
            kinds = self.targets.rule.kinds
            names.extend(f"{kind}_{part}/{target}" for kind in kinds for target in self.targets.names)
        return names

    def _checked(self, predictions: ArrayLike) -> Float64[Floats, "specimens outputs"]:
        given, n_outputs = np.asarray(predictions, dtype=np.float64), self.targets.task.n_outputs
        if given.shape != (self.n_predictions, n_outputs):
            raise ValueError(f"predictions must be [{self.n_predictions}, {n_outputs}], but got {list(given.shape)}")
        return given


def metrics_of(parts: Mapping[str, ScoredPart], targets: Targets) -> dict[str, float]:
    """What `HeldOutScorer.metric_names` names, of each part's forecasts."""
    metrics: dict[str, float] = {}
    all_losses: list[Floats] = []
    for name, part in parts.items():
        forecast = part.forecast
        all_losses.append(forecast.crps.mean(axis=0) / targets.floor)
        metrics[f"score/{name}"] = float(root_mean_square(all_losses[-1]))
        figures = targets.rule.run_figures(
            forecast.labels,
            forecast.mu,
            forecast.crps,
            forecast.sigma,
            pooled=forecast.pooled_sigma,
            images=part.images,
            image_labels=part.image_labels,
        )
        for kind, values in figures.items():
            metrics |= {f"{kind}_{name}/{target}": v for target, v in targets.by_name(values).items()}
    return {"score/all": float(root_mean_square(np.concatenate(all_losses))), **metrics}


@dataclass(frozen=True)
class _Part:
    """One side of the held-out events.

    fits: rows of weights, the last one over all events. fit_of_event: the row without the event's group.
    """

    source: str
    image_slice: slice
    image_labels: Float64[Floats, "images targets"]
    order: Int64[Ints, " images"]
    starts: Int64[Ints, " events"]
    n_images: Float64[Floats, "events 1"]
    event_ids: Shaped[NDArray[np.generic], " events"]
    labels: Float64[Floats, "events targets"]
    sites: Shaped[NDArray[np.generic], " events"]
    fits: Float64[Floats, "fits events"]
    fit_of_event: Int64[Ints, " events"]
    fallback: Float64[Floats, " targets"]
    targets: Targets

    @classmethod
    def make(
        cls,
        labels: Float64[Floats, "specimens targets"],
        event_ids: Shaped[NDArray[np.generic], " specimens"],
        site_ids: Shaped[NDArray[np.generic], " specimens"],
        rows: Int64[Ints, " images"],
        *,
        offset: int,
        fallback: Float64[Floats, " targets"],
        targets: Targets,
    ) -> "_Part":
        order = np.argsort(event_ids[rows], kind="stable")
        ids, starts, counts = np.unique(event_ids[rows][order], return_index=True, return_counts=True)
        first_rows = rows[order][starts]
        sites = site_ids[first_rows]
        source, groups = _groups(sites)
        return cls(
            source=source,
            image_slice=slice(offset, offset + len(rows)),
            image_labels=labels[rows],
            order=order,
            starts=starts,
            n_images=counts[:, None].astype(np.float64),
            event_ids=ids,
            labels=labels[first_rows],
            sites=sites,
            fits=_leave_group_out(groups),
            fit_of_event=groups,
            fallback=fallback,
            targets=targets,
        )

    def scored(self, images: Float64[Floats, "images outputs"]) -> ScoredPart:
        """As `forecast`, beside what it is made of."""
        return ScoredPart(self.forecast(images), images, self.image_labels)

    def forecast(self, images: Float64[Floats, "images outputs"]) -> EventForecast:
        """images: clipped predictions in the order of the part's rows."""
        rule, mu = self.targets.rule, np.add.reduceat(images[self.order], self.starts, axis=0) / self.n_images
        if self.source == "training labels":
            pooled = self.fallback
            sigma = np.broadcast_to(pooled, self.labels.shape)
        else:
            fitted = rule.fit(self.labels, mu, self.fits)
            sigma, pooled = fitted[self.fit_of_event], fitted[-1]
        losses = rule.losses(self.labels, mu, sigma)
        return EventForecast(self.labels, mu, sigma, losses, pooled, self.sites, self.event_ids, self.targets)


def _groups(sites: Shaped[NDArray[np.generic], " events"]) -> tuple[str, Int64[Ints, " events"]]:
    """Events' groups that share a sigma, and the name of the rule that made them."""
    n = len(sites)
    by_site = np.unique(sites, return_inverse=True)[1].astype(np.int64)
    by_fold = np.arange(n, dtype=np.int64) % min(N_EVENT_FOLDS, n)
    for source, groups in (("other sites", by_site), ("other events", by_fold)):
        if n - np.bincount(groups).max() >= MIN_FIT_EVENTS:
            return source, groups
    return "training labels", np.zeros(n, dtype=np.int64)


def _leave_group_out(groups: Int64[Ints, " events"]) -> Float64[Floats, "fits events"]:
    """Row g averages over events outside group g (zeros within), the last row over all."""
    outside = (np.arange(groups.max() + 1)[:, None] != groups[None]).astype(np.float64)
    counts = np.maximum(outside.sum(axis=1, keepdims=True), 1)
    return np.concatenate([outside / counts, np.full((1, len(groups)), 1 / len(groups))])


def floor_predictions(
    labels: ArrayLike,
    event_ids: ArrayLike,
    domain_ids: ArrayLike,
    species: ArrayLike,
    split: "Split",
    *,
    targets: Targets | None = None,
) -> dict[str, Float64[Floats, "held_out outputs"]]:
    """Floor -> its predictions for the held-out specimens, as `HeldOutScorer.score` takes them."""
    values = np.asarray(labels, dtype=np.float64)
    events = np.asarray(event_ids)
    train = np.asarray(split.train)
    held_out = np.concatenate([np.asarray(split.id_), np.asarray(split.ood)]).astype(np.int64)
    of = targets or Targets.beetles()
    groupings = {}
    if of.task.columns.domain is not None:
        groupings[BY_DOMAIN] = np.asarray(domain_ids)
    if of.task.covariates:
        groupings[BY_SPECIES] = np.asarray(species)
    constant = of.rule.constant(event_labels(values, events, train))
    return {"constant": np.tile(constant, (len(held_out), 1))} | {
        name: GroupFloor.of(values, events, group, train, known=np.unique(group[train]), rule=of.rule).predictions(
            group[held_out]
        )
        for name, group in groupings.items()
    }


def root_mean_square(values: Float64[Floats, "*rows columns"]) -> Any:
    """Over the last axis, a value a row; the challenge's mean of mean CRPS values."""
    return np.sqrt(np.mean(values**2, axis=-1))
