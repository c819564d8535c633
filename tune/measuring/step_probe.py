"""What trials cost, measured before a search: a few real steps of some configurations, in a process of their own."""

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.plain_values import JsonObject
from trainable.scoring.targets import Targets
from tune.measuring.costs import MeasuredConfig
from tune.measuring.memory import peak_bytes

if TYPE_CHECKING:
    from trainable.training.folds_trainer import FoldsTrainer
    from trainable.training.precision import Precision
    from trainable.training.trainer import TailTrainer
    from trainable.training.trial_data import TrialData

STEP_SECONDS, MOST_STEPS = 3.0, 9
"""How long, and how often at most, steps of one configuration are timed, beyond the first one."""

HELD_OUT_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The measured configurations; what a worker spends once, on libraries above all; metrics that an epoch reports.

    precision: that they were measured in, in words.
    """

    measured: tuple[MeasuredConfig, ...]
    start_seconds: float
    n_metrics: int
    precision: str


def measure(
    store: Path,
    configs: Sequence[JsonObject],
    device: str,
    n_threads: int,
    precision: str,
    task: Task,
    n_trainings: int,
) -> Steps:
    """Train a few steps of each configuration in turn, the least demanding first, on features of `store`.

    precision: as `Precision.on` takes it. task: the study's, whose targets or classes are forecast. n_trainings:
    of one trial, side by side.
    Call it in a fresh process: memory is the most that the process ever held.
    """
    started = time.monotonic()
    import torch

    import trainable.training.trainer  # noqa: F401 - its time is the worker's, not the first configuration's
    from trainable.training.precision import Precision

    if device == "cpu":
        torch.set_num_threads(n_threads)
    start_seconds = time.monotonic() - started
    measured, n_metrics, used = [], 0, Precision.on(device, precision)
    for config in configs:
        found, first_seconds, n_metrics = _measure(TrialConfig.from_dict(config), store, used, task, n_trainings)
        start_seconds += max(0.0, first_seconds - found.build_seconds)
        measured.append(found)
    return Steps(measured=tuple(measured), start_seconds=start_seconds, n_metrics=n_metrics, precision=str(used))


def _measure(
    config: TrialConfig, store: Path, precision: "Precision", task: Task, n_trainings: int
) -> tuple[MeasuredConfig, float, int]:
    """Also the seconds that building it took at first, and how many metrics an epoch has."""
    from trainable.training.folds_trainer import make_trainer  # loads torch and pandas

    longer = replace(config, epochs=MOST_STEPS + 1, length=1.0)  # an epoch is one step a training
    data = few_rows(store, config.optim.batch_size, task, n_trainings=n_trainings, n_copies=config.augment.n_copies)

    def build() -> "tuple[TailTrainer | FoldsTrainer, float]":
        started = time.monotonic()
        trainer = make_trainer(longer, data, seed=0, device=precision.device, precision=precision.products)
        return trainer, time.monotonic() - started

    trainer, first_seconds = build()
    del trainer
    trainer, build_seconds = build()
    trainer.train_epoch()
    end = time.monotonic() + STEP_SECONDS
    while trainer.epoch < 2 or (trainer.epoch <= MOST_STEPS and time.monotonic() < end):
        trainer.train_epoch()
    rest = trainer.history[1:]
    step_seconds = statistics.median(_step_seconds(m, data) for m in rest)
    epoch_seconds = statistics.median(m["time/epoch_seconds"] for m in rest) / n_trainings
    save_seconds, checkpoint_bytes = _saved(trainer)
    measured = MeasuredConfig(
        config=config,
        step_seconds=step_seconds,
        predict_seconds=max(0.0, epoch_seconds - step_seconds) / data.split.n_held_out,
        build_seconds=build_seconds,
        save_seconds=save_seconds,
        peak_bytes=peak_bytes(precision.device),
        n_trainable=trainer.n_trainable,
        checkpoint_bytes=checkpoint_bytes,
    )
    return measured, first_seconds, len(trainer.history[0])


def _step_seconds(metrics: dict[str, float], data: "TrialData") -> float:
    return len(data.split.train) / metrics["time/train_images_per_second"]


def few_rows(store: Path, batch_size: int, task: Task, *, n_trainings: int = 1, n_copies: int = 0) -> "TrialData":
    """One batch to train on and a few held-out rows; labels and groups are made up, features are those of the store.

    task: whose targets or classes are forecast. n_trainings: so many splits, alike but for their numbers. n_copies: of
    the images, each with their own features.
    """
    from trainable.data.splits import Split  # loads torch and pandas
    from trainable.frozen.features import FeatureStore
    from trainable.training.trial_data import TrialData

    features = FeatureStore.open(store)
    ones = np.ones(len(task.names))
    rows, rng = np.arange(features.n), np.random.default_rng(0)
    labels = rows[:, None] % task.n_outputs if task.has_classes else rng.normal(size=(len(rows), len(task.names)))
    held_out = np.resize(rows, HELD_OUT_ROWS // 2)
    splits = [
        Split(
            policy="both", fold=fold, train=np.resize(rows, batch_size), id_=held_out, ood=held_out,
            held_out_sites=(), held_out_domains=(), n_leaked_events=0,
        )
        for fold in range(n_trainings)
    ]  # fmt: skip
    return TrialData(
        store=features,
        labels=labels.astype(np.float32),
        domain_ids=rows % 4,
        event_ids=rows // 2,
        site_ids=np.array([f"site-{row % 8}" for row in rows]),
        species=np.array(["any"] * features.n),
        numbers=rng.normal(size=(len(rows), len(task.numbers))) if task.numbers else None,
        targets=Targets(task=task, spread=ones, floor=ones),
        split=splits[0],
        other_splits=tuple(splits[1:]),
        copies=(features,) * n_copies,
    )


def _saved(trainer: "TailTrainer | FoldsTrainer") -> tuple[float, int]:
    from trainable.training.checkpoint import save_checkpoint  # loads torch

    with tempfile.TemporaryDirectory(prefix="sentinel-tune-probe-") as folder:
        started = time.monotonic()
        file = save_checkpoint(Path(folder), trainer.state_dict())
        return time.monotonic() - started, Path(str(file)).stat().st_size
