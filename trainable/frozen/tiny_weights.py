"""The weights of the built-in `tiny` tower: drawn from a fixed seed, so that it needs no download."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SEED = 20_260_101


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
