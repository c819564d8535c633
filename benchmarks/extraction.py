"""Extraction and the bare loop beside it: what figures 1 to 3 measure."""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.inputs import DrawnImages
from trainable.frozen.backbone import Backbone
from trainable.frozen.extract import extract, make_plan
from trainable.frozen.extraction_plan import fitting_batch_size
from trainable.frozen.image_feed import decoded_batches

N_BLOCKS = 2
"""The deepest tap leaves as many blocks to train."""

_numbers = itertools.count()


def deepest_tap(backbone: Backbone) -> int:
    """The tap below the last two blocks."""
    return backbone.architecture.n_blocks - N_BLOCKS


def extraction(
    backbone: Backbone, images: DrawnImages, taps: tuple[int, ...], cache: Path, *, n_processes: int = 0
) -> Callable[[], None]:
    """An arm: all images through the model to a sealed store, a new one at each call."""

    def run() -> None:
        name = f"{next(_numbers):064x}"
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            extract(
                backbone,
                images,
                data_fingerprint=name,
                taps=taps,
                cache_dir=Path(folder),
                n_processes=n_processes,
            )

    return run


def bare_loop(backbone: Backbone, images: DrawnImages, tap: int) -> Callable[[], None]:
    """An arm: the same forward passes on pixels that are on the device already; nothing is kept."""
    half, batch_size = backbone.device.type == "cuda", model_batch(backbone, len(images))
    pixels = pixels_of(backbone, images, batch_size)

    def run() -> None:
        for start in range(0, len(images), batch_size):
            backbone.forward_taps(pixels[: min(batch_size, len(images) - start)], (tap,), half=half)

    return run


def decoding(backbone: Backbone, images: DrawnImages) -> Callable[[], None]:
    """An arm: reading and decoding alone, in this process."""
    batches = [range(start, min(start + 64, len(images))) for start in range(0, len(images), 64)]

    def run() -> None:
        for _ in decoded_batches(images, batches, backbone.transform.image_size, n_processes=0):
            pass

    return run


def model_batch(backbone: Backbone, n: int) -> int:
    """Specimens in a forward pass of an extraction."""
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(Path(folder), backbone=backbone, data_fingerprint="0", n=n, taps=(deepest_tap(backbone),))
    return min(fitting_batch_size(plan, backbone.device.type), plan.rows_per_shard)


def pixels_of(backbone: Backbone, images: DrawnImages, n: int) -> Tensor:
    """The first `n` images as the model sees them, on its device."""
    (decoded,) = decoded_batches(images, [range(n)], backbone.transform.image_size, n_processes=0)
    return backbone.transform.normalize(torch.from_numpy(np.asarray(decoded)).to(backbone.device))


def gflop_an_image(backbone: Backbone, tap: int) -> float:
    """Multiply-adds, counted twice, of the patch embedding and the blocks below a tap."""
    arch = backbone.architecture
    matrices = (4 * arch.width + 2 * arch.mlp_width) * arch.width
    block = arch.n_tokens * (matrices + 2 * arch.n_tokens * arch.width)
    patches = arch.image_size**2 * 3 * arch.width
    return 2 * (tap * block + patches) / 1e9
