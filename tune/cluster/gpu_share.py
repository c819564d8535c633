"""How many trials share a GPU: the largest configuration is trained by 1, 2 and 4 workers side by side, for seconds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainable.config import TrialConfig
from trainable.counts import counted
from trainable.data.task import Task
from trainable.plain_values import JsonObject
from trainable.shown import size_text
from trainable.training.folds_trainer import make_trainer
from tune.measuring.memory import device_memory, peak_bytes
from tune.measuring.step_probe import few_rows

COUNTS = (1, 2, 4)
MEASURED_SECONDS = 4.0
"""Of each count; with the workers' start some 20 seconds in all."""

WORTH_IT = 1.1
"""More trials side by side each take longer, so that fewer have ended when the next is proposed: they must bring more
than this factor in throughput."""

MEMORY_MARGIN = 0.6
"""Of a GPU's memory that trials may fill: they keep their features in another third of it at most (`resident_feed`),
and the few specimens measured here take next to none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """n trials at once on one GPU: specimens a second of all together; the most memory that one of them took.

    specimens_per_second: 0 when they did not fit.
    """

    n: int
    specimens_per_second: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What was chosen, and why, in one line."""

    gpus_per_trial: float
    reason: str


def choose_share(measured: Sequence[SideBySide], *, gpu_bytes: float) -> Share:
    """The most trials a GPU that fit its memory and pay, going up from one."""
    ranked = sorted(measured, key=lambda m: m.n)
    best = ranked[0]
    why_not = ""
    for more in ranked[1:]:
        if not more.specimens_per_second or more.n * more.peak_bytes > MEMORY_MARGIN * gpu_bytes:
            why_not = f"; {more.n} would not fit its memory"
            break
        if more.specimens_per_second >= WORTH_IT * best.specimens_per_second:
            best = more
    if not best.specimens_per_second:
        return Share(
            gpus_per_trial=1.0,
            reason=f"1 trial a GPU: the largest configuration does not fit its {size_text(gpu_bytes)}",
        )
    speeds = ", ".join(f"{m.n}: {m.specimens_per_second:.0f}" for m in ranked if m.specimens_per_second)
    taken = f"{size_text(best.n * best.peak_bytes)} of {size_text(gpu_bytes)}"
    trials = counted(best.n, "trial")
    return Share(
        gpus_per_trial=1.0 / best.n,
        reason=f"{trials} a GPU: specimens/s of the largest configuration with so many side by side: {speeds}; "
        f"memory {taken}{why_not}",
    )


def measure_shares(
    store: Path,
    config: Mapping[str, object],
    *,
    task: Task,
    n_trainings: int,
    cpus_per_trial: float,
    device: str = "cuda",
    precision: str = "auto",
    counts: Sequence[int] = COUNTS,
) -> tuple[list[SideBySide], int]:
    """Measure on one GPU of the cluster that was joined, and its memory in bytes.

    task: the study's. n_trainings: of one trial, side by side.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    most = max(counts)
    group = placement_group([{"CPU": cpus_per_trial * most, "GPU": 1.0}])
    try:
        ray.get(group.ready())
        on_group = PlacementGroupSchedulingStrategy(placement_group=group)
        worker = ray.remote(num_cpus=cpus_per_trial, num_gpus=1.0 / most, scheduling_strategy=on_group)(_Stepper)
        workers = [worker.remote() for _ in range(most)]
        given = (str(store), dict(config), task, device, max(1, int(cpus_per_trial)), precision, n_trainings)
        found: list[SideBySide] = []
        gpu_bytes = 0
        for n in counts:
            room = ray.get([w.begin.remote(*given) for w in workers[:n]])
            gpu_bytes = max(gpu_bytes, *room)
            results = ray.get([w.run.remote(MEASURED_SECONDS) for w in workers[:n]]) if all(room) else [(0.0, 0)]
            total = sum(speed for speed, _ in results) if all(speed for speed, _ in results) else 0.0
            found.append(SideBySide(n=n, specimens_per_second=total, peak_bytes=max(peak for _, peak in results)))
            if not total:
                break
        return found, int(gpu_bytes)
    finally:
        remove_placement_group(group)  # its workers end with it


class _Stepper:
    """A worker that trains one configuration for some seconds at a time."""

    def __init__(self) -> None:
        self._trainer: Any = None  # what trains, once there is one
        self._device = "cpu"

    def begin(
        self, store: str, config: JsonObject, task: Task, device: str, n_threads: int, precision: str, n_trainings: int
    ) -> int:
        """Build the trainer and take its first step; the device's memory in bytes, 0 when it ran out."""
        import torch

        if self._trainer is not None:
            return device_memory(device)
        if device == "cpu":
            torch.set_num_threads(n_threads)
        found = replace(TrialConfig.from_dict(config), epochs=1_000_000, length=1.0)
        try:
            n_copies = found.augment.n_copies
            data = few_rows(Path(store), found.optim.batch_size, task, n_trainings=n_trainings, n_copies=n_copies)
            trainer = make_trainer(found, data, seed=0, device=device, precision=precision)
            trainer.train_epoch()
        except (torch.OutOfMemoryError, MemoryError):
            return 0
        self._trainer, self._device = trainer, device
        return device_memory(device)

    def run(self, seconds: float) -> tuple[float, int]:
        """Specimens a second over so long, and the most memory held; 0 specimens when it ran out."""
        import torch

        started, before = time.monotonic(), self._trainer.epoch
        try:
            while time.monotonic() < started + seconds:
                self._trainer.train_epoch()
        except (torch.OutOfMemoryError, MemoryError):
            return 0.0, peak_bytes(self._device)
        n_steps = self._trainer.epoch - before
        n_specimens = n_steps * sum(len(split.train) for split in self._trainer.data.splits)
        return n_specimens / (time.monotonic() - started), peak_bytes(self._device)
