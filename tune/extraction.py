"""Features before trials: one extraction a backbone and dataset, on a Ray worker or in this process."""

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.errors import UserError

if TYPE_CHECKING:
    from trainable.data.specimens import ImageSource
    from trainable.frozen.features import FeatureStore
    from tune.command_line import Given


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRequest:
    """What to extract: plain values and paths, cheap to send.

    n_blocks: every number of trainable blocks that a trial may ask for. n_processes: image decoding processes.
    n_threads: CPU threads of the model. backbone_fingerprint: that the backbone must have; None for any.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A finished store: where, of which backbone, and how many images were run for it just now (0: it was there)."""

    path: Path
    taps: tuple[int, ...]
    backbone_fingerprint: str
    n_backbone_blocks: int
    n_extracted: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Images done of all that this extraction runs."""

    n_done: int
    n_total: int


Event = Progress | str | Features
"""What extraction tells as it goes: progress, a line for the user, and at the end the features."""


def make_features(request: ExtractionRequest, *, on_ray: bool, tell: Callable[[Progress | str], None]) -> Features:
    """Return the store that serves `request`, extracting what is missing; `tell` hears of progress.

    Raises: UserError, such as a backbone that cannot be loaded, more blocks than it has, or a full disk.
    """
    if not on_ray:
        return _extract(request, tell)
    for event in _ray_events(request):
        if isinstance(event, Features):
            return event
        tell(event)
    raise AssertionError("extraction ended without features")


def extraction_events(request: ExtractionRequest) -> Iterator[Event]:
    """Extract in this process; a generator, so that a Ray task can stream it.

    Not for a process that a user may interrupt: its thread would run on while the interpreter is taken down.
    """
    events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            events.put(_extract(request, events.put))
        except BaseException as error:
            events.put(error)

    threading.Thread(target=work, name="extraction", daemon=True).start()
    while True:
        event = events.get()
        if isinstance(event, BaseException):
            raise event
        yield event
        if isinstance(event, Features):
            return


def _extract(request: ExtractionRequest, tell: Callable[[Progress | str], None]) -> Features:
    import torch

    from trainable.frozen.backbone import load_backbone
    from trainable.frozen.extract import extract

    started, n_before, n_after = time.monotonic(), None, 0
    if request.device == "cpu":
        torch.set_num_threads(request.n_threads)

    def progress(n_done: int, n_total: int) -> None:
        nonlocal n_before, n_after
        n_before = n_done if n_before is None else n_before
        n_after = n_done
        tell(Progress(n_done, n_total))

    backbone = load_backbone(request.backbone, device=request.device)
    _check_backbone(request, backbone.fingerprint)
    taps = _taps(request.n_blocks, backbone.architecture.n_blocks, request.backbone)

    def extract_at(taps: tuple[int, ...]) -> "FeatureStore":
        return extract(
            backbone,
            request.images,
            data_fingerprint=request.data_fingerprint,
            taps=taps,
            cache_dir=request.cache_dir,
            n_processes=request.n_processes,
            progress=progress,
            on_wait=tell,
        )

    store = _largest_that_fits(extract_at, taps, tell)
    return Features(
        path=store.path,
        taps=store.taps,
        backbone_fingerprint=backbone.fingerprint,
        n_backbone_blocks=backbone.architecture.n_blocks,
        n_extracted=n_after - (n_before or 0),
        seconds=time.monotonic() - started,
    )


def _largest_that_fits(
    extract_at: Callable[[tuple[int, ...]], "FeatureStore"], taps: tuple[int, ...], tell: Callable[[str], None]
) -> "FeatureStore":
    """The store of all taps, or of the deepest one alone where the disk does not hold them all."""
    from trainable.frozen.extract import StoreTooLarge

    try:
        return extract_at(taps)
    except StoreTooLarge as error:
        if len(taps) == 1:
            raise
        tell(f"{error.problems[0]}; only the deepest one needed, {taps[0]}, is kept: trials run the blocks above it")
        return extract_at(taps[:1])


def _check_backbone(request: ExtractionRequest, fingerprint: str) -> None:
    if request.backbone_fingerprint not in (None, fingerprint):
        raise UserError(
            f"`--backbone` must stay what it was when the study began, but the backbone fingerprint was "
            f"{request.backbone_fingerprint} and is {fingerprint} (of {request.backbone}); begin a new study for it"
        )


def _taps(n_blocks: Collection[int], n_backbone_blocks: int, backbone: str) -> tuple[int, ...]:
    if (most := max(n_blocks)) > n_backbone_blocks:
        raise UserError(
            f"`tail.n_blocks <= {n_backbone_blocks}` must hold for backbone {backbone}, "
            f"but the search space or a variant asks for {most}"
        )
    return tuple(sorted({n_backbone_blocks - n for n in n_blocks}))


def _ray_events(request: ExtractionRequest) -> Iterator[Event]:
    import ray

    from tune.ray_shells import cpus_that_fit

    n_gpus = 1 if request.device == "cuda" else 0
    request = replace(request, n_threads=cpus_that_fit(request.n_threads, n_gpus=n_gpus))
    # max_calls=1: the worker ends with the extraction, and the backbone's memory with it
    task = ray.remote(max_calls=1, num_cpus=request.n_threads, num_gpus=n_gpus)(extraction_events)
    try:
        for reference in task.remote(request):
            yield ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def run(given: "Given") -> int:
    """sentinel-tune extract [--data ...] [--backbone ...] [--space NAME]"""
    from search_spaces.space import SearchSpace
    from tune.console import Console
    from tune.session import compute_session, request_for
    from tune.study_data import load_study_specimens

    options = given.options()
    console = Console(json=options.json)
    space = SearchSpace.load(options.space)
    specimens = load_study_specimens(options, console)
    with compute_session(options) as device:
        request = request_for(options, specimens, n_blocks=space.reachable_blocks(), device=device)
        features = make_features(request, on_ray=not options.local, tell=console.extraction)
    console.features(features)
    console.finish(
        text=f"{len(specimens.frame)} specimens, taps {', '.join(map(str, features.taps))}: {features.path}",
        json={"store": str(features.path), "taps": features.taps, "n_extracted": features.n_extracted},
    )
    return 0
