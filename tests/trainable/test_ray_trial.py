"""The Ray Tune shell around a trial, without Ray's processes."""

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from trainable.config import TrialConfig
from trainable.ray_trial import TailTrainable
from trainable.training.checkpoint import load_latest
from trainable.trial import TrialTask
from tune.cli import main

DEMO = "demo:120"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def task(demo_cache, tmp_path_factory) -> TrialTask:
    """A trial on the data of a training of the small demo."""
    folder = tmp_path_factory.mktemp("training")
    words = ["--data", DEMO, "--cache", demo_cache, "--workers", 1, "--epochs", 1, "--out", folder]
    assert main(["train", *map(str, words)]) == 0
    config = TrialConfig(epochs=2).with_values({"tail.n_blocks": 1, "adapter.kind": "full"})
    return TrialTask(
        trial_id="t0000",
        config=config.to_dict(),
        seed=0,
        data_folder=str(folder / "data"),
        checkpoint_folder=str(folder / "t0000"),
    )


@pytest.mark.seconds
def test_an_actor_runs_one_trial_after_another_on_the_data_that_it_has(task, tmp_path):
    actor = TailTrainable(config={"task": task})
    first = actor.step()["step"]
    data = actor._trial.data
    assert actor.reset_config({"task": replace(task, trial_id="t0001", checkpoint_folder=str(tmp_path / "t0001"))})
    second = actor.step()["step"]

    assert (first.trial_id, first.epoch, first.failure) == ("t0000", 1, None)
    assert (second.trial_id, second.epoch, second.failure) == ("t0001", 1, None)
    assert second.metrics["score/all"] == first.metrics["score/all"]
    assert actor._trial.data is data


def test_a_trial_leaves_its_last_state_when_its_actor_takes_up_another_or_ends(task, tmp_path):
    def left(folder: str) -> int:
        state, _ = load_latest(Path(folder))
        return state["values"]["epoch"]

    first = replace(task, config={**task.config, "epochs": 9}, checkpoint_folder=str(tmp_path / "first"))
    second = replace(first, checkpoint_folder=str(tmp_path / "second"))
    actor = TailTrainable(config={"task": first})
    train_without_checkpoints(actor, 3)
    actor.reset_config({"task": second})
    train_without_checkpoints(actor, 2)
    actor.stop()

    assert (left(first.checkpoint_folder), left(second.checkpoint_folder)) == (3, 2)


@pytest.mark.seconds
def test_a_disk_that_does_not_take_what_a_trial_leaves_is_told_before_the_next_one_begins(task, tmp_path):
    first = replace(task, config={**task.config, "epochs": 9}, checkpoint_folder=str(tmp_path / "first"))
    actor = TailTrainable(config={"task": first})
    train_without_checkpoints(actor, 2)
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "first").write_text("in the way")
    actor.reset_config({"task": replace(first, trial_id="t0001", checkpoint_folder=str(tmp_path / "second"))})
    told, following = actor.step()["step"], actor.step()["step"]

    assert (told.trial_id, told.epoch, told.failure.kind) == ("t0000", 2, "disk")
    assert (following.trial_id, following.epoch, following.failure) == ("t0001", 1, None)


def train_without_checkpoints(actor: TailTrainable, n_epochs: int) -> None:
    """But for the first epoch's, which is taken to have cost an hour."""
    actor.step()
    actor._trial._pace._seconds = 3600.0
    for _ in range(n_epochs - 1):
        actor.step()


@pytest.mark.slow
@pytest.mark.parametrize("may_follow", [True, False])
def test_adapters_are_imported_beside_a_trial_that_has_none_only_if_one_may_follow(task, may_follow):
    """In a fresh process: this one has imported them long ago."""
    values = {name: getattr(task, name) for name in task.__slots__} | {"adapters_may_follow": may_follow}
    code = f"""
        import sys
        from trainable.ray_trial import TailTrainable
        from trainable.trial import TrialTask
        actor_task = TrialTask(**{values})
        actor = TailTrainable(config={{"task": actor_task}})
        assert actor.step()["step"].failure is None
        if actor._importing is not None:
            actor._importing.join()
        print("peft" in sys.modules)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, timeout=120)
    assert ended.stdout.split()[-1:] == [str(may_follow).encode()], ended.stderr


@pytest.mark.seconds
def test_data_that_a_node_cannot_see_are_a_result_of_their_own_kind_and_not_a_dead_worker(task, tmp_path):
    actor = TailTrainable(config={"task": replace(task, data_folder=str(tmp_path / "elsewhere"))})
    failure = actor.step()["step"].failure

    assert failure.kind == "data"
    assert str(tmp_path / "elsewhere") in failure.message
