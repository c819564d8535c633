"""A trainable that writes down when each epoch of each trial began and ended, and what its process held then."""

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainable.ray_trial import TailTrainable


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One epoch in one process. began, first_step, ended: monotonic seconds of the machine; first_step is that of the
    first training step, None where none was trained. rss_mb, threads, handles: of the process at the end.
    """

    pid: int
    trial: str
    adapter: str
    epoch: int
    began: float
    first_step: float | None
    ended: float
    rss_mb: float
    threads: int
    handles: int


class RecordingTrainable(TailTrainable):
    """As users' trials run, with a line a step in `steps-PID.jsonl` beside the trials' checkpoint folders."""

    def setup(self, config: dict[str, Any]) -> None:
        """config: {"task": TrialTask}."""
        from benchmarks.noted_steps import noted_steps

        super().setup(config)
        self._noting = noted_steps()
        self._times = self._noting.__enter__()

    def cleanup(self) -> None:
        """The actor ends."""
        super().cleanup()
        self._noting.__exit__(None, None, None)

    def step(self) -> dict[str, Any]:
        """One epoch, written down."""
        self._times.clear()
        began = time.monotonic()
        found = super().step()
        result, task = found["step"], self._trial.task
        write_step(
            Path(task.checkpoint_folder).parent,
            Step(
                pid=os.getpid(),
                trial=result.trial_id,
                adapter=task.config["adapter"]["kind"],
                epoch=result.epoch,
                began=began,
                first_step=self._times[0] if self._times else None,
                ended=time.monotonic(),
                rss_mb=rss_mb(),
                threads=threading.active_count(),
                handles=n_handles(),
            ),
        )
        return found


def write_step(folder: Path, step: Step) -> None:
    """Append a step to its process's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"steps-{step.pid}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(step)) + "\n")


def read_steps(folder: Path) -> list[list[Step]]:
    """The steps of each process, in order."""
    files = sorted(folder.glob("steps-*.jsonl"))
    return [[Step(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]


def turnarounds(processes: Iterable[list[Step]]) -> list[tuple[Step, float]]:
    """Each trial's first step in a process that ran another before, and the seconds since that one's last epoch."""
    return [
        (step, step.first_step - before.ended)
        for steps in processes
        for before, step in pairwise(steps)
        if step.trial != before.trial and step.first_step is not None
    ]


def rss_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def n_handles() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))
