"""Where encoded images lie: parquet shards, Arrow files of `datasets`, or single files; read lazily, sent to workers
as paths.

Imports no torch and no pandas: worker processes unpickle these.
"""

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainable.data.file_bytes import file_bytes, why_absent

_FILES_PER_READ = 64


class ImageSource(Protocol):
    """Encoded images by row; picklable, and cheap to send to a worker process: paths and positions, no bytes."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes of some rows, in the order asked; b"" where there are none."""
        ...

    def absence(self, index: int) -> str:
        """Why a row has no bytes, in words."""
        ...

    def files(self) -> list[str]:
        """The paths of all that is read."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """One image a file."""

    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes of some rows; b"" for a file that cannot be read."""
        return [file_bytes(self.paths[index]) for index in indices]

    def absence(self, index: int) -> str:
        """Why a row has no bytes, in words."""
        return why_absent(self.paths[index])

    def files(self) -> list[str]:
        """The paths of all that is read, one a row."""
        return list(self.paths)

    def where(self, index: int) -> str:
        """The file that a row's image lies in."""
        return self.paths[index]

    def stretches(self) -> list[range]:
        """All rows, some files at a time."""
        starts = range(0, len(self), _FILES_PER_READ)
        return [range(start, min(start + _FILES_PER_READ, len(self))) for start in starts]


@dataclass(frozen=True)
class Chunk:
    """A part of a table that is read at once: a row group of a parquet file, or a record batch of an Arrow stream."""

    path: str
    index: int
    n_rows: int

    def images(self, column: str) -> pa.Array | pa.ChunkedArray:
        """The image column of this part, an Arrow array."""
        if self.path.endswith(".parquet"):
            with pq.ParquetFile(self.path) as file:
                return file.read_row_group(self.index, columns=[column]).column(column)
        with pa.memory_map(self.path) as file, pa.ipc.open_stream(file) as stream:
            for _ in range(self.index):
                stream.read_next_batch()
            return stream.read_next_batch().column(column)


class TableImages:
    """Images embedded in tables, as `datasets` stores them: a column of struct{bytes, path}.

    chunks: the tables' parts, in row order. column: the image column's name. follow_paths: whether a row without
    bytes is read from its path; only for tables that `datasets` wrote here, since a stranger's table could name any
    file. The part read last is kept, one a thread, as rows are mostly read in order.
    """

    def __init__(self, chunks: Sequence[Chunk], column: str, *, follow_paths: bool = False) -> None:
        self.chunks = tuple(chunks)
        self.column = column
        self.follow_paths = follow_paths
        self._starts = list(accumulate((chunk.n_rows for chunk in self.chunks), initial=0))
        self._last = threading.local()

    def __reduce__(self) -> tuple[object, ...]:
        """Send paths, not what was read."""
        return partial(type(self), follow_paths=self.follow_paths), (self.chunks, self.column)

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes of some rows, in the order asked; b"" where a row has none."""
        found: dict[int, bytes] = {}
        for index in sorted({int(i) for i in indices}):  # each part is read once, whatever the order asked
            place = bisect_right(self._starts, index) - 1
            image = self._images(place)[index - self._starts[place]].as_py() or {}
            found[index] = image.get("bytes") or self._followed(image.get("path"))
        return [found[int(index)] for index in indices]

    def absence(self, index: int) -> str:
        """Why a row has no bytes, in words."""
        place = bisect_right(self._starts, index) - 1
        path = (self._images(place)[index - self._starts[place]].as_py() or {}).get("path")
        if path and self.follow_paths:
            return f"{path}: {why_absent(path)}"
        return "there are no bytes in this row" + (f", and its path {path!r} is not followed" if path else "")

    def files(self) -> list[str]:
        """The paths of all that is read."""
        return sorted({chunk.path for chunk in self.chunks})

    def where(self, index: int) -> str:
        """The file that a row's image lies in."""
        return self.chunks[bisect_right(self._starts, index) - 1].path

    def stretches(self) -> list[range]:
        """All rows, cut so that a range read at once reads no part of a table twice."""
        return [range(a, b) for a, b in zip(self._starts, self._starts[1:], strict=False) if a < b]

    def _followed(self, path: str | None) -> bytes:
        return file_bytes(path) if path and self.follow_paths else b""

    def _images(self, place: int) -> pa.Array | pa.ChunkedArray:
        if getattr(self._last, "place", None) != place:
            self._last.images = self.chunks[place].images(self.column)
            self._last.place = place
        return self._last.images


@dataclass(frozen=True, eq=False)
class SomeImages:
    """Some rows of another source, renumbered from 0."""

    source: ImageSource
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes of some rows, in the order asked."""
        return self.source.read([int(row) for row in self.rows[np.asarray(indices, dtype=np.int64)]])

    def absence(self, index: int) -> str:
        """Why a row has no bytes, in words."""
        return self.source.absence(int(self.rows[index]))

    def files(self) -> list[str]:
        """The paths of all that the other source reads."""
        return self.source.files()
