"""Figure 10: epochs a second of K trials on one GPU, each in a process of its own / of one trial alone.

Full fine-tuning, B = 64. Processes are started, loaded and warmed up before the clock runs, and begin together.
"""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.setting import Setting
from benchmarks.trainers import BATCH_SIZE, make_trainer
from trainable.training.trial_data import TrialData

_DEPTHS, _TRIALS = (1, 2, 4), (1, 2, 4)
_EPOCHS = 3
_START_SECONDS = 300.0


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone, depth and number of trials above one."""
    return [figure for name in setting.backbones for n in _DEPTHS for figure in _figures(setting, name, n)]


def _figures(setting: Setting, name: str, n_blocks: int) -> list[Figure]:
    backbone = random_backbone(name, setting.device)
    n = setting.sized(4096, 512)
    rates: dict[int, list[float]] = {k: [] for k in _TRIALS}
    with (
        random_trial_data(backbone, tap=backbone.architecture.n_blocks - n_blocks, n=n) as data,
        tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder,
    ):
        data.save(Path(folder))
        for _ in range(setting.rounds):
            for k in _TRIALS:
                rates[k].append(epochs_a_second(Path(folder), k, n_blocks=n_blocks, device=setting.device))
    alone = rates[1]
    return [
        Figure(
            number=10,
            name=f"epochs of {k} trials on one GPU / of one, {name}, N={n_blocks}, B={BATCH_SIZE}",
            ratio=statistics.median(a / b for a, b in zip(rates[k], alone, strict=True)),
            parts=tuple(Value(f"K={i}", statistics.median(rates[i]), "epochs/s") for i in (1, k)),
            target=Target(">=", 1.5 if n_blocks == 1 else 1.0),
        )
        for k in _TRIALS[1:]
    ]


def epochs_a_second(folder: Path, n_trials: int, *, n_blocks: int, device: str, batch_size: int = BATCH_SIZE) -> float:
    """Epochs a second of all trials together, from their common start to the end of the last.

    folder: where a `TrialData` was saved.
    Raises: RuntimeError when a trial failed.
    """
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    ready = context.Barrier(n_trials + 1, timeout=_START_SECONDS)
    trial = {"n_blocks": n_blocks, "device": device, "batch_size": batch_size}
    processes = [context.Process(target=_train, args=(ready, folder, trial), daemon=True) for _ in range(n_trials)]
    for process in processes:
        process.start()
    ready.wait()
    started = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    if failed := [process.exitcode for process in processes if process.exitcode]:
        raise RuntimeError(f"all trials must end well, but exit codes are {failed}")
    return n_trials * _EPOCHS / seconds


def _train(ready: Any, folder: Path, trial: dict[str, Any]) -> None:
    trainer = make_trainer(TrialData.load(folder), kind="full", **trial)
    trainer.train_epoch()
    ready.wait()
    for _ in range(_EPOCHS):
        trainer.train_epoch()
