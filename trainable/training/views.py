"""Forecasts of an image and of its mirror image as one, as a model that is exported with test-time flips makes it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def mean_of_views(
    one: Float[Tensor, "specimens outputs"], other: Float[Tensor, "specimens outputs"], *, of_classes: bool
) -> Float[Tensor, "specimens outputs"]:
    """The mean of two forecasts; of classes logits of the mean of the probabilities that theirs come to."""
    if not of_classes:
        return (one + other) / 2
    views = torch.stack([one.float().log_softmax(dim=-1), other.float().log_softmax(dim=-1)])
    return views.logsumexp(dim=0) - math.log(2)
