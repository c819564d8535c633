"""Figure 12: megabytes that a finished trial leaves in the worker that ran it, and in the driver.

In the worker: trials of one epoch after another in one process, of all three kinds in turn; the slope of its resident
memory over the second half of them, and whether threads and file handles are as many at the end as in the middle. In
the driver: the slope over the trials of the search on Ray, and over 500 trivial ones in `cluster_overhead.py`.
"""

import tempfile
import threading
from pathlib import Path

import numpy as np

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.recorded_search import recorded_search
from benchmarks.recorder import n_handles, rss_mb
from benchmarks.setting import Setting
from trainable.config import TrialConfig
from trainable.trial import Trial, TrialTask

LIMIT_MB = 0.5


def measure(setting: Setting) -> list[Figure]:
    """The worker's figure for the first backbone, and the driver's."""
    return [_worker(setting), _driver(setting)]


def slope(values: list[float]) -> float:
    """Of a straight line through the second half: what comes before is start-up."""
    late = values[len(values) // 2 :]
    return float(np.polyfit(range(len(late)), late, 1)[0])


def _worker(setting: Setting) -> Figure:
    name, n_trials = setting.backbones[0], setting.sized(200, 12)
    backbone = random_backbone(name, "cpu")
    memory: list[float] = []
    counts: list[tuple[int, int]] = []
    with (
        random_trial_data(backbone, tap=backbone.architecture.n_blocks - 1, n=64) as data,
        tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder,
    ):
        for number in range(n_trials):
            trial = Trial(_task(number, Path(folder)), data)
            result = trial.step()
            if result.failure is not None:
                raise RuntimeError(result.failure.message)
            trial.close()
            memory.append(rss_mb())
            counts.append((threading.active_count(), n_handles()))
    (threads_then, handles_then), (threads, handles) = counts[len(counts) // 2], counts[-1]
    return Figure(
        number=12,
        name=f"growth of a worker per trial, {name}, MB",
        ratio=slope(memory),
        parts=(
            Value("trials", n_trials),
            Value("memory at half time", memory[n_trials // 2], "MB"),
            Value("at the end", memory[-1], "MB"),
            Value("more threads", threads - threads_then),
            Value("more handles", handles - handles_then),
        ),
        target=Target("<=", LIMIT_MB),
    )


def _task(number: int, folder: Path) -> TrialTask:
    values = {"adapter.kind": ("full", "lora", "dora")[number % 3], "tail.n_blocks": 1, "optim.lr": 1e-5}
    return TrialTask(
        trial_id=f"t{number:04d}",
        config=TrialConfig(epochs=3).with_values(values).to_dict(),
        seed=number,
        data_folder="",
        checkpoint_folder=str(folder / f"t{number:04d}"),
    )


def _driver(setting: Setting) -> Figure:
    memory = recorded_search(setting).driver_rss_mb
    return Figure(
        number=12,
        name="growth of the driver per trial, MB",
        ratio=slope(memory),
        parts=(
            Value("trials", len(memory)),
            Value("memory at half time", memory[len(memory) // 2], "MB"),
            Value("at the end", memory[-1], "MB"),
        ),
        target=Target("<=", LIMIT_MB),
    )
