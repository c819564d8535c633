"""The Ray Tune shell around a trial, without Ray's processes."""

from dataclasses import replace

import pytest

from trainable.config import TrialConfig
from trainable.ray_trial import TailTrainable
from trainable.trial import TrialTask
from tune.cli import main

DEMO = "demo:120"


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


def test_data_that_a_node_cannot_see_is_the_trials_failure_and_not_a_dead_worker(task, tmp_path):
    actor = TailTrainable(config={"task": replace(task, data_folder=str(tmp_path / "elsewhere"))})
    failure = actor.step()["step"].failure

    assert failure["kind"] == "error"
    assert str(tmp_path / "elsewhere") in failure["message"]
