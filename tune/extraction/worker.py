"""What runs on a node to extract features: one streaming task for all of it, or one of several workers."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.extract import ExtractionPlan, extract_shards, lay_out, seal
from trainable.frozen.features import store_path
from tune.extraction.in_process import extract_here
from tune.extraction.known_features import source_of
from tune.extraction.request import ExtractionRequest, Features, Progress

Sent = TypeVar("Sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What only who has loaded the backbone knows: its fingerprint and depth, and where its store lies.

    source: by which the store is found the next time (`known_features`); nodes may differ in it.
    """

    backbone_fingerprint: str
    n_backbone_blocks: int
    store: Path
    source: str | None = field(compare=False)


class ExtractionWorker:
    """Loads the backbone once and extracts the shards that it is given; every method streams what it has to say."""

    def __init__(self, request: ExtractionRequest) -> None:
        self._request = request
        self._loaded: Backbone | None = None

    def survey(self) -> Iterator[Survey]:
        """Load the backbone and tell of it."""
        request, source = self._request, source_of(self._request)
        backbone = self._backbone()
        path = store_path(
            request.cache_dir, backbone=backbone, specimens_fingerprint=request.data_fingerprint, copy=request.copy
        )
        yield Survey(
            backbone_fingerprint=backbone.fingerprint,
            n_backbone_blocks=backbone.architecture.n_blocks,
            store=path,
            source=source,
        )

    def lay_out(self, store: Path, taps: tuple[int, ...]) -> Iterator[ExtractionPlan]:
        """The plan of the store, whose lock the caller holds."""
        request = self._request
        yield lay_out(
            store,
            backbone=self._backbone(),
            data_fingerprint=request.data_fingerprint,
            n=len(request.images),
            taps=taps,
            copy=request.copy,
        )

    def extract(self, plan: ExtractionPlan, shards: Sequence[int]) -> Iterator[int]:
        """Write these shards; yields how many more images are through the model."""

        def work(put: Callable[[int], None]) -> None:
            n_before: int | None = None

            def progress(n_done: int, n_total: int) -> None:
                nonlocal n_before
                del n_total
                if n_before is not None:
                    put(n_done - n_before)
                n_before = n_done

            extract_shards(
                plan,
                shards,
                backbone=self._backbone(),
                images=self._request.images,
                n_processes=self._request.n_processes,
                progress=progress,
            )

        yield from _streamed(work)

    def seal(self, plan: ExtractionPlan) -> Iterator[None]:
        """Finish the store, all of whose shards are written."""
        seal(plan, backbone=self._backbone())
        yield None

    def _backbone(self) -> Backbone:
        import torch

        if self._loaded is None:
            if self._request.device == "cpu":
                torch.set_num_threads(self._request.n_threads)
            self._loaded = load_backbone(self._request.backbone, device=self._request.device)
        return self._loaded


def extraction_messages(request: ExtractionRequest) -> Iterator[Progress | str | Features]:
    """All of an extraction in one task: progress, lines for the user, and at the end the features."""

    def work(put: Callable[[Progress | str | Features], None]) -> None:
        put(extract_here(request, put))

    yield from _streamed(work)


def _streamed(work: Callable[[Callable[[Sent], None]], None]) -> Iterator[Sent]:
    """What `work` puts, as it is put.

    Not for a process that a user may interrupt: the thread would run on while the interpreter is taken down.
    """
    messages: queue.SimpleQueue[tuple[Sent] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda message: messages.put((message,)))
            messages.put(None)
        except BaseException as error:
            messages.put(error)

    threading.Thread(target=run, name="extraction", daemon=True).start()
    while (message := messages.get()) is not None:
        if isinstance(message, BaseException):
            raise message
        yield message[0]
