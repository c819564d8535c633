"""A tap's shards side by side in one stretch of addresses, so that one call gathers a batch from all of them.

Nothing is copied: processes share the files' pages. Each shard begins where a huge page may, which a file's pages are
mapped with where the system keeps them so (Linux; 18 % of a gather's time for rows of 75 kB): between two shards there
is room that belongs to none. Rows are therefore found in steps of the largest unit that divides both.
"""

import ctypes
import math
import mmap
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

_HUGE_PAGE = 2**21  # bytes, of x86-64 and of arm64 with pages of 4 KiB; others lose nothing by it
_MAP_FIXED = 0x10  # on Linux, macOS and the BSDs; the one flag needed that Python's `mmap` leaves out


class _Shard(NamedTuple):
    """A `.npy` file: where its rows begin, in bytes, and what they are."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


class MappedTap:
    """Features of n specimens [n, n_tokens, width] at one tap, read where they lie.

    dtype: float16, or float32 when any shard is.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """files: the tap's shards in the order of their specimens.

        Raises: OSError when one cannot be mapped.
        """
        shards = [_read_head(file) for file in files]
        places: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(shards)
        self._parts: dict[int, Tensor] = {}  # by first position; one a type, two where some shards overflowed half
        n_positions = 0
        for dtype in {shard.dtype for shard in shards}:
            own = [i for i, shard in enumerate(shards) if shard.dtype == dtype]
            windows, found = _map_side_by_side([shards[i] for i in own])
            for i, positions in zip(own, found, strict=True):
                places[i] = n_positions + positions
            self._parts[n_positions] = windows
            n_positions += len(windows)
        self._positions = np.concatenate(places)
        dtypes = {windows.dtype for windows in self._parts.values()}
        self.dtype = torch.float16 if dtypes == {torch.float16} else torch.float32
        self._row_shape = shards[0].shape[1:]

    def positions(self, indices: Int64[NDArray[np.int64], " batch"]) -> Int64[Tensor, " batch"]:
        """What `gather` takes for specimens, each in 0..n-1."""
        return torch.from_numpy(self._positions[indices])

    def gather(
        self, positions: Int64[Tensor, " batch"], out: Float[Tensor, "batch tokens width"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Features at `positions`, in their order, of `dtype`.

        out: a CPU tensor of this type to fill.
        """
        if len(self._parts) == 1:
            return torch.index_select(self._parts[0], 0, positions, out=out)
        if out is None:
            out = torch.empty((len(positions), *self._row_shape), dtype=self.dtype)
        for begin, windows in self._parts.items():
            there = (begin <= positions) & (positions < begin + len(windows))
            out[there] = windows.index_select(0, positions[there] - begin).to(self.dtype)
        return out


def _read_head(file: Path) -> _Shard:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return _Shard(file, array.offset, array.shape, array.dtype)


def _map_side_by_side(
    shards: list[_Shard],
) -> tuple[Float[Tensor, "positions tokens width"], list[Int64[NDArray[np.int64], " _"]]]:
    """Shards of one type.

    Gives windows, one at every unit of bytes, most of them across two rows, and for each
    shard the positions of those that are its rows.
    """
    first = shards[0]
    row_shape, itemsize = first.shape[1:], first.dtype.itemsize
    row_bytes = math.prod(row_shape) * itemsize
    assert all(shard.offset == first.offset and shard.shape[1:] == row_shape for shard in shards)
    begins = [0]
    for shard in shards:
        begins.append(begins[-1] + -(-shard.file.stat().st_size // _HUGE_PAGE) * _HUGE_PAGE)
    # holds the addresses, one huge page more than needed to begin at a multiple; no page of it is ever touched
    region = mmap.mmap(-1, begins[-1] + _HUGE_PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    address = np.frombuffer(region, dtype=np.uint8).ctypes.data
    skipped = -address % _HUGE_PAGE
    for begin, shard in zip(begins, shards, strict=False):
        _map_at(address + skipped + begin, shard.file)
    # the array keeps `region` alive, and with it the files' pages inside
    with warnings.catch_warnings():  # torch has no read-only tensors; nothing writes to these
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        values = torch.from_numpy(np.frombuffer(region, first.dtype, offset=skipped + first.offset))
    # every shard begins at a multiple of a huge page, every row at a multiple of its size from there
    unit = math.gcd(row_bytes, _HUGE_PAGE)
    n_positions = (len(values) * itemsize - row_bytes) // unit + 1
    windows = values.as_strided((n_positions, *row_shape), (unit // itemsize, row_shape[-1], 1))
    rows = [np.arange(shard.shape[0]) * (row_bytes // unit) for shard in shards]
    return windows, [begin // unit + row for begin, row in zip(begins, rows, strict=False)]


def _map_at(address: int, file: Path) -> None:
    """Put a file's pages in place of those that a region has there; they go when the region goes."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    with file.open("rb") as opened:  # a mapping outlives its file descriptor: hundreds of shards need none open
        size = os.fstat(opened.fileno()).st_size
        # MAP_FIXED drops whatever was mapped there: `address` must lie inside a region of our own
        flags = mmap.MAP_SHARED | _MAP_FIXED
        if function(address, size, mmap.PROT_READ, flags, opened.fileno(), 0) != address:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(file))
