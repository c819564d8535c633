"""The Ray Tune class trainable around `Trial`: the only file here that imports ray."""

from typing import Any

from ray import tune as ray_tune

from trainable.trial import StepResult, Trial, TrialTask


class TailTrainable(ray_tune.Trainable):
    """One actor runs many trials in turn; imports, features and frozen weights stay warm between them.

    Checkpoints are the trial's own, in the study folder: Ray's state is disposable, so it saves nothing here.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """config: {"task": TrialTask}."""
        task: TrialTask = config["task"]
        before: Trial | None = getattr(self, "_trial", None)
        is_same_data = before is not None and before.task.data_folder == task.data_folder
        self._trial = Trial(task, before.data if before is not None and is_same_data else None)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next trial in this actor."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch; the whole result travels as one `StepResult`."""
        result: StepResult = self._trial.step()
        return {"step": result}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to add: the trial has written its own checkpoint."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing to take: the trial finds its own checkpoint."""
