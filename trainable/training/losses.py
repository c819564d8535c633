"""What a trial minimises: one value a specimen, and the weights that make events or images count."""

import math

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped
from numpy.typing import NDArray
from torch import Tensor


def specimen_losses(
    mu: Float[Tensor, "batch targets"],
    targets: Float[Tensor, "batch targets"],
    log_sigma: Float[Tensor, " targets"] | None,
) -> Float[Tensor, " batch"]:
    """Mean over the targets of the CRPS of N(mu, exp(log_sigma)), or of the squared error without it."""
    if log_sigma is None:
        return (mu - targets).square().mean(dim=1)
    return crps_normal(mu, log_sigma.exp(), targets).mean(dim=1)


def crps_normal(
    mu: Float[Tensor, "*#rows"], sigma: Float[Tensor, "*#rows"], y: Float[Tensor, "*#rows"]
) -> Float[Tensor, "*#rows"]:
    """Continuous ranked probability score of N(mu, sigma) at y; arguments broadcast; differentiable in mu and sigma.

    Source: Gneiting & Raftery 2007, equation 21.
    """
    z = (y - mu) / sigma
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    twice_cdf_less_1 = torch.erf(z / math.sqrt(2))
    return sigma * (z * twice_cdf_less_1 + 2 * density - 1 / math.sqrt(math.pi))


def event_weights(
    event_ids: Shaped[NDArray[np.generic], " specimens"], *, exponent: float
) -> Float32[NDArray[np.float32], " specimens"]:
    """Events of the training specimens -> weights (size of its event)^-exponent, with mean 1."""
    _, inverse, sizes = np.unique(event_ids, return_inverse=True, return_counts=True)
    weights = sizes[inverse].astype(np.float64) ** -exponent
    normalised: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
    return normalised
