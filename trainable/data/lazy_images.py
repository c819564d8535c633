"""Encoded images that are read as they are asked for: all of a dataset would not fit in memory."""

from collections.abc import Callable, Sequence
from typing import overload


class LazyImages(Sequence[bytes]):
    """`n` encoded images; read: rows of them -> their bytes."""

    def __init__(self, n: int, read: Callable[[Sequence[int]], list[bytes]]) -> None:
        self._rows, self._read = range(n), read

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        return self._read(self._rows[row]) if isinstance(row, slice) else self._read([self._rows[row]])[0]
