"""A worker that has run hundreds of trials holds no more than one that has run a few."""

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from benchmarks.inputs import random_trial_data
from trainable.config import TrialConfig
from trainable.frozen.backbone import load_backbone
from trainable.ray_trial import TailTrainable
from trainable.trial import TrialTask

N_TRIALS, N_WARM = 200, 20
MOST_MB = 20.0


@pytest.mark.slow
def test_memory_handles_and_threads_of_a_worker_stay_as_they_are_over_200_trials(tmp_path):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:  # other tests' threads may end meanwhile
        held = process.submit(held_over_trials, tmp_path).result()
    handles, threads, memory_mb = zip(*held[N_WARM:], strict=True)
    assert (set(handles), set(threads)) == ({handles[0]}, {threads[0]})
    assert memory_mb[-1] - memory_mb[0] < MOST_MB


def held_over_trials(folder: Path) -> list[tuple[int, int, float]]:
    """After each trial of one worker: see `held_now`."""
    backbone = load_backbone("tiny")
    with random_trial_data(backbone, tap=backbone.architecture.n_blocks - 1, n=40) as data:
        data.save(folder / "data")
        actor = TailTrainable(config={"task": task(0, folder)})
        held = []
        for number in range(N_TRIALS):
            if number:
                actor.reset_config({"task": task(number, folder)})
            assert actor.step()["step"].failure is None
            held.append(held_now())
        actor.stop()
    return held


def task(number: int, folder: Path) -> TrialTask:
    """One epoch of three, so that each trial ends by being closed; every kind in turn."""
    values = {"adapter.kind": ("full", "lora", "dora")[number % 3], "tail.n_blocks": 1, "optim.lr": 1e-5}
    return TrialTask(
        trial_id=f"t{number:04d}",
        config=TrialConfig(epochs=3).with_values(values).to_dict(),
        seed=number,
        data_folder=str(folder / "data"),
        checkpoint_folder=str(folder / f"t{number:04d}"),
    )


def held_now() -> tuple[int, int, float]:
    """File handles, Python threads, resident megabytes."""
    process = psutil.Process()
    return process.num_fds(), threading.active_count(), process.memory_info().rss / 1e6
