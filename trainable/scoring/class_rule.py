"""Classes: probabilities by softmax of logits over a temperature that is fitted, scored by log loss or Brier score.

The mean of an event's logits is the geometric mean of its images' probabilities, made to sum to 1; so is that of an
ensemble's members. One temperature, fitted where a sigma would be, says how sure to be (Guo et al. 2017, arXiv
1706.04599). Accuracy, macro F1 and expected calibration error are told beside the score, and decide nothing.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from scipy.special import log_softmax

from trainable.data.task_parts import ClassScore
from trainable.scoring.crps import Floats

TEMPERATURE_RANGE = (0.05, 20.0)
"""Lowest and highest that is fitted (assumption: beyond, logits say nothing, or there is nothing to doubt)."""

N_BINS = 15
"""Of confidence, in an expected calibration error (Guo et al. 2017)."""

PRIOR_PER_CLASS = 0.5
"""Events that a constant forecast counts of every class before the first (Krichevsky & Trofimov 1981)."""

_LOG_GRID: Floats = np.linspace(np.log(TEMPERATURE_RANGE[0]), np.log(TEMPERATURE_RANGE[1]), 25)  # steps of 28 %
_UNCALIBRATED = 1.0

KEPT_DECIMALS = 4
"""Of logits beside a verdict; probabilities are then exact to that share of themselves."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ClassRule:
    """A `Rule`. kind: of the score. Labels are indices of classes, outputs logits, the calibration a temperature."""

    n_classes: int
    kind: ClassScore

    kinds = ("log_loss", "brier", "accuracy", "macro_f1", "ece", "temperature")

    def clip(self, outputs: Float64[Floats, "*rows classes"]) -> Float64[Floats, "*rows classes"]:
        """As they are: logits have no bounds."""
        return outputs

    def fit(
        self,
        labels: Float64[Floats, "events 1"],
        mu: Float64[Floats, "events classes"],
        weights: Float64[Floats, "fits events"] | None = None,
    ) -> Float64[Floats, "fits 1"]:
        """Temperatures, each of the lowest mean loss + (log T)^2 / (events that it is fitted on).

        The second term is a normal prior on log T, of variance 1/2 (assumption): where few events are all forecast
        right, the loss alone would ask for certainty, and the next one that is not would cost without bound. Taken is
        the best of a log grid, then the vertex of the parabola through it and its neighbours.
        """
        rows = np.full((1, len(mu)), 1 / len(mu)) if weights is None else weights
        losses = np.stack([self._losses_at(labels, mu, np.exp(log_t)) for log_t in _LOG_GRID], axis=1)
        means = rows @ losses + _LOG_GRID**2 * (rows**2).sum(axis=1, keepdims=True)  # [fits, grid]
        best = np.clip(means.argmin(axis=1), 1, len(_LOG_GRID) - 2)
        below, at, above = (np.take_along_axis(means, (best + step)[:, None], 1)[:, 0] for step in (-1, 0, 1))
        curvature = below - 2 * at + above
        offset = np.where(curvature > 0, 0.5 * (below - above) / np.where(curvature > 0, curvature, 1.0), 0.0)
        found: Floats = np.exp(_LOG_GRID[best] + np.clip(offset, -1, 1) * (_LOG_GRID[1] - _LOG_GRID[0]))
        return found[:, None]

    def _losses_at(
        self, labels: Float64[Floats, "events 1"], mu: Float64[Floats, "events classes"], temperature: float
    ) -> Float64[Floats, " events"]:
        return self.losses(labels, mu, np.full((len(mu), 1), temperature))[:, 0]

    def within(self, calibration: Float64[Floats, "*rows 1"]) -> Float64[Floats, "*rows 1"]:
        """Within the grid."""
        clipped: Floats = np.clip(calibration, *TEMPERATURE_RANGE)
        return clipped

    def uncalibrated(self, training: Float64[Floats, "events 1"]) -> Float64[Floats, " 1"]:
        """Probabilities as they were trained."""
        return np.full(training.shape[1], _UNCALIBRATED)

    def losses(
        self,
        labels: Float64[Floats, "events 1"],
        mu: Float64[Floats, "events classes"],
        calibration: Float64[Floats, "events 1"],
    ) -> Float64[Floats, "events 1"]:
        """Log loss, or the Brier score: the sum over classes, from 0 to 2, as Brier defined it in 1950."""
        return log_losses(labels, mu, calibration) if self.kind == "log_loss" else briers(labels, mu, calibration)

    def run_figures(
        self,
        labels: Float64[Floats, "events 1"],
        mu: Float64[Floats, "events classes"],
        losses: Float64[Floats, "events 1"],
        calibration: Float64[Floats, "events 1"],
        *,
        pooled: Float64[Floats, " 1"],
        images: Float64[Floats, "images classes"],
        image_labels: Float64[Floats, "images 1"],
    ) -> dict[str, Float64[Floats, " 1"]]:
        """Of events; temperature: the one to hand in for new events."""
        del losses, images, image_labels
        return {**_figures(labels, mu, calibration), "temperature": pooled}

    def gathered_figures(
        self,
        labels: Float64[Floats, "events 1"],
        mu: Float64[Floats, "seeds events classes"],
        losses: Float64[Floats, "events 1"],
        calibration: Float64[Floats, "seeds events 1"] | None,
    ) -> dict[str, Float64[Floats, " 1"]]:
        """Means over seeds."""
        if calibration is None:
            raise ValueError("forecasts of classes must be kept with their temperatures, but have none")
        of_seeds = [_figures(labels, *of_seed) for of_seed in zip(mu, calibration, strict=True)]
        means = {name: cast(Floats, np.mean([of[name] for of in of_seeds], axis=0)) for name in of_seeds[0]}
        return means | {self.kind: losses.mean(axis=0)}  # not of rounded logits

    def kept(self, mu: Float64[Floats, "*rows classes"]) -> Float64[Floats, "*rows classes"]:
        """To a ten-thousandth: there is one for each event and class, and a file should not hold noise of them."""
        rounded: Floats = mu.round(KEPT_DECIMALS)
        return rounded

    def error(
        self,
        labels: Float64[Floats, "events 1"],
        mu: Float64[Floats, "events classes"],
        losses: Float64[Floats, "events 1"],
    ) -> Float64[Floats, " 1"]:
        """The mean loss itself."""
        del labels, mu
        mean: Floats = losses.mean(axis=0)
        return mean

    def constant(
        self, labels: Float64[Floats, "events 1"], otherwise: Float64[Floats, " classes"] | None = None
    ) -> Float64[Floats, " classes"]:
        """Logs of the events' frequencies, none of them 0: half an event more of each class is counted.

        With `otherwise`, one event more, spread as those probabilities are.
        """
        counts = np.bincount(_indices(labels), minlength=self.n_classes).astype(np.float64)
        prior = np.full(self.n_classes, PRIOR_PER_CLASS) if otherwise is None else np.exp(otherwise)
        logs: Floats = np.log((counts + prior) / (counts.sum() + prior.sum()))
        return logs

    def constant_loss(self, labels: Float64[Floats, "events 1"]) -> Float64[Floats, " 1"]:
        """Mean loss of forecasting the events' own frequencies for all of them; 1 where all are of one class."""
        frequencies = np.bincount(_indices(labels), minlength=self.n_classes) / len(labels)
        logs = np.log(np.maximum(frequencies, np.finfo(np.float64).tiny))
        loss = self.losses(labels, np.broadcast_to(logs, (len(labels), self.n_classes)), np.ones_like(labels))
        mean: Floats = loss.mean(axis=0)
        return np.where(mean > 0, mean, 1.0)


def log_losses(
    labels: Float64[Floats, "events 1"],
    logits: Float64[Floats, "events classes"],
    temperature: Float64[Floats, "events 1"],
) -> Float64[Floats, "events 1"]:
    """Minus the log of the true class's probability; finite for finite logits."""
    logs: Floats = np.take_along_axis(log_softmax(logits / temperature, axis=1), _indices(labels)[:, None], axis=1)
    return -logs


def briers(
    labels: Float64[Floats, "events 1"],
    logits: Float64[Floats, "events classes"],
    temperature: Float64[Floats, "events 1"],
) -> Float64[Floats, "events 1"]:
    """Squared differences to certainty of the true class, summed over classes."""
    found = probabilities(logits, temperature)
    of_true = np.take_along_axis(found, _indices(labels)[:, None], axis=1)
    total: Floats = (found**2).sum(axis=1, keepdims=True) + 1 - 2 * of_true
    return total


def probabilities(
    logits: Float64[Floats, "events classes"], temperature: Float64[Floats, "events 1"]
) -> Float64[Floats, "events classes"]:
    """Each row sums to 1."""
    found: Floats = np.exp(log_softmax(logits / temperature, axis=1))
    return found


def macro_f1(true: Int64[NDArray[np.int64], " events"], found: Int64[NDArray[np.int64], " events"]) -> float:
    """Mean over the classes that are true or found somewhere of F1; as `sklearn.metrics.f1_score`."""
    n = int(max(true.max(), found.max())) + 1
    hits = np.bincount(true[true == found], minlength=n)
    n_true, n_found = (np.bincount(of, minlength=n) for of in (true, found))
    occurs = n_true + n_found > 0
    return float((2 * hits[occurs] / (n_true + n_found)[occurs]).mean())


def calibration_error(confidence: Float64[Floats, " events"], is_right: Float64[Floats, " events"]) -> float:
    """Expected calibration error: mean distance of a bin's accuracy from its mean confidence, by events."""
    gaps = np.bincount(confidence_bins(confidence), weights=is_right - confidence, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def confidence_bins(confidence: Float64[Floats, " events"]) -> Int64[NDArray[np.int64], " events"]:
    """Which of `N_BINS` each event is in; a value between two is in the lower one, as Guo et al. have it."""
    edges = np.linspace(0, 1, N_BINS + 1)
    return np.searchsorted(edges[1:-1], confidence).astype(np.int64)


def _figures(
    labels: Float64[Floats, "events 1"], mu: Float64[Floats, "events classes"], calibration: Float64[Floats, "events 1"]
) -> dict[str, Float64[Floats, " 1"]]:
    true, found = _indices(labels), mu.argmax(axis=1).astype(np.int64)
    is_right = (true == found).astype(np.float64)
    values = {
        "log_loss": log_losses(labels, mu, calibration).mean(),
        "brier": briers(labels, mu, calibration).mean(),
        "accuracy": is_right.mean(),
        "macro_f1": macro_f1(true, found),
        "ece": calibration_error(probabilities(mu, calibration).max(axis=1), is_right),
    }
    return {name: np.array([value], dtype=np.float64) for name, value in values.items()}


def _indices(labels: Float64[Floats, "events 1"]) -> Int64[NDArray[np.int64], " events"]:
    return labels[:, 0].astype(np.int64)
