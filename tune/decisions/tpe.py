"""The tree-structured Parzen estimator, one parameter at a time: Optuna's arithmetic on a matrix of trials.

Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4; with Optuna's densities, weights and
random numbers, so up to `MAX_KERNELS` trials a proposal equals that of
`TPESampler(multivariate=False, constant_liar=True)`. Of more, those that lie close together share a kernel.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_gamma, default_weights

from search_spaces.parameter import Plain
from trainable.plain_values import JsonObject
from tune.decisions.kernels import Floats, log_shares, merged, numeric_kernels
from tune.decisions.observations import Observations

MAX_KERNELS = 1000
"""Trials up to which each has a kernel of its own in a density."""

ARGUMENTS: JsonObject = {
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
    "multivariate": False,
    "group": False,
    "constant_liar": True,
}
"""The arguments of Optuna's sampler that this is equal to; the numbers may differ in a study, the rest may not."""

_PARAMETERS = _ParzenEstimatorParameters(
    prior_weight=1.0, consider_magic_clip=True, consider_endpoints=False, weights=default_weights, multivariate=False
)


class Tpe:
    """Draws one trial's parameters, in any order; a function of the observations and of the seed."""

    def __init__(self, observations: Observations, arguments: JsonObject, *, seed: int) -> None:
        """arguments: as `ARGUMENTS`."""
        self._observations = observations
        self._n_candidates: int = arguments["n_ei_candidates"]
        self._rng = np.random.RandomState(seed)
        self._bare = RandomSampler(seed=seed) if observations.n_ended < arguments["n_startup_trials"] else None
        self._better, self._others = observations.split(default_gamma(observations.n_ended))

    def draw(self, name: str, distribution: BaseDistribution) -> Plain:
        """A value of the parameter: of some candidates from the better trials' density, the least like the others."""
        if self._bare is not None:
            return draw_uniform(self._bare, name, distribution)
        better = self._observations.column(name, self._better)
        others = self._observations.column(name, self._others)
        density = _density(name, distribution, better)  # of at most 25, as Optuna's `default_gamma` has it
        candidates = density.sample(self._rng, self._n_candidates)[name]
        gain = _of_few(name, distribution, density, candidates) - _log_pdf(name, distribution, others, candidates)
        drawn: Plain = distribution.to_external_repr(candidates[int(np.argmax(gain))].item())
        return drawn


def draw_uniform(sampler: RandomSampler, name: str, distribution: BaseDistribution) -> Plain:
    """A value from the parameter's range alone."""
    drawn: Plain = sampler.sample_independent(_NO_STUDY, _NO_TRIAL, name, distribution)
    return drawn


_NO_STUDY: Any = None
_NO_TRIAL: Any = None
"""Optuna's random sampler takes both and looks at neither."""


def _density(name: str, distribution: BaseDistribution, values: Floats) -> _ParzenEstimator:
    return _ParzenEstimator({name: values}, {name: distribution}, _PARAMETERS)


def _log_pdf(name: str, distribution: BaseDistribution, values: Floats, at: Floats) -> Floats:
    """The density of some trials' values, at others; up to a summand that depends on the parameter alone."""
    if len(values) <= MAX_KERNELS:
        return _of_few(name, distribution, _density(name, distribution, values), at)
    weights = _weights(len(values))
    if isinstance(distribution, CategoricalDistribution):
        return log_shares(values, weights, len(distribution.choices), at)
    return merged(values, weights, distribution).log_pdf(at)


def _of_few(name: str, distribution: BaseDistribution, density: _ParzenEstimator, at: Floats) -> Floats:
    """As `_log_pdf`, of the kernels that Optuna's estimator has."""
    if isinstance(distribution, CategoricalDistribution):
        return density.log_pdf({name: at})  # to the bit: choices often tie
    return numeric_kernels(density).log_pdf(at)


@lru_cache(maxsize=8)
def _weights(n: int) -> Floats:
    """Of n trials, the latest last; not to be changed. Parameters that are always there share them."""
    return default_weights(n)
