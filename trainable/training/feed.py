"""From the feature store to the training device: one gather a batch, into buffers that are reused.

On a CPU rows go from the files' pages straight into the float32 batch. No thread runs ahead there: the trials of a node
keep its cores busy, and a gather costs the same on any of them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainable.frozen.features import FeatureStore, copy_rows

Indices = NDArray[np.int64]


class FeatureFeed:
    """Batches of a tap's features in float32 on one device; each is valid until the next one is taken."""

    def __init__(self, store: FeatureStore, *, tap: int, max_rows: int, device: torch.device) -> None:
        """max_rows: the largest batch that will be asked for."""
        shape = (max_rows, store.architecture.n_tokens, store.architecture.width)
        is_cuda = device.type == "cuda"
        self._rows = store.rows(tap)
        self._single = torch.empty(shape, dtype=torch.float32, device=device)
        self._pinned = [torch.empty(shape, dtype=store.dtype(tap), pin_memory=True) for _ in range(2 * is_cuda)]
        self._copied = [torch.cuda.Event() for _ in self._pinned]
        self._places = [buffer.unbind(0) for buffer in self._pinned or [self._single]]

    def batches(self, index_batches: Iterable[Indices]) -> Iterator[tuple[Indices, Tensor]]:
        """For each non-empty array of specimens [b]: the array itself and their features [b, n_tokens, width]."""
        if self._pinned:
            yield from self._prefetched(index_batches)
            return
        for indices in index_batches:
            self._gather(indices, 0)
            yield indices, self._single[: len(indices)]

    def _gather(self, indices: Indices, slot: int) -> None:
        rows = [self._rows[i] for i in indices.tolist()]
        copy_rows(rows, self._places[slot][: len(rows)])

    def _prefetched(self, index_batches: Iterable[Indices]) -> Iterator[tuple[Indices, Tensor]]:
        """One batch ahead: a thread gathers the next into one pinned buffer while the device computes on the last."""
        waiting: deque[tuple[Indices, int, Future[None]]] = deque()

        def taken() -> tuple[Indices, Tensor]:
            indices, slot, future = waiting.popleft()
            future.result()
            pinned = self._pinned[slot][: len(indices)]
            tokens = self._single[: len(indices)].copy_(pinned, non_blocking=True)
            self._copied[slot].record()
            return indices, tokens

        def gather(indices: Indices, slot: int) -> None:
            self._copied[slot].synchronize()  # what lay in the slot has reached the device
            self._gather(indices, slot)

        with ThreadPoolExecutor(1) as pool:
            for i, indices in enumerate(index_batches):
                waiting.append((indices, i % 2, pool.submit(gather, indices, i % 2)))
                if len(waiting) == 2:
                    yield taken()
            while waiting:
                yield taken()
