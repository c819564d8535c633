"""Decoded images ahead of the model: a pool of processes reads, decodes and resizes while the model computes.

Workers write into memory that they share with the model's process, so that only messages of some bytes are sent.
Imports no torch: worker processes import this module, and must start fast and stay small.
"""

import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainable.data.decoding import decode
from trainable.errors import UserError
from trainable.frozen.shared_buffer import SharedBuffer

_CHUNK_ROWS = 16  # of a task, at least: some milliseconds, large against sending it
_BATCHES_AHEAD = 3


class Images(Protocol):
    """Encoded images by row; picklable, and cheap to send to a worker process."""

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes (PNG, JPEG, ...) of some rows, in the order asked; b"" where there are none."""
        ...

    def absence(self, index: int) -> str:
        """Why a row has no bytes, in words."""
        ...


def decoded_batches(
    images: Images, batches: Sequence[Sequence[int]], image_size: int, *, n_processes: int, **options: Any
) -> Generator[NDArray[np.uint8], None, None]:
    """uint8 [len(batch), image_size, image_size, 3] for each batch of rows, in order, decoded ahead of use.

    A batch is good until the next is asked for: a later one takes its memory. In it a channel's pixels lie together.
    n_processes: 0 decodes in a thread of this process. options: what `decoding.decode` takes beside the size.
    Raises: UserError naming the row of an image that cannot be decoded, or when the images ahead have no room.
    """
    # while the caller uses one slot, the batches ahead of it fill the others
    shape = (_BATCHES_AHEAD + 1, max(map(len, batches), default=0), 3, image_size, image_size)
    if math.prod(shape) == 0:
        return
    with SharedBuffer(math.prod(shape)) as buffer, _pool(n_processes, _Work(images, buffer, shape, options)) as pool:
        slots = buffer.view(*shape).transpose(0, 1, 3, 4, 2)
        pending: deque[list[Future[None]]] = deque()
        for number in range(len(batches) + _BATCHES_AHEAD):
            if number < len(batches):
                pending.append(_submit(pool, batches[number], number % len(slots), n_processes))
            if (ready := number - _BATCHES_AHEAD) >= 0:
                _wait(pending.popleft())
                yield slots[ready % len(slots), : len(batches[ready])]


@dataclass(frozen=True, slots=True)
class _Work:
    """All that a worker needs to know; the shape is [slots, rows, 3, image_size, image_size]."""

    images: Images
    buffer: SharedBuffer
    shape: tuple[int, ...]
    options: dict[str, Any]


@contextmanager
def _pool(n_processes: int, work: _Work) -> Iterator[Executor]:
    if n_processes == 0:
        pool: Executor = ThreadPoolExecutor(1, initializer=_keep, initargs=(work,))
    else:
        # spawn: a fork of a process with threads and CUDA inside may hang
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(n_processes, mp_context=context, initializer=_start_worker, initargs=(work,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: Executor, batch: Sequence[int], slot: int, n_processes: int) -> list[Future[None]]:
    """As few tasks as keep all processes busy: two each in the batches ahead."""
    n_chunks = min(-(-2 * n_processes // _BATCHES_AHEAD), len(batch) // _CHUNK_ROWS)
    n_rows = -(-len(batch) // max(n_chunks, 1))
    starts = range(0, len(batch), n_rows)
    return [pool.submit(_decode_rows, batch[start : start + n_rows], slot, start) for start in starts]


def _wait(chunks: list[Future[None]]) -> None:
    try:
        for chunk in chunks:
            chunk.result()
    except BrokenProcessPool as error:
        raise UserError(
            "image decoding processes must stay alive, but one was killed, most likely for lack of memory; "
            "run again with fewer processes: finished shards are kept"
        ) from error


_worker = threading.local()  # by thread, so that two feeds in one process keep their own work


def _keep(work: _Work) -> None:
    _worker.work = work
    _worker.slots = work.buffer.view(*work.shape)


def _start_worker(work: _Work) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to the whole group: the parent's to handle
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _keep(work)


def _leave_with_parent() -> None:
    """End this worker when its parent was killed, which closes no queue."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _decode_rows(rows: Sequence[int], slot: int, start: int) -> None:
    """Into rows `start`, `start + 1`, ... of a slot."""
    work: _Work = _worker.work
    places = _worker.slots[slot, start : start + len(rows)]
    for place, row, encoded in zip(places, rows, work.images.read(list(rows)), strict=True):
        try:
            place[:] = decode(encoded, work.shape[-1], **work.options).transpose(2, 0, 1)
        except Exception as error:  # decoders raise whatever a broken file makes them raise
            reason = work.images.absence(row) if not encoded else error
            raise UserError(
                f"the image of specimen {row} must be readable, but decoding failed: {reason}; "
                "mend it, or drop unreadable images with --skip-bad-images"
            ) from error
