"""A tap's shards side by side in one stretch of addresses, so that one call gathers a batch from all of them.

A row lies a multiple of its size behind the first row, whatever shard it is in. Files are mapped at whole pages, so
between two shards there is room that belongs to no specimen. Nothing is copied: processes share the files' pages.
"""

import ctypes
import math
import mmap
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MAP_FIXED = 0x10  # on Linux, macOS and the BSDs; the one flag needed that Python's `mmap` leaves out


class _Shard(NamedTuple):
    """A `.npy` file: where its rows begin, in bytes, and what they are."""

    file: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class MappedTap:
    """Features of n specimens [n, n_tokens, width] at one tap, read where they lie.

    dtype: float16, or float32 when any shard is.
    """

    def __init__(self, files: Sequence[Path], *, rows_per_shard: int) -> None:
        """files: the tap's shards in order, each of `rows_per_shard` rows but the last.

        Raises: OSError when one cannot be mapped.
        """
        shards = [_read_head(file) for file in files]
        shard_of_row = np.repeat(np.arange(len(shards)), [shard.shape[0] for shard in shards])
        row_in_shard = np.arange(len(shard_of_row)) - shard_of_row * rows_per_shard
        self._positions = np.empty(len(shard_of_row), dtype=np.int64)
        self._parts: dict[int, Tensor] = {}  # by first position; one a type, two where some shards overflowed half
        n_positions = 0
        for dtype in {shard.dtype for shard in shards}:
            own = [i for i, shard in enumerate(shards) if shard.dtype == dtype]
            rows, rows_apart = _map_side_by_side([shards[i] for i in own], rows_per_shard)
            there = np.isin(shard_of_row, own)
            begins = n_positions + np.searchsorted(own, shard_of_row[there]) * rows_apart
            self._positions[there] = begins + row_in_shard[there]
            self._parts[n_positions] = rows
            n_positions += len(rows)
        dtypes = {rows.dtype for rows in self._parts.values()}
        self.dtype = torch.float16 if dtypes == {torch.float16} else torch.float32
        self._row_shape = shards[0].shape[1:]

    def positions(self, indices: NDArray[np.int64]) -> Tensor:
        """What `gather` takes for specimens [b], each in 0..n-1: int64 [b]."""
        return torch.from_numpy(self._positions[indices])

    def gather(self, positions: Tensor, out: Tensor | None = None) -> Tensor:
        """Features at `positions` [b], in their order: [b, n_tokens, width] of `dtype`.

        out: a CPU tensor of this shape and type to fill.
        """
        if len(self._parts) == 1:
            return torch.index_select(self._parts[0], 0, positions, out=out)
        if out is None:
            out = torch.empty((len(positions), *self._row_shape), dtype=self.dtype)
        for begin, rows in self._parts.items():
            there = (begin <= positions) & (positions < begin + len(rows))
            out[there] = rows.index_select(0, positions[there] - begin).to(self.dtype)
        return out


def _read_head(file: Path) -> _Shard:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return _Shard(file, array.offset, array.shape, array.dtype)


def _map_side_by_side(shards: list[_Shard], rows_per_shard: int) -> tuple[Tensor, int]:
    """Shards of one type: ([rows, n_tokens, width], rows from the beginning of one shard to that of the next)."""
    first = shards[0]
    row_shape, row_bytes = first.shape[1:], math.prod(first.shape[1:]) * first.dtype.itemsize
    assert all(shard.offset == first.offset and shard.shape[1:] == row_shape for shard in shards)
    rows_of_whole_pages = mmap.ALLOCATIONGRANULARITY // math.gcd(mmap.ALLOCATIONGRANULARITY, row_bytes)
    rows_needed = -(-first.offset // row_bytes) + rows_per_shard
    rows_apart = -(-rows_needed // rows_of_whole_pages) * rows_of_whole_pages
    region = mmap.mmap(-1, len(shards) * rows_apart * row_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    address = np.frombuffer(region, dtype=np.uint8).ctypes.data
    for i, shard in enumerate(shards):
        _map_at(address + i * rows_apart * row_bytes, shard.file)
    n_rows = (len(region) - first.offset) // row_bytes
    values = np.frombuffer(region, first.dtype, n_rows * math.prod(row_shape), first.offset)
    with warnings.catch_warnings():  # torch has no read-only tensors; nothing writes to these
        warnings.filterwarnings("ignore", "The given buffer is not writable|The given NumPy array is not", UserWarning)
        return torch.from_numpy(values.reshape(n_rows, *row_shape)), rows_apart


def _map_at(address: int, file: Path) -> None:
    """Put a file's pages in place of those that a region has there; they go when the region goes."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        flags = mmap.MAP_SHARED | _MAP_FIXED
        if function(address, size, mmap.PROT_READ, flags, opened.fileno(), 0) != address:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(file))
