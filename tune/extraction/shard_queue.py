"""Which shards are extracted next, and how far all are: guided self-scheduling (Polychronopoulos and Kuck 1987).

Each worker takes a part of what is left, so that chunks shrink towards the end and uneven workers end together.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence

CHUNKS_LEFT = 3
"""A worker takes one part in so many of its even share of the shards that are left."""

Chunk = tuple[int, ...]
"""Shards that one worker extracts in one go, ascending."""


class ShardQueue:
    """Hands out each missing shard once, and again what a lost worker had not finished."""

    def __init__(self, missing: Sequence[int], rows: Mapping[int, int], *, n_images: int, least_rows: int) -> None:
        """missing: shards, ascending. rows: shard -> its images. n_images: in the whole store.

        least_rows: a chunk has at least so many images, where there are any left: starting one costs time.
        """
        self._left = deque(missing)
        self._rows = {shard: rows[shard] for shard in missing}
        self._running: dict[Chunk, int] = {}
        self._n_finished = n_images - sum(self._rows.values())
        self._least_rows = least_rows

    @property
    def n_done(self) -> int:
        """Images extracted, those of unfinished chunks as far as they were heard of."""
        return self._n_finished + sum(self._running.values())

    @property
    def has_more(self) -> bool:
        """Whether there is a chunk to take now."""
        return bool(self._left)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left and nothing runs."""
        return not self._left and not self._running

    def take(self, n_workers: int) -> Chunk:
        """The next chunk, for one of so many workers."""
        wanted = max(1, len(self._left) // (CHUNKS_LEFT * n_workers))
        taken: list[int] = []
        while self._left and (len(taken) < wanted or sum(self._rows[s] for s in taken) < self._least_rows):
            taken.append(self._left.popleft())
        chunk = tuple(taken)
        self._running[chunk] = 0
        return chunk

    def advance(self, chunk: Chunk, n_images: int) -> None:
        """So many more images of a chunk are through the model."""
        self._running[chunk] += n_images

    def finish(self, chunk: Chunk) -> None:
        """All shards of a chunk are written."""
        del self._running[chunk]
        self._n_finished += sum(self._rows[shard] for shard in chunk)

    def give_back(self, chunk: Chunk, missing: Collection[int]) -> None:
        """Its worker is lost: what it has not written is to be taken again, and first."""
        del self._running[chunk]
        self._n_finished += sum(self._rows[shard] for shard in chunk if shard not in missing)
        self._left.extendleft(shard for shard in reversed(chunk) if shard in missing)
