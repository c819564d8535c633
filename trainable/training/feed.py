"""From the feature store to the training device: one gather a batch, into buffers that are reused."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainable.frozen.features import FeatureStore

Indices = NDArray[np.int64]


class FeatureFeed:
    """Batches of a tap's features in float32 on one device; each is valid until the next one is taken."""

    def __init__(self, store: FeatureStore, *, tap: int, max_rows: int, device: torch.device) -> None:
        """max_rows: the largest batch that will be asked for."""
        self._store, self._tap, self._device = store, tap, device
        shape = (max_rows, store.architecture.n_tokens, store.architecture.width)
        is_cuda = device.type == "cuda"
        self._half = [torch.empty(shape, dtype=torch.float16, pin_memory=is_cuda) for _ in range(2 if is_cuda else 1)]
        self._single = torch.empty(shape, dtype=torch.float32, device=device)
        self._copied = [torch.cuda.Event() for _ in self._half] if is_cuda else []

    def batches(self, index_batches: Iterable[Indices]) -> Iterator[tuple[Indices, Tensor]]:
        """For each non-empty array of specimens [b]: the array itself and their features [b, n_tokens, width]."""
        if self._device.type == "cuda":
            yield from self._prefetched(index_batches)
            return
        for indices in index_batches:
            yield indices, self._to_single(self._gather(indices, 0))

    def _gather(self, indices: Indices, slot: int) -> Tensor:
        return self._store.gather(self._tap, indices, out=self._half[slot][: len(indices)])

    def _to_single(self, gathered: Tensor) -> Tensor:
        return self._single[: len(gathered)].copy_(gathered, non_blocking=True)

    def _prefetched(self, index_batches: Iterable[Indices]) -> Iterator[tuple[Indices, Tensor]]:
        """One batch ahead: a thread gathers the next into one pinned buffer while the device computes on the last."""
        waiting: deque[tuple[Indices, int, Future[Tensor]]] = deque()

        def taken() -> tuple[Indices, Tensor]:
            indices, slot, future = waiting.popleft()
            tokens = self._to_single(future.result())
            self._copied[slot].record()
            return indices, tokens

        def gather(indices: Indices, slot: int) -> Tensor:
            self._copied[slot].synchronize()  # what lay in the slot has reached the device
            return self._gather(indices, slot)

        with ThreadPoolExecutor(1) as pool:
            for i, indices in enumerate(index_batches):
                waiting.append((indices, i % 2, pool.submit(gather, indices, i % 2)))
                if len(waiting) == 2:
                    yield taken()
            while waiting:
                yield taken()
