"""What a trial minimises: one value a specimen, and the weights that make events or images count."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from trainable.training.bags import over_bags

LossOf: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Outputs [batch, outputs] and what they should have been -> a loss a specimen."""


def specimen_losses(
    mu: Float[Tensor, "batch targets"],
    targets: Float[Tensor, "batch targets"],
    log_sigma: Float[Tensor, " targets"] | None,
) -> Float[Tensor, " batch"]:
    """Mean over the targets of the CRPS of N(mu, exp(log_sigma)), or of the squared error without it."""
    if log_sigma is None:
        return (mu - targets).square().mean(dim=1)
    return crps_normal(mu, log_sigma.exp(), targets).mean(dim=1)


def class_losses(
    logits: Float[Tensor, "batch classes"], shares: Float[Tensor, "batch classes"]
) -> Float[Tensor, " batch"]:
    """Cross entropy; shares: of each class, 1 in all: after mixup and smoothing of several."""
    return -(shares * torch.log_softmax(logits, dim=1)).sum(dim=1)


def weighted_losses(
    outputs: Float[Tensor, "batch outputs"],
    targets: Float[Tensor, "batch outputs"],
    weights: Float[Tensor, " batch"],
    bags: Int64[Tensor, " batch"] | None,
    *,
    loss_of: LossOf,
) -> Float[Tensor, " losses"]:
    """One a specimen; or, of bags, one a bag, which weighs as much as its specimens do together."""
    if bags is None:
        return weights * loss_of(outputs, targets)
    of_bags = over_bags(targets, bags, "mean")
    return over_bags(weights, bags, "sum") * loss_of(
        over_bags(outputs.to(torch.promote_types(outputs.dtype, of_bags.dtype)), bags, "mean"), of_bags
    )


def class_shares(
    labels: Int64[NDArray[np.int64], " specimens"], *, n_classes: int, smoothing: float
) -> Float32[NDArray[np.float32], "specimens classes"]:
    """Indices of classes -> 1 for the own one; smoothing: the part of it that all share (Szegedy 2016, 1512.00567)."""
    own = np.eye(n_classes, dtype=np.float32)[labels]
    return own if smoothing == 0 else (own * (1 - smoothing) + smoothing / n_classes).astype(np.float32)


def class_weights(
    labels: Int64[NDArray[np.int64], " specimens"],
    weights: Float32[NDArray[np.float32], " specimens"],
    *,
    exponent: float,
) -> Float32[NDArray[np.float32], " specimens"]:
    """The weights times (all weight of the specimen's class)^-exponent, with mean 1; at 1, each class counts alike."""
    if exponent == 0:
        return weights
    of_class = np.bincount(labels, weights=weights)
    scaled = weights * of_class[labels] ** -exponent
    normalised: NDArray[np.float32] = (scaled / scaled.mean()).astype(np.float32)
    return normalised


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
