"""Decoded images ahead of the model: a pool of processes reads, decodes and resizes while the model computes.

Imports no torch: worker processes import this module, and must start fast and stay small.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainable.data.decoding import decode
from trainable.errors import UserError

_CHUNK_ROWS = 16  # a task of some milliseconds: small against a batch, large against sending it
_CHUNK_BYTES = 2**18  # of decoded images, at least: small ones cost more to receive than to decode
_BATCHES_AHEAD = 3


class Images(Protocol):
    """Encoded images by row; picklable, and cheap to send to a worker process."""

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes (PNG, JPEG, ...) of some rows, in the order asked."""
        ...


def decoded_batches(
    images: Images, batches: Sequence[Sequence[int]], image_size: int, *, n_processes: int, **options: Any
) -> Iterator[NDArray[np.uint8]]:
    """uint8 [len(batch), image_size, image_size, 3] for each batch of rows, in order, decoded ahead of use.

    n_processes: 0 decodes in a thread of this process. options: what `decoding.decode` takes beside the size.
    Raises: UserError naming the row of an image that cannot be decoded.
    """
    decode_rows = partial(_decode_rows, image_size=image_size, options=options)
    n_rows = max(_CHUNK_ROWS, _CHUNK_BYTES // (3 * image_size**2))
    with _pool(images, n_processes) as pool:
        pending: deque[list[Future[NDArray[np.uint8]]]] = deque()
        for batch in batches:
            chunks = (batch[start : start + n_rows] for start in range(0, len(batch), n_rows))
            pending.append([pool.submit(decode_rows, list(chunk)) for chunk in chunks])
            if len(pending) > _BATCHES_AHEAD:
                yield _joined(pending.popleft())
        while pending:
            yield _joined(pending.popleft())


@contextmanager
def _pool(images: Images, n_processes: int) -> Iterator[Executor]:
    if n_processes == 0:
        pool: Executor = ThreadPoolExecutor(1, initializer=_keep, initargs=(images,))
    else:
        # spawn: a fork of a process with threads and CUDA inside may hang
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(n_processes, mp_context=context, initializer=_start_worker, initargs=(images,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _joined(chunks: list[Future[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    try:
        return np.concatenate([chunk.result() for chunk in chunks])
    except BrokenProcessPool as error:
        raise UserError(
            "image decoding processes must stay alive, but one was killed, most likely for lack of memory; "
            "run again with fewer processes: finished shards are kept"
        ) from error


_worker = threading.local()  # by thread, so that two feeds in one process keep their own images


def _keep(images: Images) -> None:
    _worker.images = images


def _start_worker(images: Images) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _keep(images)


def _leave_with_parent() -> None:
    """End this worker when its parent was killed, which closes no queue."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _decode_rows(rows: list[int], *, image_size: int, options: dict[str, Any]) -> NDArray[np.uint8]:
    found = np.empty((len(rows), image_size, image_size, 3), dtype=np.uint8)
    for place, (row, encoded) in enumerate(zip(rows, _worker.images.read(rows), strict=True)):
        try:
            found[place] = decode(encoded, image_size, **options)
        except Exception as error:  # decoders raise whatever a broken file makes them raise
            raise UserError(
                f"the image of specimen {row} must be readable, but decoding failed: {error}; "
                "mend it, or drop unreadable images with --skip-bad-images"
            ) from error
    return found
