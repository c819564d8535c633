"""Features before trials: one extraction a backbone and dataset, in this process or on the workers of a cluster."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainable.errors import UserError

if TYPE_CHECKING:
    from trainable.data.specimens import ImageSource
    from trainable.frozen.features import FeatureStore
    from trainable.storage.remote_folder import RemoteFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRequest:
    """What to extract: plain values and paths, cheap to send.

    n_blocks: every number of trainable blocks that a trial may ask for. n_processes: image decoding processes.
    n_threads: CPU threads of the model. backbone_fingerprint: that the backbone must have; None for any.
    remote: where finished stores are kept on object storage; each node has its own `cache_dir` then.
    """

    backbone: str
    images: "ImageSource"
    data_fingerprint: str
    n_blocks: tuple[int, ...]
    cache_dir: Path
    device: str
    n_processes: int
    n_threads: int
    backbone_fingerprint: str | None = None
    remote: "RemoteFolder | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A finished store: where, of which backbone, and how many images were run for it just now (0: it was there).

    remote: where it lies on object storage, from which any node can copy it; None when nodes share its path.
    """

    path: Path
    taps: tuple[int, ...]
    backbone_fingerprint: str
    n_backbone_blocks: int
    n_extracted: int
    seconds: float
    remote: "RemoteFolder | None" = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Images done of all that this extraction runs."""

    n_done: int
    n_total: int


Made = TypeVar("Made")


def make_features(request: ExtractionRequest, *, on_ray: bool, tell: Callable[[Progress | str], None]) -> Features:
    """Return the store that serves `request`, extracting what is missing; `tell` hears of progress.

    Raises: UserError, such as a backbone that cannot be loaded, more blocks than it has, or a full disk.
    """
    if request.remote is not None:
        request.remote.check_usable(what="--features")
    if not on_ray:
        return extract_here(request, tell)
    from tune.extraction.cluster_extraction import features_on_ray

    return features_on_ray(request, tell)


def extract_here(request: ExtractionRequest, tell: Callable[[Progress | str], None]) -> Features:
    """All of it in this process."""
    import torch

    from trainable.frozen.backbone import load_backbone
    from trainable.frozen.extract import extract
    from trainable.frozen.features import store_path

    started, counted = time.monotonic(), _Counted(tell)
    if request.device == "cpu":
        torch.set_num_threads(request.n_threads)
    backbone = load_backbone(request.backbone, device=request.device)
    check_backbone(request, backbone.fingerprint)
    taps = wanted_taps(request, backbone.architecture.n_blocks)
    path = store_path(request.cache_dir, backbone=backbone, specimens_fingerprint=request.data_fingerprint)
    remote = None if request.remote is None else request.remote / path.name

    def extract_at(taps: tuple[int, ...]) -> "FeatureStore":
        return extract(
            backbone, request.images, data_fingerprint=request.data_fingerprint, taps=taps, cache_dir=request.cache_dir,
            n_processes=request.n_processes, progress=counted.progress, on_wait=tell,
        )  # fmt: skip

    if remote is not None:
        from trainable.frozen.mirror import mirror_store, put_store

        mirror_store(remote, path, taps=taps, tell=tell)
    store = largest_that_fits(extract_at, taps, tell)
    if remote is not None:
        put_store(store, remote, tell=tell)
    return Features(
        path=store.path,
        taps=store.taps,
        backbone_fingerprint=backbone.fingerprint,
        n_backbone_blocks=backbone.architecture.n_blocks,
        n_extracted=counted.n_extracted,
        seconds=time.monotonic() - started,
        remote=remote,
    )


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


def largest_that_fits(
    made_with: Callable[[tuple[int, ...]], Made], taps: tuple[int, ...], tell: Callable[[str], None]
) -> Made:
    """What is made with all taps, or with the deepest one alone where the disk does not hold them all."""
    from trainable.frozen.extract import StoreTooLarge

    try:
        return made_with(taps)
    except StoreTooLarge as error:
        if len(taps) == 1:
            raise
        tell(f"{error.problems[0]}; only the deepest one needed, {taps[0]}, is kept: trials run the blocks above it")
        return made_with(taps[:1])


def check_backbone(request: ExtractionRequest, fingerprint: str) -> None:
    """Raises: UserError unless the backbone is the one that the study began with."""
    if request.backbone_fingerprint not in (None, fingerprint):
        raise UserError(
            f"`--backbone` must stay what it was when the study began, but the backbone fingerprint was "
            f"{request.backbone_fingerprint} and is {fingerprint} (of {request.backbone}); begin a new study for it"
        )


def wanted_taps(request: ExtractionRequest, n_backbone_blocks: int) -> tuple[int, ...]:
    """The depths that trials read, ascending.

    Raises: UserError when more trainable blocks are asked for than the backbone has.
    """
    if (most := max(request.n_blocks)) > n_backbone_blocks:
        raise UserError(
            f"`tail.n_blocks <= {n_backbone_blocks}` must hold for backbone {request.backbone}, "
            f"but the search space or a variant asks for {most}"
        )
    return tuple(sorted({n_backbone_blocks - n for n in request.n_blocks}))
