"""Densities of one parameter over trials: of a number a mixture of normal distributions, cut to the parameter's range.

The same as Optuna's, evaluated at once instead of kernel by kernel in Python.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from scipy.special import ndtr

Floats = NDArray[np.float64]

N_BINS = 1000
"""Places of the range in which merged trials share a kernel: a tenth of the narrowest kernel wide."""

_NARROWEST = 100
"""Share of the range, inverted, that a kernel's width is at least; Optuna's, for a hundred trials or more."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Kernels:
    """weights, mu, sigma: `[kernels]`. low, high: the range, half a step wider on both sides; of a parameter on a
    logarithmic scale these are logarithms, as mu and sigma are. step: 0 for none, never a logarithm.
    """

    weights: Floats
    mu: Floats
    sigma: Floats
    low: float
    high: float
    step: float
    is_log: bool

    def log_pdf(self, values: Floats) -> Floats:
        """At some values, up to a summand that depends on the parameter alone.

        As Optuna's, but for rounding: that works in logarithms, one number at a time, for the sake of tails that do
        not matter here, since the prior, as wide as the range, is always among the kernels.
        """
        inside = ndtr((self.high - self.mu) / self.sigma) - ndtr((self.low - self.mu) / self.sigma)
        at, places = np.unique(values, return_inverse=True)
        scale: Callable[[Floats], Floats] = np.log if self.is_log else np.asarray
        if self.step:
            upper, lower = ((scale(at + side * self.step / 2)[:, None] - self.mu) / self.sigma for side in (1, -1))
            mass = ndtr(upper) - ndtr(lower)
        else:
            mass = np.exp(-0.5 * ((scale(at)[:, None] - self.mu) / self.sigma) ** 2) / self.sigma
        found: Floats = np.log(mass @ (self.weights / inside))[places]
        return found


def numeric_kernels(density: _ParzenEstimator) -> Kernels:
    """Those of Optuna's estimator of one numeric parameter."""
    mixture = density._mixture_distribution
    kernels: Any = mixture.distributions[0]
    return Kernels(
        weights=mixture.weights,
        mu=kernels.mu,
        sigma=kernels.sigma,
        low=kernels.adapted_low,
        high=kernels.adapted_high,
        step=kernels.step,
        is_log=kernels.is_log,
    )


def merged(values: Floats, weights: Floats, distribution: BaseDistribution) -> Kernels:
    """Kernels of many values, few for all that lie in the same place; the prior's is the last.

    values, weights: `[trials]`. The density is that of Optuna's kernel a value to about a thousandth: as wide as the
    larger distance to a neighbour, so that of many in one place only the outermost two see another place.
    """
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    step = distribution.step or 0.0
    low, high = distribution.low - step / 2, distribution.high + step / 2
    if distribution.log:
        low, high, values = np.log(low), np.log(high), np.log(values)
    width = high - low
    place = np.minimum((N_BINS * (values - low) / width).astype(np.intp), N_BINS - 1)
    columns = np.ones(len(values)), weights, weights * values
    sums = np.stack([np.bincount(place, weights=column, minlength=N_BINS) for column in columns])
    n, mass, centre = sums[:, sums[0] > 0]
    mu = centre / mass
    gaps = np.concatenate([[0.0], np.diff(mu), [0.0]])  # the ends of the range are no neighbours
    masses, mus, sigmas = _widened(mu, mass, n, gaps[:-1], gaps[1:], narrowest=width / _NARROWEST)
    masses = np.append(masses, 1.0)
    return Kernels(
        weights=masses / masses.sum(),
        mu=np.append(mus, (low + high) / 2),
        sigma=np.append(np.minimum(sigmas, width), width),
        low=float(low),
        high=float(high),
        step=float(step),
        is_log=bool(distribution.log),
    )


def _widened(
    mu: Floats, mass: Floats, n: Floats, left: Floats, right: Floats, *, narrowest: float
) -> tuple[Floats, Floats, Floats]:
    """Mass, centre and width of the kernels of n values a place, whose neighbours are `left` and `right` away."""
    alone = n == 1
    sigma = np.where(alone, np.maximum(np.maximum(left, right), narrowest), narrowest)
    outer = [(~alone & (gap > narrowest), gap) for gap in (left, right)]
    share = mass / n
    inner = mass - share * (outer[0][0].astype(np.float64) + outer[1][0])
    return (
        np.concatenate([inner, *(share[is_outer] for is_outer, _ in outer)]),
        np.concatenate([mu, *(mu[is_outer] for is_outer, _ in outer)]),
        np.concatenate([sigma, *(gap[is_outer] for is_outer, gap in outer)]),
    )


def log_shares(values: Floats, weights: Floats, n_choices: int, at: Floats) -> Floats:
    """Logarithm of the share of each of some choices among the trials' choices, all given by their place.

    values, weights: `[trials]`. at: `[choices asked for]`. As Optuna's: each trial is a kernel that leaves the other
    choices a prior's part, and the prior is one more trial without a choice.
    """
    counted = np.bincount(values.astype(np.intp), weights=weights, minlength=n_choices)
    total, prior = weights.sum(), 1 / (len(values) + 1)
    shares = (counted + total * prior) / (1 + n_choices * prior) + 1 / n_choices
    found: Floats = np.log(shares / (total + 1))[at.astype(np.intp)]
    return found
