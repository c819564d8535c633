"""Figure 8: seconds from a slot being free to the first training step of the next trial in it.

On Ray: from the end of a trial's last epoch in its worker, over the driver's decision, journal and proposal, to the
next trial's first step. In process: the same without Ray and driver, closing one trial and building the next. A trial
that is the first of its process has no turnaround; one that is the first to need peft there has.
"""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.noted_steps import noted_steps
from benchmarks.recorded_search import recorded_search
from benchmarks.recorder import turnarounds
from benchmarks.setting import Setting
from trainable.config import TrialConfig
from trainable.trial import Trial, TrialTask

LIMIT_SECONDS = 0.3


def measure(setting: Setting) -> list[Figure]:
    """On Ray for the first backbone, in process for all."""
    return [_on_ray(setting), *(_in_process(name, setting) for name in setting.backbones)]


def _on_ray(setting: Setting) -> Figure:
    found = turnarounds(recorded_search(setting).processes)
    seconds = sorted(seconds for _, seconds in found)
    building = statistics.median(step.first_step - step.began for step, _ in found if step.first_step is not None)
    return Figure(
        number=8,
        name=f"turnaround on Ray, {setting.backbones[0]}, s",
        ratio=statistics.median(seconds),
        parts=(
            Value("of it building the trial", building, "s"),
            Value("90 % within", seconds[int(0.9 * (len(seconds) - 1))], "s"),
            Value("longest", seconds[-1], "s"),
            Value("trials", len(seconds)),
        ),
        target=Target("<=", LIMIT_SECONDS),
    )


def _in_process(name: str, setting: Setting) -> Figure:
    """One kind after the other, so that none is built from what the one before left."""
    backbone = random_backbone(name, "cpu")
    kinds = ("full", "lora", "dora")
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    with (
        random_trial_data(backbone, tap=backbone.architecture.n_blocks - 2, n=setting.sized(256, 64)) as data,
        tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder,
    ):
        before: Trial | None = None
        for i in range(-1, setting.rounds):
            for kind in kinds:
                trial = Trial(_task(kind, Path(folder) / f"{kind}{i}"), data)
                seconds = _seconds_to_first_step(before, trial)
                if i >= 0:
                    found[kind].append(seconds)
                before = trial
    medians = {kind: statistics.median(seconds) for kind, seconds in found.items()}
    return Figure(
        number=8,
        name=f"turnaround in process, {name}, s",
        ratio=max(medians.values()),
        parts=tuple(Value(kind, seconds, "s") for kind, seconds in medians.items()),
        target=Target("<=", LIMIT_SECONDS),
    )


def _task(kind: str, folder: Path) -> TrialTask:
    values = {"adapter.kind": kind, "tail.n_blocks": 2, "optim.lr": 1e-5}
    return TrialTask(
        trial_id=folder.name,
        config=TrialConfig(epochs=5).with_values(values).to_dict(),
        seed=0,
        data_folder="",
        checkpoint_folder=str(folder),
    )


def _seconds_to_first_step(before: Trial | None, trial: Trial) -> float:
    """From closing the trial before, which has a checkpoint of an earlier epoch, to this one's first training step."""
    if before is not None:
        before.step()
    with noted_steps() as times:
        started = time.monotonic()
        if before is not None:
            before.close()
        result = trial.step()
    if result.failure is not None:
        raise RuntimeError(result.failure.message)
    return times[0] - started
