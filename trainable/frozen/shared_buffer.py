"""Memory that this process and its spawned workers write and read in place; nameless, so that no kill leaves it behind.

Imports no torch, as worker processes must not.
"""

import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainable.errors import UserError
from trainable.shown import size_text

_PIECE = 2**20  # bytes of zeros written at a time, so that filling takes no second buffer as large


class SharedBuffer:
    """`n_bytes` of memory; a worker process gets it as an argument of its start, and in no other way.

    It is freed when nobody has a view of it any longer. On Linux it takes memory alone, however small /dev/shm is.
    Raises: UserError when there is no room.
    """

    def __init__(self, n_bytes: int) -> None:
        try:
            self._fd = _open_filled(n_bytes)
            self._pages = mmap.mmap(self._fd, n_bytes)
        except OSError as error:
            raise UserError(
                f"{size_text(n_bytes)} must be free for decoded images, but: {error.strerror}; "
                "free some, or run again with a smaller batch size"
            ) from error

    def close(self) -> None:
        """No further process will get it; views stay."""
        os.close(self._fd)

    def view(self, *shape: int) -> NDArray[np.uint8]:
        """All of it as uint8 of this shape."""
        return np.frombuffer(self._pages, dtype=np.uint8).reshape(shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _attach, (reduction.DupFd(self._fd), len(self._pages))


def _open_filled(n_bytes: int) -> int:
    """A file without a name, every page in its place: one that finds none later kills whoever touches it (SIGBUS)."""
    fd = _open_nameless()
    try:
        for start in range(0, n_bytes, _PIECE):
            piece = memoryview(bytes(min(_PIECE, n_bytes - start)))
            while piece:
                piece = piece[os.write(fd, piece) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("decoded-images")  # closed on exec: no unrelated child keeps the memory
    with tempfile.TemporaryFile() as file:  # macOS; its name is gone already, the copy keeps the file itself
        return os.dup(file.fileno())


def _attach(fd: Any, n_bytes: int) -> "SharedBuffer":
    buffer = SharedBuffer.__new__(SharedBuffer)
    buffer._fd = fd.detach()
    buffer._pages = mmap.mmap(buffer._fd, n_bytes)
    return buffer
