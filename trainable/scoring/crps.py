"""The score of a normal forecast, and the sigma that minimises it."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

# From below the finest step between labels to above the largest optimum: errors up to 4.18 give 4.18 / 0.8326 = 5.02.
_SIGMA_GRID: Floats = np.geomspace(0.02, 5.2, 282)
_LOG_GRID: Floats = np.log(_SIGMA_GRID)
_HALF_PRECISION: Floats = 0.5 / _SIGMA_GRID**2

SIGMA_RANGE = (float(_SIGMA_GRID[0]), float(_SIGMA_GRID[-1]))
"""Lowest and highest sigma that `fit_sigma` returns, in units of labels with an SD near 1."""


def crps_normal(y: ArrayLike, mu: ArrayLike, sigma: ArrayLike) -> Float64[Floats, "*rows"]:
    """Continuous ranked probability score of N(mu, sigma) at y, in y's unit; lower is better; arguments broadcast.

    Source: Gneiting & Raftery 2007, equation 21.
    """
    spread = np.asarray(sigma, dtype=np.float64)
    z = (np.asarray(y, dtype=np.float64) - np.asarray(mu, dtype=np.float64)) / spread
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    # of scalars numpy makes a scalar
    return np.asarray(spread * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)), dtype=np.float64)


def fit_sigma(
    errors: Float64[Floats, " events *columns"], weights: Float64[Floats, "fits events"] | None = None
) -> Float64[Floats, " fits *columns"]:
    """The sigma with the least mean CRPS for given forecast errors.

    errors: label minus mu. weights: non-negative, each row summing to 1; by default one fit over all events.

    d CRPS / d sigma = 2 phi(error / sigma) - 1 / sqrt(pi) grows with sigma, so the mean CRPS is convex and its one
    minimum lies where mean exp(-error^2 / (2 sigma^2)) = 1 / sqrt(2). That mean is taken on a log grid (2 % steps)
    and the crossing interpolated, which leaves a relative error below 1e-4.
    """
    err = np.asarray(errors, dtype=np.float64)
    rows = np.full((1, len(err)), 1 / len(err)) if weights is None else np.asarray(weights, dtype=np.float64)
    kernel = np.exp(-np.multiply.outer(err.reshape(len(err), -1) ** 2, _HALF_PRECISION))  # [events, rest, grid]
    mean = (rows @ kernel.reshape(len(err), -1)).reshape(len(rows), -1, len(_SIGMA_GRID))
    reached = mean >= np.sqrt(0.5)
    upper = np.where(reached.any(-1), reached.argmax(-1), len(_SIGMA_GRID) - 1)
    lower = np.maximum(upper - 1, 0)
    at_lower = np.take_along_axis(mean, lower[..., None], -1)[..., 0]
    at_upper = np.take_along_axis(mean, upper[..., None], -1)[..., 0]
    rise = at_upper - at_lower
    share = np.clip((np.sqrt(0.5) - at_lower) / np.where(rise > 0, rise, 1.0), 0.0, 1.0)
    sigma: Floats = np.exp(_LOG_GRID[lower] + share * (_LOG_GRID[upper] - _LOG_GRID[lower]))
    return sigma.reshape(len(rows), *err.shape[1:])
