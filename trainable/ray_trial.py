"""The Ray Tune class trainable around `Trial`: the only file here that imports ray."""

import os
from threading import Thread
from typing import TypedDict

import ray
from ray import tune as ray_tune

from trainable.trial import StepResult, Trial, TrialTask


class Travelling(TypedDict):
    """What goes to the driver: the whole result, and the ID of the node that it comes from."""

    step: StepResult
    node_id: str


class TailTrainable(ray_tune.Trainable):
    """One actor runs many trials in turn; imports, features and frozen weights stay warm between them.

    Checkpoints are the trial's own, in the study folder: Ray's state is disposable, so it saves nothing here.
    """

    def setup(self, config: dict[str, TrialTask]) -> None:
        """config: {"task": TrialTask}."""
        if config["task"].device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # on a machine with GPUs they are others' to use
        self._trial = Trial(config["task"])
        self._importing: Thread | None = None
        self._unwritten: StepResult | None = None

    def reset_config(self, new_config: dict[str, TrialTask]) -> bool:
        """Take up the next trial in this actor; the one before has ended."""
        task, before = new_config["task"], self._trial
        self._unwritten = self._unwritten or before.close()
        self._trial = Trial(task, before.data if before.task.data_folder == task.data_folder else None)
        return True

    def step(self) -> Travelling:
        """One epoch; the whole result travels as one `StepResult`, and beside it the ID of the node.

        When the disk did not take what the trial before left, that comes first: the study is to stop.
        """
        if self._unwritten is not None:
            unwritten, self._unwritten = self._unwritten, None
            return _travelling(unwritten)
        if self._importing is not None and self._trial.needs_adapters:
            self._importing.join()
        result = self._trial.step()
        if self._importing is None and self._trial.task.adapters_may_follow:
            self._importing = Thread(target=_import_adapters, name="imports", daemon=True)
            self._importing.start()
        return _travelling(result)

    def cleanup(self) -> None:
        """The actor ends: an interrupted trial is to go on from its last epoch.

        Nobody hears of a disk that takes nothing any more; the epochs since the last checkpoint are trained again.
        """
        self._trial.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to add: the trial has written its own checkpoint."""

    def load_checkpoint(self, checkpoint: dict[str, object] | None) -> None:
        """Nothing to take: the trial finds its own checkpoint."""


def _travelling(result: StepResult) -> Travelling:
    return {"step": result, "node_id": ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""}


def _import_adapters() -> None:
    """peft takes seconds to import, which a trial that needs it would wait for.

    Begun after an epoch, when the training itself imports nothing any more: two threads that import the same packages
    in another order wait for each other.
    """
    import trainable.tail.adapters
    import trainable.tail.dora
    import trainable.tail.folding  # noqa: F401
