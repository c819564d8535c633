"""Extraction in this process: the driver's own, or that of a worker that has a node to itself."""

import time
from collections.abc import Callable
from typing import TypeVar

from trainable.frozen.backbone import load_backbone
from trainable.frozen.extract import StoreTooLarge, extract
from trainable.frozen.features import FeatureStore, store_path
from trainable.frozen.mirror import mirror_store, put_store
from tune.extraction.known_features import remember, source_of
from tune.extraction.request import ExtractionRequest, Features, Progress, check_backbone, wanted_taps

Made = TypeVar("Made")


def extract_here(request: ExtractionRequest, tell: Callable[[Progress | str], None]) -> Features:
    """All of it in this process."""
    import torch

    started, counted = time.monotonic(), _Counted(tell)
    if request.device == "cpu":
        torch.set_num_threads(request.n_threads)
    source = source_of(request)
    backbone = load_backbone(request.backbone, device=request.device)
    path = store_path(
        request.cache_dir, backbone=backbone, specimens_fingerprint=request.data_fingerprint, copy=request.copy
    )
    check_backbone(request, backbone.fingerprint, path)
    taps = wanted_taps(request, backbone.architecture.n_blocks)
    remote = None if request.remote is None else request.remote / path.name

    def extract_at(taps: tuple[int, ...]) -> FeatureStore:
        return extract(
            backbone, request.images, data_fingerprint=request.data_fingerprint, taps=taps, cache_dir=request.cache_dir,
            n_processes=request.n_processes, copy=request.copy, progress=counted.progress, on_wait=tell,
        )  # fmt: skip

    if remote is not None:
        mirror_store(remote, path, taps=taps, say=tell)
    store = largest_that_fits(extract_at, taps, tell)
    if remote is not None:
        put_store(store, remote, say=tell)
    features = Features(
        path=store.path,
        taps=store.taps,
        backbone_fingerprint=backbone.fingerprint,
        n_backbone_blocks=backbone.architecture.n_blocks,
        n_extracted=counted.n_extracted,
        seconds=time.monotonic() - started,
        remote=remote,
    )
    remember(features, source)
    return features


def largest_that_fits(
    made_with: Callable[[tuple[int, ...]], Made], taps: tuple[int, ...], tell: Callable[[str], None]
) -> Made:
    """What is made with all taps, or with the deepest one alone where the disk does not hold them all."""
    try:
        return made_with(taps)
    except StoreTooLarge as error:
        if len(taps) == 1:
            raise
        tell(f"{error.problems[0]}; only the deepest one needed, {taps[0]}, is kept: trials run the blocks above it")
        return made_with(taps[:1])


class _Counted:
    """Passes progress on, and knows how many images were run from its first word to its last."""

    def __init__(self, tell: Callable[[Progress | str], None]) -> None:
        self._tell = tell
        self._first: int | None = None
        self.n_extracted = 0

    def progress(self, n_done: int, n_total: int) -> None:
        if self._first is None:
            self._first = n_done
        self.n_extracted = n_done - self._first
        self._tell(Progress(n_done, n_total))
