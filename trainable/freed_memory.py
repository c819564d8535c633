"""Freed memory stays with the process instead of going back to the system: on a CPU up to a quarter of a step's time.

By default glibc returns a block of 32 MiB or more when it is freed, and trims the end of its heap. A training step or
a forward pass frees all its activations, and the next one asks for as much again: pages that the kernel must find and
zero once more.
"""

import ctypes
import sys
from collections.abc import Callable

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, for good; whether its C library can.

    Its memory then stays at the highest level that it has needed. glibc alone is told; others (musl, macOS) have no
    such setting and stay as they are.
    """
    mallopt = _glibc_function("mallopt")
    if mallopt is None:
        return False
    never_trimmed, no_blocks_of_their_own = -1, 0
    return bool(mallopt(_M_TRIM_THRESHOLD, never_trimmed) and mallopt(_M_MMAP_MAX, no_blocks_of_their_own))


def give_back_freed_memory() -> bool:
    """Return to the system what is kept and in use by nobody, where it has become short; whether there was any."""
    malloc_trim = _glibc_function("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def _glibc_function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
