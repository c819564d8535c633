"""The pass itself: decoding processes, the model and writer threads side by side, shard by shard."""

import errno
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trainable.errors import UserError
from trainable.freed_memory import keep_freed_memory
from trainable.frozen.backbone import Backbone
from trainable.frozen.extraction_plan import ExtractionPlan, fitting_batch_size
from trainable.frozen.image_copies import altered
from trainable.frozen.image_feed import Images, decoded_batches
from trainable.frozen.shards import Moments, merge_moments, write_shard

Progress = Callable[[int, int], None]
"""(specimens done, specimens in all)"""

_SHARDS_IN_WRITING = 2  # bounds memory: so many shards, and the one being computed
_WRITER_THREADS = 4


def extract_shards(
    plan: ExtractionPlan,
    shards: Sequence[int],
    *,
    backbone: Backbone,
    images: Images,
    n_processes: int,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Extract what these shards lack and write it; each shard is whole or missing, whenever this is killed.

    On CUDA the blocks compute in half precision; a shard that overflows it is done again in float32, and stored so
    where needed.
    """
    if not shards:
        return
    device_type = backbone.device.type
    if device_type == "cpu":
        keep_freed_memory()
    batch_size = batch_size or fitting_batch_size(plan, device_type)
    n_done = plan.n - sum(len(plan.rows(shard)) for shard in shards)

    def count(n_rows: int) -> None:
        nonlocal n_done
        n_done += n_rows
        if progress is not None:
            progress(n_done, plan.n)

    count(0)
    first = _Pass(plan, backbone, images, n_processes, batch_size, half=device_type == "cuda", dtype=torch.float16)
    overflowed = first.run(shards, count)
    if overflowed:
        again = _Pass(plan, backbone, images, n_processes, batch_size, half=False, dtype=torch.float32)
        again.run(overflowed, lambda _: None)


@dataclass(frozen=True, kw_only=True)
class _Extracted:
    """One shard as it leaves the model: by tap, CPU tensors, and (count, mean, m2) a batch.

    ready: CUDA event after the last copy to the host, or None.
    """

    shard: int
    values: dict[int, Float[Tensor, "rows tokens width"]]
    moments: dict[int, list[tuple[int, Float[Tensor, " width"], Float[Tensor, " width"]]]]
    ready: torch.cuda.Event | None


@dataclass(frozen=True, slots=True)
class _Pass:
    """half: blocks compute in float16. dtype: of the values that leave the model."""

    plan: ExtractionPlan
    backbone: Backbone
    images: Images
    n_processes: int
    batch_size: int
    half: bool
    dtype: torch.dtype

    def run(self, shards: Sequence[int], on_batch: Callable[[int], None]) -> list[int]:
        """Extract and write; returns the shards with taps that did not fit float16, which are left unwritten."""
        overflowed: list[int] = []
        in_writing: deque[tuple[int, list[Future[bool]]]] = deque()

        def finish_one() -> None:
            shard, writes = in_writing.popleft()
            fits = [write.result() for write in writes]
            if not all(fits):
                overflowed.append(shard)

        with closing(self._feed(shards)) as feed, ThreadPoolExecutor(_WRITER_THREADS) as writers:
            for shard in shards:
                done = self._forward(shard, feed, on_batch)
                writes = [writers.submit(_write_tap, self.plan, done, tap) for tap in done.values]
                in_writing.append((shard, writes))
                if len(in_writing) > _SHARDS_IN_WRITING:
                    finish_one()
            while in_writing:
                finish_one()
        return overflowed

    def _feed(self, shards: Sequence[int]) -> Generator[NDArray[np.uint8], None, None]:
        transform = self.backbone.transform
        return decoded_batches(
            self.images,
            [batch for shard in shards for batch in self._batches(shard)],
            transform.image_size,
            n_processes=self.n_processes,
            resize_mode=transform.resize_mode,
            interpolation=transform.interpolation,
            fill_color=transform.fill_color,
        )

    def _batches(self, shard: int) -> list[range]:
        # never across shards: what a shard holds must not depend on which others are extracted with it
        rows = self.plan.rows(shard)
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _forward(self, shard: int, feed: Iterator[NDArray[np.uint8]], on_batch: Callable[[int], None]) -> _Extracted:
        device, taps = self.backbone.device, self.plan.missing_taps(shard)
        on_gpu = device.type == "cuda"
        shape = (len(self.plan.rows(shard)), self.plan.n_tokens, self.plan.width)
        values = {tap: torch.empty(shape, dtype=self.dtype, pin_memory=on_gpu) for tap in taps}
        moments: dict[int, list[tuple[int, Tensor, Tensor]]] = {tap: [] for tap in taps}
        n_done = 0
        for batch in self._batches(shard):
            decoded = torch.from_numpy(next(feed)).to(device)
            if self.plan.copy:
                decoded = altered(decoded, batch, self.plan.copy)
            pixels = self.backbone.transform.normalize(decoded)
            for tap, stream in self.backbone.forward_taps(pixels, taps, half=self.half).items():
                stored = stream.to(self.dtype)
                values[tap][n_done : n_done + len(batch)].copy_(stored, non_blocking=True)
                moments[tap].append(_batch_moments(stored))
            n_done += len(batch)
            on_batch(len(batch))
        ready = None
        if on_gpu:
            ready = torch.cuda.Event()
            ready.record()
        return _Extracted(shard=shard, values=values, moments=moments, ready=ready)


def _batch_moments(
    stored: Float[Tensor, "batch tokens width"],
) -> tuple[int, Float[Tensor, " width"], Float[Tensor, " width"]]:
    """(count, mean, centred sum of squares) of each channel; many times faster than `var_mean` on a CPU."""
    values = stored.flatten(0, 1).to(torch.float32, copy=True)
    mean = values.mean(0)
    return len(values), mean, values.sub_(mean).square_().sum(0)


def _write_tap(plan: ExtractionPlan, done: _Extracted, tap: int) -> bool:
    """Write one tap of one shard; False, and nothing written, when half precision could not hold it."""
    if done.ready is not None:
        done.ready.synchronize()
    values = done.values[tap]
    if values.dtype == torch.float32:
        values, moments = _fallback(plan, done.shard, tap, values)
    else:
        moments = merge_moments(
            Moments(count=count, mean=mean.double().cpu().numpy(), m2=m2.double().cpu().numpy())
            for count, mean, m2 in done.moments[tap]
        )
        if not (np.isfinite(moments.mean) & np.isfinite(moments.m2)).all():  # any infinity or NaN shows in its channel
            return False
    try:
        write_shard(plan.path, tap, done.shard, values.numpy(), moments)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"the disk of {plan.path} must hold the features, but is full ({error.strerror}); finished shards are "
            "kept: free some space and run the same command again"
        ) from error
    return True


def _fallback(
    plan: ExtractionPlan, shard: int, tap: int, values: Float[Tensor, "rows tokens width"]
) -> tuple[Float[Tensor, "rows tokens width"], Moments]:
    """Values to store and their moments: in float16 if this tap is not the one that overflowed."""
    finite = torch.isfinite(values).flatten(1).all(1)
    if not finite.all():
        row = plan.rows(shard).start + int((~finite).nonzero()[0])
        raise UserError(
            f"features must be finite, but those of specimen {row} at tap {tap} are not, even in float32; "
            "the backbone's weights are damaged or do not belong to its config"
        )
    if torch.isfinite(values.half()).all():
        values = values.half()
    variance, mean = torch.var_mean(values.double(), dim=(0, 1), correction=0)
    count = values.shape[0] * values.shape[1]
    return values, Moments(count=count, mean=mean.numpy(), m2=variance.numpy() * count)
