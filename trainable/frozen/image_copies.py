"""Altered copies of images, of which the frozen blocks make features beside those of the images themselves.

What runs once cannot see an image anew each epoch; but it can see it some times over, each time a little different.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from trainable.plain_values import JsonObject

RECIPE = 1
"""To be counted up with every change of what a copy is: copies of before are then of another identity."""

FLIPPED = 1
"""The number of the copy that is the image flipped left to right and nothing else."""

JITTER = (0.8, 1.2)
"""Range of the factors on brightness, contrast and saturation."""

_SEED = 20_261_130
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision make grey of RGB


def copy_identity(copy: int) -> JsonObject:
    """What the identity of a copy's features has beside that of the images' own."""
    return {"copy": {"number": copy, "recipe": RECIPE}} if copy else {}


def altered(
    images: UInt8[Tensor, "batch size size 3"], rows: Sequence[int], copy: int
) -> UInt8[Tensor, "batch size size 3"]:
    """Copy number `copy` (from 1) of the images of some rows, after resizing and cropping, before normalisation.

    Copy 1 is flipped left to right. Of each further one a coin decides whether it is flipped, and its brightness, then
    contrast, then saturation are multiplied by factors drawn evenly from `JITTER`, computed in float32 and rounded to
    8 bits at the end. Copy and row decide all of it: the same ones whenever and wherever it is made.
    """
    if copy == FLIPPED:
        return images.flip(2)
    draws = np.array([np.random.default_rng([_SEED, copy, row]).random(4) for row in rows], dtype=np.float32)
    is_flipped = torch.from_numpy(draws[:, 0] < 0.5).to(images.device)[:, None, None, None]
    low, high = JITTER
    factors = torch.from_numpy(low + (high - low) * draws[:, 1:]).to(images.device)[:, :, None, None, None]
    values = torch.where(is_flipped, images.flip(2), images).float()
    values = (values * factors[:, 0]).clamp_(0, 255)
    values = torch.lerp(_grey(values).mean((1, 2, 3), keepdim=True), values, factors[:, 1]).clamp_(0, 255)
    values = torch.lerp(_grey(values), values, factors[:, 2]).clamp_(0, 255)
    return values.round_().to(torch.uint8)


def _grey(values: Float32[Tensor, "batch size size 3"]) -> Float32[Tensor, "batch size size 1"]:
    return (values * torch.tensor(_LUMA, device=values.device)).sum(-1, keepdim=True)
