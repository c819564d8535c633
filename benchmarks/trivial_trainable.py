"""A trainable whose epochs cost nothing and report as many metrics as real ones: what is left is the system's own."""

from typing import Any

import ray
from ray import tune as ray_tune

from trainable.trial import StepResult, TrialTask

METRICS = [
    *(f"score/{part}" for part in ("all", "id", "ood")),
    *(
        f"{kind}_{part}/SPEI_{length}"
        for kind in ("crps", "r2", "mae", "sigma")
        for part in ("id", "ood")
        for length in ("30d", "1y", "2y")
    ),
    *(f"train/{name}" for name in ("loss", "lr", "epoch")),
    "time/epoch_seconds",
    "time/train_images_per_second",
]
"""The names that one epoch of a real trial reports."""


class TrivialTrainable(ray_tune.Trainable):
    """Takes and gives what `TailTrainable` does; imports no torch."""

    def setup(self, config: dict[str, Any]) -> None:
        """config: {"task": TrialTask}."""
        self._task: TrialTask = config["task"]
        self._epoch = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Scores that differ from trial to trial and fall over the epochs, so that rungs have something to decide."""
        self._epoch += 1
        number = int(self._task.trial_id.removeprefix("t"))
        score = 1.0 + (number * 0.618) % 1 / self._epoch
        metrics = dict.fromkeys(METRICS, score)
        result = StepResult(trial_id=self._task.trial_id, epoch=self._epoch, metrics=metrics)
        return {"step": result, "node_id": ray.get_runtime_context().get_node_id()}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing."""

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing."""
