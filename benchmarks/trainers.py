"""Trainers on random features, and single steps of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trainable.config import TrialConfig
from trainable.training.augment import Batch
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

BATCH_SIZE = 64
"""Specimens a step, as the published systems and our default have it."""


def make_trainer(
    data: TrialData,
    *,
    kind: str,
    n_blocks: int,
    device: str,
    batch_size: int = BATCH_SIZE,
    precision: str = "auto",
) -> TailTrainer:
    """A trial of one kind, without augmentation, at a rate so small that it cannot diverge on random labels."""
    adapter: dict[str, Any] = {"kind": kind} if kind == "full" else {"kind": kind, "rank": 16, "alpha": 16.0}
    values = {
        "epochs": 1000,
        "adapter": adapter,
        "tail": {"n_blocks": n_blocks},
        "optim": {"lr": 1e-6, "batch_size": batch_size, "schedule": "constant"},
        "augment": {"domain_dropout": 0.0},
    }
    trainer = TailTrainer(TrialConfig.from_dict(values), data, seed=0, device=device, precision=precision)
    trainer.tail.train()
    return trainer


def fixed_batch(trainer: TailTrainer, data: TrialData) -> Batch:
    """The first training specimens, on the device."""
    first = data.split.train[: trainer.config.optim.batch_size]
    batch = next(trainer._rows.batches([first], trainer._feed))
    return replace(batch, tokens=batch.tokens.clone())  # the feed writes the next one over it


def steps_on(trainer: TailTrainer, batch: Batch, *, n_steps: int) -> Callable[[], None]:
    """An arm: `n_steps` steps of the trainer on one batch."""

    def run() -> None:
        for _ in range(n_steps):
            trainer._step(batch)

    return run
