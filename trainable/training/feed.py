"""From the feature store to the training device: one gather a batch, into buffers that are reused.

Batches have the store's type, half precision: the tail makes float32 of what it computes with. On a CPU no thread runs
ahead: the trials of a node keep its cores busy, and a gather costs the same on any of them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.frozen.feature_versions import Features

Indices = Int64[NDArray[np.int64], " _"]
"""Specimens of a batch; batches differ in size."""


class FeatureFeed:
    """Batches of a tap's features on one device, in the store's type; each is valid until the next one is taken."""

    def __init__(self, store: Features, *, tap: int, max_rows: int, device: torch.device) -> None:
        """max_rows: the largest batch that will be asked for."""
        shape = (max_rows, store.architecture.n_tokens, store.architecture.width)
        is_cuda = device.type == "cuda"
        self._tap = store.mapped(tap)
        self._single = torch.empty(shape, dtype=self._tap.dtype, device=device)
        self._pinned = [torch.empty(shape, dtype=self._tap.dtype, pin_memory=True) for _ in range(2 * is_cuda)]
        self._copied = [torch.cuda.Event() for _ in self._pinned]

    def batches(self, index_batches: Sequence[Indices]) -> Iterator[Float[Tensor, "batch tokens width"]]:
        """For each non-empty array of specimens: their features."""
        if not index_batches:
            return
        # where rows lie is looked up once for all batches, not once a batch
        sizes = [len(indices) for indices in index_batches]
        position_batches = self._tap.positions(np.concatenate(index_batches)).split(sizes)
        if self._pinned:
            yield from self._prefetched(position_batches)
            return
        for positions in position_batches:
            yield self._tap.gather(positions, self._single[: len(positions)])

    def _prefetched(
        self, position_batches: Sequence[Int64[Tensor, " _"]]
    ) -> Iterator[Float[Tensor, "batch tokens width"]]:
        """One batch ahead: a thread gathers the next into one pinned buffer while the device computes on the last."""
        waiting: deque[tuple[int, Future[Tensor]]] = deque()

        def taken() -> Float[Tensor, "batch tokens width"]:
            slot, future = waiting.popleft()
            pinned = future.result()
            # in the order of the stream: behind the step that still reads the batch before, so one buffer is enough
            tokens = self._single[: len(pinned)].copy_(pinned, non_blocking=True)
            self._copied[slot].record()
            return tokens

        def gather(positions: Int64[Tensor, " batch"], slot: int) -> Float[Tensor, "batch tokens width"]:
            self._copied[slot].synchronize()  # what lay in the slot has reached the device
            return self._tap.gather(positions, self._pinned[slot][: len(positions)])

        with ThreadPoolExecutor(1) as pool:
            for i, positions in enumerate(position_batches):
                waiting.append((i % 2, pool.submit(gather, positions, i % 2)))
                if len(waiting) == 2:
                    yield taken()
            while waiting:
                yield taken()
