"""One trial on a real, small feature store: killed, resumed, damaged, failing, one epoch a step."""

import io
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainable.config import TrialConfig
from trainable.data.splits import Split
from trainable.frozen.backbone import load_backbone
from trainable.frozen.extract import extract
from trainable.training.trial_data import TrialData
from trainable.trial import StepResult, Trial, TrialTask

N = 48
EPOCHS = 4
ROOT = Path(__file__).parents[2]


class DrawnImages:
    """Encoded images in memory, without two alike."""

    def __len__(self) -> int:
        return N

    def read(self, indices: Sequence[int]) -> list[bytes]:
        return [self._draw(i) for i in indices]

    @staticmethod
    def _draw(row: int) -> bytes:
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    """`TrialData` of 24 events in three domains, saved as a driver saves it."""
    folder = tmp_path_factory.mktemp("data")
    store = extract(
        load_backbone("tiny"), DrawnImages(), data_fingerprint="d" * 64, taps=(5,), cache_dir=folder, n_processes=0
    )
    events = np.arange(N) // 2
    data = TrialData(
        store=store,
        labels=np.random.default_rng(0).uniform(-2, 2, (N // 2, 3))[events].astype(np.float32),
        domain_ids=events % 3,
        event_ids=events,
        site_ids=np.array([f"SITE{e % 6}" for e in events]),
        species=np.array(["Carabus goryi"] * N),
        split=Split(
            policy="both",
            fold=0,
            train=np.flatnonzero((events % 3 < 2) & (events % 6 < 3)),
            id_=np.flatnonzero((events % 3 < 2) & (events % 6 >= 3)),
            ood=np.flatnonzero(events % 3 == 2),
            held_out_sites=(),
            held_out_domains=(2,),
            n_leaked_events=0,
        ),
    )
    data.save(folder)
    return folder


@pytest.fixture
def task(data_folder: Path, tmp_path: Path) -> TrialTask:
    """Dropout and every augmentation on, so that a lost random stream would show."""
    config = TrialConfig(epochs=EPOCHS).with_values(
        {
            "tail.n_blocks": 1,
            "adapter.kind": "lora",
            "adapter.rank": 4,
            "adapter.dropout": 0.1,
            "tail.head_dropout": 0.2,
            "augment.feature_noise": 0.1,
            "augment.mixup_alpha": 0.3,
            "augment.domain_dropout": 0.3,
            "optim.batch_size": 8,
        }
    )
    return TrialTask(
        trial_id="t0003",
        config=config.to_dict(),
        seed=1,
        data_folder=str(data_folder),
        checkpoint_folder=str(tmp_path / "checkpoints"),
    )


def run(task: TrialTask, n_steps: int) -> list[StepResult]:
    """So many epochs and an orderly end; the file of the first epoch's state is taken to have cost an hour."""
    trial = Trial(task)
    steps = [trial.step()]
    if trial.trainer is not None:
        trial._pace._seconds = 3600.0
    steps += [trial.step() for _ in range(n_steps - 1)]
    assert trial.close() is None
    return steps


def learned(steps: Sequence[StepResult]) -> list[dict[str, float]]:
    """Metrics without the clock's."""
    return [{name: value for name, value in step.metrics.items() if not name.startswith("time/")} for step in steps]


@pytest.fixture
def uninterrupted(task: TrialTask, tmp_path: Path) -> list[dict[str, float]]:
    return learned(run(replace(task, checkpoint_folder=str(tmp_path / "whole")), EPOCHS))


def test_each_step_is_an_epoch_with_metrics_and_the_first_one_writes_a_checkpoint(task):
    steps = run(task, 2)

    assert [(step.trial_id, step.epoch, step.failure, step.notes) for step in steps] == [
        ("t0003", 1, None, ()),
        ("t0003", 2, None, ()),
    ]
    assert all({"score/all", "score/id", "score/ood", "train/loss"} <= step.metrics.keys() for step in steps)
    first = str(Path(task.checkpoint_folder) / "epoch-000001.safetensors")
    assert [step.checkpoint for step in steps] == [first, None]


def test_a_checkpoint_that_costs_more_than_its_share_waits_until_the_trial_ends_or_is_closed(task):
    trial = Trial(task)
    trial.step()
    trial._pace._seconds = 3600.0
    written = [trial.step().checkpoint for _ in range(EPOCHS - 2)]
    assert (written, names(task)) == ([None] * (EPOCHS - 2), ["epoch-000001.safetensors"])

    assert trial.close() is None
    assert names(task) == ["epoch-000001.safetensors", "epoch-000003.safetensors"]
    last = Path(task.checkpoint_folder) / "epoch-000004.safetensors"
    assert trial.step().checkpoint == str(last)  # the configuration's last epoch, whatever it costs
    at = last.stat().st_mtime_ns
    assert trial.close() is None
    assert last.stat().st_mtime_ns == at


@pytest.mark.seconds
def test_a_disk_that_takes_nothing_at_the_end_is_told_as_a_failure(task):
    trial = Trial(task)
    trial.step()
    trial._pace._seconds = 3600.0
    trial.step()
    shutil.rmtree(task.checkpoint_folder)
    Path(task.checkpoint_folder).write_text("in the way")
    failed = trial.close()

    assert (failed.trial_id, failed.epoch, failed.failure.kind) == ("t0003", 2, "disk")


def names(task: TrialTask) -> list[str]:
    return sorted(file.name for file in Path(task.checkpoint_folder).iterdir())


def test_a_trial_goes_on_from_its_checkpoint_and_ends_as_one_that_was_never_stopped(task, uninterrupted):
    first = run(task, 2)
    second = run(replace(task, reported_epochs=2), 2)

    assert [step.epoch for step in second] == [3, 4]
    assert learned([*first, *second]) == uninterrupted


def test_an_epoch_that_was_saved_but_never_reported_is_reported_without_training(task, uninterrupted):
    run(task, 3)
    checkpoint = Path(task.checkpoint_folder) / "epoch-000003.safetensors"
    written = checkpoint.stat().st_mtime_ns
    steps = run(replace(task, reported_epochs=1), 3)

    assert [step.epoch for step in steps] == [2, 3, 4]
    assert [step.checkpoint is None for step in steps] == [True, True, False]  # the last epoch's own
    assert checkpoint.stat().st_mtime_ns == written
    assert learned(steps) == uninterrupted[1:]


@pytest.mark.seconds
@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_checkpoint_is_passed_over_and_said_so_and_the_result_is_the_same(task, uninterrupted, damage):
    run(task, 3)
    newest = Path(task.checkpoint_folder) / "epoch-000003.safetensors"
    content = newest.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    newest.write_bytes({"truncated": content[:half], "changed": flipped, "empty": b""}[damage])
    steps = run(replace(task, reported_epochs=3), 1)

    assert [step.epoch for step in steps] == [4]
    assert learned(steps) == uninterrupted[3:]
    said = steps[0].notes
    assert any("epoch-000003.safetensors" in note and "damaged" in note for note in said)
    assert any("2 epochs" in note and "again" in note for note in said)


def test_without_any_checkpoint_reported_epochs_are_trained_again_to_the_same_end(task, uninterrupted):
    run(task, 3)
    shutil.rmtree(task.checkpoint_folder)
    steps = run(replace(task, reported_epochs=3), 1)

    assert learned(steps) == uninterrupted[3:]
    assert any("3 epochs" in note for note in steps[0].notes)


@pytest.mark.slow
def test_a_process_killed_between_two_checkpoints_loses_no_result(task, uninterrupted):
    code = f"""
        import os, signal
        from trainable.trial import Trial, TrialTask
        trial = Trial(TrialTask(**{ {name: getattr(task, name) for name in task.__slots__} }))
        trial.step()
        trial._pace._seconds = 3600.0
        trial.step(), trial.step()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, timeout=120)
    assert ended.returncode == -signal.SIGKILL

    assert names(task) == ["epoch-000001.safetensors"]
    assert learned(run(replace(task, reported_epochs=3), 1)) == uninterrupted[3:]


@pytest.mark.seconds
def test_a_bug_becomes_a_failure_with_the_end_of_its_traceback(task):
    data = TrialData.load(Path(task.data_folder))
    beyond = replace(data.split, train=np.array([0, 1, N]))  # what no check foresees
    failure = Trial(task, replace(data, split=beyond)).step().failure

    assert failure.kind == "error"
    assert failure.type == "IndexError"
    assert failure.message in failure.traceback_tail
    assert 3 <= len(failure.traceback_tail.splitlines()) <= 12
    assert failure.node


@pytest.mark.seconds
def test_missing_data_is_a_failure_that_names_the_file(task, tmp_path):
    step = Trial(replace(task, data_folder=str(tmp_path / "gone"), reported_epochs=2)).step()

    assert step.epoch == 3
    assert str(tmp_path / "gone" / "data.npz") in step.failure.message


@pytest.mark.seconds
def test_a_diverging_trial_fails_as_diverged_with_a_reason(task):
    values = {"adapter.kind": "full", "optim.lr": 1.0, "optim.head_multiplier": 10.0, "optim.schedule": "constant"}
    config = TrialConfig.from_dict(task.config).with_values({**values, "adapter.dropout": 0.0, "optim.batch_size": 1})
    failure = Trial(replace(task, config=config.to_dict())).step().failure

    assert failure.kind == "diverged"
    assert failure.type == "TrialDiverged"
    assert "epoch 1" in failure.message


class FullStore:
    """A feature store whose machine has no memory left for a batch."""

    def __init__(self, store, error: Exception) -> None:
        self._store, self._error = store, error

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def mapped(self, tap: int) -> None:  # noqa: ARG002
        raise self._error


@pytest.mark.seconds
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("unable to mmap 4832904 bytes from file <tail.safetensors>: Cannot allocate memory (12)"),
    ],
)
def test_lack_of_memory_is_told_from_a_bug(task, error):
    data = TrialData.load(Path(task.data_folder))
    failure = Trial(task, replace(data, store=FullStore(data.store, error))).step().failure

    assert failure.kind == "memory"


def test_a_trial_in_two_parts_a_batch_goes_on_from_the_checkpoint_of_the_whole_batch(task):
    run(task, 2)
    config = TrialConfig.from_dict(task.config).with_values({"optim.accumulation_steps": 2})
    step = Trial(replace(task, config=config.to_dict(), reported_epochs=2)).step()

    assert (step.failure, step.epoch) == (None, 3)


@pytest.mark.seconds
def test_another_trials_checkpoint_is_refused(task):
    run(task, 1)
    config = TrialConfig.from_dict(task.config).with_values({"optim.lr": 0.002})
    step = Trial(replace(task, config=config.to_dict())).step()

    assert step.failure.type == "UserError"
    assert step.failure.message.startswith("the checkpoint's `config.optim.lr` must be 0.002, but is 0.0003;")
