"""What explains a finished model's forecasts of classes: figures with intervals, reliability, which are confused."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy.typing import NDArray

from trainable.scoring.class_rule import N_BINS, ClassRule, briers, confidence_bins, log_losses, probabilities
from trainable.scoring.crps import Floats
from trainable.scoring.intervals import site_draws

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """One group of events. brier: summed over classes, from 0 to 2. ece: in `N_BINS` bins of confidence."""

    log_loss: float
    brier: float
    accuracy: float
    macro_f1: float
    ece: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Events whose most probable class is so probable: how often it was right; low, high: over resampled sites."""

    n_events: int
    confidence: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOutcome:
    """One class: how many events are of it, how many were forecast as it; None where that is of no event."""

    name: str
    n_events: int
    n_forecast: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEvaluation:
    """All of these are of events; an event is forecast as its most probable class.

    intervals: group -> a `ClassScores`' figure -> low, high, over resampled sites. reliability: group -> bins that have
    events, by rising confidence. outcomes: every class. confusion: true class -> class it was forecast as -> events.
    """

    intervals: dict[str, dict[str, tuple[float, float]]]
    reliability: dict[str, tuple[Bin, ...]]
    outcomes: tuple[ClassOutcome, ...]
    confusion: dict[str, dict[str, int]]


@dataclass(frozen=True, eq=False, slots=True)
class ClassEvents:
    """Forecasts of some events. temperature: of each; sites: for resampling."""

    rule: ClassRule
    labels: Float64[Floats, "events 1"]
    logits: Float64[Floats, "events classes"]
    temperature: Float64[Floats, "events 1"]
    sites: Shaped[NDArray[np.generic], " events"]

    @property
    def true(self) -> Int64[Ints, " events"]:
        """Indices of classes."""
        indices: Ints = self.labels[:, 0].astype(np.int64)
        return indices

    @property
    def found(self) -> Int64[Ints, " events"]:
        """Indices of the most probable classes."""
        best: Ints = self.logits.argmax(axis=1).astype(np.int64)
        return best

    @property
    def confidence(self) -> Float64[Floats, " events"]:
        """Of the most probable class."""
        most: Floats = probabilities(self.logits, self.temperature).max(axis=1)
        return most

    def of(self, rows: Bool[NDArray[np.bool_], " events"]) -> "ClassEvents":
        """Some of them."""
        return ClassEvents(self.rule, self.labels[rows], self.logits[rows], self.temperature[rows], self.sites[rows])

    def scores(self) -> ClassScores:
        """Of all of them."""
        figures = self.rule.gathered_figures(
            self.labels, self.logits[None], self.rule.losses(self.labels, self.logits, self.temperature),
            self.temperature[None],
        )  # fmt: skip
        return ClassScores(**{name: float(values[0]) for name, values in figures.items()})


def score_intervals(events: ClassEvents, *, seed: int, level: float, n: int = 1000) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `ClassScores`' figures, resampling whole sites as `intervals.resample_sites` does."""
    groups, draws = site_draws(events.sites, np.random.default_rng(seed), n=n)
    true, found, n_groups, n_classes = events.true, events.found, draws.shape[1], events.rule.n_classes

    def drawn(columns: Ints, width: int, weights: Floats | None = None) -> Floats:
        """[draws, width]: sums over drawn events of what falls into each column."""
        flat = np.bincount(groups * width + columns, weights=weights, minlength=n_groups * width)
        sums: Floats = draws @ flat.reshape(n_groups, width).astype(np.float64)
        return sums

    is_right, all_one = (true == found).astype(np.float64), np.zeros(len(true), dtype=np.int64)
    counts = drawn(all_one, 1)[:, 0]
    means = {
        "log_loss": log_losses(events.labels, events.logits, events.temperature)[:, 0],
        "brier": briers(events.labels, events.logits, events.temperature)[:, 0],
        "accuracy": is_right,
    }
    samples = {name: drawn(all_one, 1, values)[:, 0] / counts for name, values in means.items()}
    both = drawn(true, n_classes) + drawn(found, n_classes)
    f1 = 2 * drawn(true, n_classes, is_right) / np.where(both > 0, both, 1.0)
    samples["macro_f1"] = f1.sum(axis=1) / (both > 0).sum(axis=1)
    gaps = drawn(confidence_bins(events.confidence), N_BINS, is_right - events.confidence)
    samples["ece"] = np.abs(gaps).sum(axis=1) / counts
    tail = (1 - level) / 2
    limits = {name: np.quantile(values, [tail, 1 - tail]) for name, values in samples.items()}
    return {name: (float(low), float(high)) for name, (low, high) in limits.items()}


def reliability(events: ClassEvents, *, seed: int, level: float, n: int = 1000) -> tuple[Bin, ...]:
    """Bins of confidence that have events; a draw of sites without one of a bin has no part in its interval."""
    confidence, is_right = events.confidence, (events.true == events.found).astype(np.float64)
    bins = confidence_bins(confidence)
    groups, draws = site_draws(events.sites, np.random.default_rng(seed), n=n)
    tail = (1 - level) / 2
    found = []
    for place in np.unique(bins):
        inside = bins == place
        sums, counts = (
            draws @ np.bincount(groups[inside], weights=weights, minlength=draws.shape[1])
            for weights in (is_right[inside], np.ones(int(inside.sum())))
        )
        low, high = np.quantile(sums[counts > 0] / counts[counts > 0], [tail, 1 - tail])
        found.append(
            Bin(
                n_events=int(inside.sum()),
                confidence=float(confidence[inside].mean()),
                accuracy=float(is_right[inside].mean()),
                low=float(low),
                high=float(high),
            )
        )
    return tuple(found)


def outcomes(events: ClassEvents, names: tuple[str, ...]) -> Iterator[ClassOutcome]:
    """Of every class, in the task's order."""
    true, found = events.true, events.found
    hits = np.bincount(true[true == found], minlength=len(names)).tolist()
    n_true, n_found = (np.bincount(of, minlength=len(names)).tolist() for of in (true, found))
    for name, right, here, told in zip(names, hits, n_true, n_found, strict=True):
        yield ClassOutcome(
            name=name,
            n_events=here,
            n_forecast=told,
            recall=right / here if here else None,
            precision=right / told if told else None,
            f1=2 * right / (here + told) if here + told else None,
        )


def confusion(events: ClassEvents, names: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """True class -> class it was forecast as -> how many events; what never happened is left out."""
    pairs, counts = np.unique(np.stack([events.true, events.found]), axis=1, return_counts=True)
    found: dict[str, dict[str, int]] = {}
    for (true, told), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        found.setdefault(names[true], {})[names[told]] = count
    return found
