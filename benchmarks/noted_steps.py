"""When a trial took its training steps, whoever runs it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from trainable.training.trainer import TailTrainer


@contextmanager
def noted_steps() -> Iterator[list[float]]:
    """Yields a list that takes the monotonic second at which each training step in this process begins."""
    times: list[float] = []
    step = TailTrainer._step

    def noted(trainer: TailTrainer, batch: Any) -> Tensor:
        times.append(time.monotonic())
        return step(trainer, batch)

    TailTrainer._step = noted  # type: ignore[method-assign]
    try:
        yield times
    finally:
        TailTrainer._step = step  # type: ignore[method-assign]
