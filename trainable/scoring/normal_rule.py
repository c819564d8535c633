"""Real targets: a normal whose sigma is fitted, scored by CRPS; told by R2 over events and MAE over images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from trainable.scoring.crps import SIGMA_RANGE, Floats, crps_normal, fit_sigma


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class NormalRule:
    """A `Rule`. spread: what sigmas are fitted in units of. low, high: bounds, infinite where there is none."""

    spread: Float64[Floats, " targets"]
    low: Float64[Floats, " targets"]
    high: Float64[Floats, " targets"]

    kinds = ("crps", "r2", "mae", "sigma")

    def clip(self, outputs: Float64[Floats, "*rows targets"]) -> Float64[Floats, "*rows targets"]:
        """Within the bounds."""
        clipped: Floats = np.clip(outputs, self.low, self.high)
        return clipped

    def fit(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events targets"],
        weights: Float64[Floats, "fits events"] | None = None,
    ) -> Float64[Floats, "fits targets"]:
        """Sigmas, as `crps.fit_sigma` finds them, for errors of any size."""
        return fit_sigma((labels - mu) / self.spread, weights) * self.spread

    def within(self, calibration: Float64[Floats, "*rows targets"]) -> Float64[Floats, "*rows targets"]:
        """Within the ends of the grid that sigma is found on."""
        clipped: Floats = np.clip(calibration / self.spread, *SIGMA_RANGE) * self.spread
        return clipped

    def uncalibrated(self, training: Float64[Floats, "events targets"]) -> Float64[Floats, " targets"]:
        """The labels' SD; a lone event's has no spread, and the grid's end keeps the forecast a proper one."""
        return self.within(training.std(axis=0))

    def losses(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events targets"],
        calibration: Float64[Floats, "events targets"],
    ) -> Float64[Floats, "events targets"]:
        """CRPS."""
        return crps_normal(labels, mu, calibration)

    def run_figures(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events targets"],
        losses: Float64[Floats, "events targets"],
        calibration: Float64[Floats, "events targets"],
        *,
        pooled: Float64[Floats, " targets"],
        images: Float64[Floats, "images targets"],
        image_labels: Float64[Floats, "images targets"],
    ) -> dict[str, Float64[Floats, " targets"]]:
        """CRPS and R2 over events, MAE over images, the sigma to hand in for new events."""
        del calibration
        mae: Floats = np.abs(images - image_labels).mean(axis=0)
        return {"crps": losses.mean(axis=0), "r2": r2(labels, mu), "mae": mae, "sigma": pooled}

    def gathered_figures(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "seeds events targets"],
        losses: Float64[Floats, "events targets"],
        calibration: Float64[Floats, "seeds events targets"] | None,
    ) -> dict[str, Float64[Floats, " targets"]]:
        """CRPS and R2."""
        del calibration
        explained: Floats = np.mean([r2(labels, of_seed) for of_seed in mu], axis=0)
        return {"crps": losses.mean(axis=0), "r2": explained}

    def kept(self, mu: Float64[Floats, "*rows targets"]) -> Float64[Floats, "*rows targets"]:
        """Exactly."""
        return mu

    def error(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events targets"],
        losses: Float64[Floats, "events targets"],
    ) -> Float64[Floats, " targets"]:
        """Root mean squared errors."""
        del losses
        found: Floats = np.sqrt(((labels - mu) ** 2).mean(axis=0))
        return found

    def constant(
        self, labels: Float64[Floats, "events targets"], otherwise: Float64[Floats, " targets"] | None = None
    ) -> Float64[Floats, " targets"]:
        """The mean label."""
        del otherwise
        mean: Floats = labels.mean(axis=0)
        return mean


def r2(
    labels: Float64[Floats, "events targets"], predictions: Float64[Floats, "events targets"]
) -> Float64[Floats, " targets"]:
    """Coefficient of determination of each target, as `sklearn.metrics.r2_score`.

    Constant labels give 1 when met exactly, else 0; fewer than two events give NaN.
    """
    if len(labels) < 2:
        return np.full(labels.shape[1], np.nan)
    residual = ((labels - predictions) ** 2).sum(axis=0)
    total = ((labels - labels.mean(axis=0)) ** 2).sum(axis=0)
    constant = total == 0
    explained: Floats = 1 - residual / np.where(constant, 1.0, total)
    return np.where(constant, (residual == 0).astype(np.float64), explained)
