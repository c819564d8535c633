"""What a backbone makes of the data, measured before a search: some real images go through its frozen blocks."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainable.architecture import VisionArchitecture
from trainable.data.image_sources import SomeImages
from tune.extraction.request import ExtractionRequest, wanted_taps
from tune.measuring.memory import device_memory

if TYPE_CHECKING:
    from trainable.frozen.backbone import Backbone

WARM_UP_IMAGES, MOST_IMAGES = 8, 256
IMAGE_SECONDS = 3.0
"""How long images are timed, beyond the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageProbe:
    """What a backbone makes of the data, and how fast.

    taps: that a trial can ask for, ascending. store: where features are or will be. probe_store: one to measure steps
    on: `store` itself once it is whole, else a small one; None without room for it. images_missing: that must still be
    run, each copy of an image being one. n_copies: of each image, that a trial can ask for. bytes_missing,
    bytes_one_tap: of the taps that they lack, and of the deepest alone. image_seconds: of one image; None where none
    is missing. load_seconds: of the backbone. device_name, device_bytes: what trials compute on,
    and its memory.
    """

    architecture: VisionArchitecture
    backbone_fingerprint: str
    taps: tuple[int, ...]
    store: Path
    probe_store: Path | None
    images_missing: int
    n_copies: int
    bytes_missing: int
    bytes_one_tap: int
    bytes_free: int
    image_seconds: float | None
    load_seconds: float
    device_name: str
    device_bytes: int


def probe_images(request: ExtractionRequest, scratch: Path) -> ImageProbe:
    """Load the backbone, see what is stored already, and time some images if any are missing.

    scratch: a folder that is this probe's own; its maker removes it.
    Raises: UserError for a backbone that cannot be loaded or has too few blocks, or a store of something else.
    """
    import torch

    from trainable.frozen.backbone import load_backbone
    from trainable.frozen.features import store_path

    started = time.monotonic()
    if request.device == "cpu":
        torch.set_num_threads(request.n_threads)
    backbone = load_backbone(request.backbone, device=request.device)
    load_seconds = time.monotonic() - started
    architecture = backbone.architecture
    taps = wanted_taps(request, architecture.n_blocks)
    store, *copies = (
        store_path(request.cache_dir, backbone=backbone, specimens_fingerprint=request.data_fingerprint, copy=copy)
        for copy in range(request.n_copies + 1)
    )
    missing = [_missing(request, backbone, path, taps, copy=copy) for copy, path in enumerate([store, *copies])]
    n_missing, bytes_missing = (sum(column) for column in zip(*missing, strict=True))
    row_bytes = 2 * architecture.n_tokens * architecture.width
    free = shutil.disk_usage(nearest_folder(request.cache_dir)).free
    seconds, probe_store = None, None if n_missing else store
    if n_missing:
        n_images = min(MOST_IMAGES, len(request.images), int(0.1 * free / (row_bytes * len(taps))))
        if n_images >= 1:
            seconds, probe_store = _timed_images(request, backbone, taps, scratch, n_images)
    return ImageProbe(
        architecture=architecture,
        backbone_fingerprint=backbone.fingerprint,
        taps=taps,
        store=store,
        probe_store=probe_store,
        images_missing=n_missing,
        n_copies=request.n_copies,
        bytes_missing=bytes_missing,
        bytes_one_tap=len(request.images) * (1 + request.n_copies) * row_bytes,
        bytes_free=free,
        image_seconds=seconds,
        load_seconds=load_seconds,
        device_name=torch.cuda.get_device_name() if request.device == "cuda" else "this machine",
        device_bytes=device_memory(request.device),
    )


def _missing(
    request: ExtractionRequest, backbone: "Backbone", store: Path, taps: Sequence[int], *, copy: int
) -> tuple[int, int]:
    """Images and bytes still to be extracted into one store; nothing is written."""
    from trainable.frozen.extraction_plan import bytes_missing, make_plan, shards_missing  # loads torch

    n, row_bytes = len(request.images), 2 * backbone.architecture.n_tokens * backbone.architecture.width
    if not (store / "plan.json").is_file():  # with one, `make_plan` only reads
        return n, n * row_bytes * len(taps)
    plan = make_plan(store, backbone=backbone, data_fingerprint=request.data_fingerprint, n=n, taps=taps, copy=copy)
    return sum(len(plan.rows(shard)) for shard in shards_missing(plan)), bytes_missing(plan)


def _timed_images(
    request: ExtractionRequest, backbone: "Backbone", taps: Sequence[int], scratch: Path, n_most: int
) -> tuple[float, Path]:
    """Seconds of an image, writing included, and the small store that was made of those images."""
    from trainable.frozen.extract import extract  # loads torch and PIL

    def run(n: int, name: str) -> tuple[float, Path]:
        rows = np.unique(np.linspace(0, len(request.images) - 1, n).astype(np.int64))
        started = time.monotonic()
        store = extract(
            backbone, SomeImages(request.images, rows), data_fingerprint=name, taps=taps, cache_dir=scratch / name,
            n_processes=0,
        )  # fmt: skip
        return (time.monotonic() - started) / len(rows), store.path

    seconds, _ = run(min(WARM_UP_IMAGES, n_most), "warm-up")
    return run(min(n_most, max(WARM_UP_IMAGES, int(IMAGE_SECONDS / seconds))), "images")


def nearest_folder(folder: Path) -> Path:
    """The folder itself or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
