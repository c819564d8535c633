"""A whole tap on the training device, where gathering a batch costs no transfer.

Each process holds its own copy: trials that share a GPU in processes of their own take this much each.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trainable.frozen.feature_versions import Features
from trainable.training.feed import FeatureFeed, Indices

_SHARE_OF_ROOM = 1 / 3  # what is left must do for the trial itself
_ROWS_A_COPY = 256

_kept: dict[tuple[str, int, str], Tensor] = {}
"""The last tap that was loaded, by store key, tap and device: the next trial of this process mostly reads it, too."""


def make_feed(
    store: Features, *, tap: int, max_rows: int, device: torch.device, gpu_share: float = 1.0
) -> "FeatureFeed | ResidentFeed":
    """On CUDA from the device's own memory where there is room for the tap, else from the store's files.

    max_rows: the largest batch that will be asked for. gpu_share: as `fits_beside_trial` takes it.
    """
    is_resident = device.type == "cuda" and fits_beside_trial(store, tap, device, gpu_share=gpu_share)
    return (ResidentFeed if is_resident else FeatureFeed)(store, tap=tap, max_rows=max_rows, device=device)


def resident_bytes(store: Features, tap: int) -> int:
    """Device memory that a resident tap takes."""
    arch = store.architecture
    return store.n * arch.n_tokens * arch.width * store.dtype(tap).itemsize


def fits_beside_trial(store: Features, tap: int, device: torch.device, *, gpu_share: float = 1.0) -> bool:
    """Whether the tap is there already, or takes at most a third of a trial's room on a CUDA device.

    gpu_share: the part of the device that is the trial's. Its room is that part, whatever is free: trials that begin at
    the same moment would all find the same memory free.
    """
    if _key(store, tap, device) in _kept:
        return True
    free, total = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free += sum(tensor.nbytes for tensor in _kept.values())  # to be let go of first
    return resident_bytes(store, tap) <= _SHARE_OF_ROOM * min(free, gpu_share * total)


class ResidentFeed:
    """Batches of a tap's features on one device, as `FeatureFeed` gives them."""

    def __init__(self, store: Features, *, tap: int, max_rows: int, device: torch.device) -> None:
        """max_rows: the largest batch that will be asked for."""
        self._tap = _resident_tap(store, tap, device)
        self._single = torch.empty((max_rows, *self._tap.shape[1:]), dtype=self._tap.dtype, device=device)

    def batches(self, index_batches: Sequence[Indices]) -> Iterator[Float[Tensor, "batch tokens width"]]:
        """For each non-empty array of specimens: their features."""
        if not index_batches:
            return
        order = torch.from_numpy(np.concatenate(index_batches)).to(self._tap.device, non_blocking=True)
        for rows in order.split([len(indices) for indices in index_batches]):
            yield torch.index_select(self._tap, 0, rows, out=self._single[: len(rows)])


def _key(store: Features, tap: int, device: torch.device) -> tuple[str, int, str]:
    return store.key, tap, str(device)


def _resident_tap(store: Features, tap: int, device: torch.device) -> Float[Tensor, "specimens tokens width"]:
    key = _key(store, tap, device)
    if key not in _kept:
        _kept.clear()
        arch = store.architecture
        values = torch.empty((store.n, arch.n_tokens, arch.width), dtype=store.dtype(tap), device=device)
        for start in range(0, store.n, _ROWS_A_COPY):
            rows = np.arange(start, min(start + _ROWS_A_COPY, store.n))
            values[start : start + len(rows)].copy_(store.gather(tap, rows))
        _kept[key] = values
    return _kept[key]
