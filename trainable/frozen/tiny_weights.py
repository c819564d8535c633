"""The weights of the built-in tower, which needs no download: `tiny` ships pretrained, `tiny:random` is drawn."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainable.errors import UserError
from trainable.frozen.shards import sha256_of
from trainable.frozen.tower_weights import read_visual_state

SEED = 20_260_101

TINY_FOLDER = Path(__file__).with_name("sentinel_tiny")
"""The pretrained weights, their checksum as `sha256sum` writes it, and the card that says what they are."""

WEIGHTS_NAME, CHECKSUM_NAME = "open_clip_model.safetensors", "open_clip_model.safetensors.sha256"


def read_tiny_state(shapes: Mapping[str, Tensor], folder: Path = TINY_FOLDER) -> dict[str, Tensor]:
    """The pretrained float32 weights, which are kept in half precision, for every name and shape.

    Raises: UserError unless the file is as it was released.
    """
    weights = folder / WEIGHTS_NAME
    try:
        released = (folder / CHECKSUM_NAME).read_text(encoding="ascii").split()[0]
        found = sha256_of(weights)
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"the weights of `tiny` must be readable, but are not: {error}; install again") from error
    if found != released:
        raise UserError(
            f"{weights} must have the sha256 {released} that it was released with, but has {found}; install again"
        )
    return read_visual_state(weights, shapes)


def draw_tiny_state(shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Random float32 weights for every name and shape, the same on every machine.

    numpy draws them: torch's normal numbers differ with the processor's vector width.
    """
    rng = np.random.default_rng(SEED)
    return {name: torch.from_numpy(_draw(name, tuple(value.shape), rng)) for name, value in shapes.items()}


def _draw(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    if name.endswith("bias"):
        return np.zeros(shape, dtype=np.float32)
    if "ln_" in name:
        return np.ones(shape, dtype=np.float32)
    if name == "conv1.weight":
        return _draw_patch_filters(shape, rng)
    fan_in = shape[0] if name == "proj" or len(shape) == 1 else math.prod(shape[1:])
    return np.asarray(rng.standard_normal(shape) * fan_in**-0.5, dtype=np.float32)


def _draw_patch_filters(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """[width, 3, p, p], p a power of two: noise on grids of 1, 2, 4, ... p cells a side, summed.

    Equal power at each scale, as images have it, so that a patch's colour and coarse shape outweigh its pixel noise.
    """
    *outer, side, _ = shape
    scales = [2**k for k in range(side.bit_length())]
    total = np.zeros(shape)
    for n_cells in scales:
        cells = rng.standard_normal((*outer, n_cells, n_cells))
        total += cells.repeat(side // n_cells, axis=-1).repeat(side // n_cells, axis=-2)
    return np.asarray(total * (len(scales) * math.prod(shape[1:])) ** -0.5, dtype=np.float32)
