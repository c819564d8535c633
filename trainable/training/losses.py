"""What a trial minimises: one value a specimen, and the weights that make events or images count."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def specimen_losses(mu: Tensor, targets: Tensor, log_sigma: Tensor | None) -> Tensor:
    """[B, 3], [B, 3] -> [B], mean over the targets: CRPS of N(mu, exp(log_sigma [3])), or squared error without it."""
    if log_sigma is None:
        return (mu - targets).square().mean(dim=1)
    return crps_normal(mu, log_sigma.exp(), targets).mean(dim=1)


def crps_normal(mu: Tensor, sigma: Tensor, y: Tensor) -> Tensor:
    """Continuous ranked probability score of N(mu, sigma) at y; arguments broadcast; differentiable in mu and sigma.

    Source: Gneiting & Raftery 2007, equation 21.
    """
    z = (y - mu) / sigma
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    twice_cdf_less_1 = torch.erf(z / math.sqrt(2))
    return sigma * (z * twice_cdf_less_1 + 2 * density - 1 / math.sqrt(math.pi))


def event_weights(event_ids: NDArray[Any], *, exponent: float) -> NDArray[np.float32]:
    """[n] events of the training specimens -> [n] weights (size of its event)^-exponent, with mean 1."""
    _, inverse, sizes = np.unique(event_ids, return_inverse=True, return_counts=True)
    weights = sizes[inverse].astype(np.float64) ** -exponent
    normalised: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
    return normalised
