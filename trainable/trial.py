"""One trial on one worker, whoever executes it: build or continue, one epoch a step, checkpoint, report."""

import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainable.config import TrialConfig
from trainable.counts import counted
from trainable.errors import UserError
from trainable.failure import DataNotRead, Failure
from trainable.freed_memory import give_back_freed_memory
from trainable.plain_values import JsonObject
from trainable.storage.place import place_of

if TYPE_CHECKING:
    from trainable.training.folds_trainer import FoldsTrainer
    from trainable.training.trainer import TailTrainer
    from trainable.training.trial_data import TrialData


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """What a worker needs to run a trial: plain values, cheap to send.

    config: nested values of a `TrialConfig`. data_folder: where `TrialData` was saved. checkpoint_folder: this trial's
    own; both are paths or URIs. reported_epochs: epochs whose results the study already has. device: "cpu" or "cuda".
    gpu_share: the part of a CUDA device that is this trial's, others having the rest. precision: "auto", "float32" or
    "bfloat16". n_threads: CPU threads of this trial. keep_predictions: write those for the held-out specimens beside
    the checkpoints, every epoch's. adapters_may_follow: a later trial of the same search may train adapters, whatever
    this one does.
    """

    trial_id: str
    config: JsonObject
    seed: int
    data_folder: str
    checkpoint_folder: str
    reported_epochs: int = 0
    device: str = "cpu"
    gpu_share: float = 1.0
    precision: str = "auto"
    n_threads: int = 1
    keep_predictions: bool = False
    adapters_may_follow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step brought: an epoch's metrics, or the failure that ended the trial.

    notes: things the user should know, such as a damaged checkpoint that was passed over.
    """

    trial_id: str
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    failure: Failure | None = None
    notes: tuple[str, ...] = ()


class Trial:
    """Runs a `TrialTask` step by step; `close` when it is not to go on here.

    Checkpoints are written when `CheckpointPace` says so, after the configuration's last epoch, and by `close`. A
    process that is killed loses the epochs since the last one, not their results: they are trained again to the same.
    A failure is returned as a result, so that an executor only ever sees worker deaths.
    """

    def __init__(self, task: TrialTask, data: "TrialData | None" = None) -> None:
        """data: an already loaded `TrialData`, or None to load it from the task's folder at the first step."""
        self.task = task
        self.data = data
        self._trainer: TailTrainer | FoldsTrainer | None = None
        self._n_reported = task.reported_epochs
        self._notes: tuple[str, ...] = ()
        self._pace: Any = None
        self._saved_epoch = 0

    @property
    def trainer(self) -> "TailTrainer | FoldsTrainer | None":
        """What trains, as the last step left it; None before the first one, and after a failure."""
        return self._trainer

    @property
    def needs_adapters(self) -> bool:
        """Whether its first step imports peft."""
        return bool(self.task.config["adapter"]["kind"] != "full" and self.task.config["tail"]["n_blocks"])

    def step(self) -> StepResult:
        """Train one epoch, write a checkpoint if it is time, return the metrics.

        Epochs that a checkpoint holds but the study never heard of (the worker died between the two) are reported
        again, untrained; those that the study heard of but no checkpoint holds are trained again, unreported.
        """
        try:
            return self._next_epoch(self._trainer or self._start())
        except Exception as error:
            failure = Failure.of(error)
        return self._failed(failure, epoch=self._n_reported + 1)

    def close(self) -> StepResult | None:
        """Write the state of the last epoch if no checkpoint holds it; returns the failure when that cannot be done.

        A trial that was interrupted goes on from there; of one that has ended, the best epoch's weights are kept.
        """
        if self._trainer is None or self._saved_epoch == self._trainer.epoch:
            return None
        try:
            self._save(self._trainer)
            return None
        except Exception as error:
            failure = Failure.of(error)
        return self._failed(failure, epoch=self._n_reported)

    def _failed(self, failure: Failure, *, epoch: int) -> StepResult:
        self._trainer = None
        gc.collect()  # what ran out of memory must not be held, by a cycle, while the next trial begins
        give_back_freed_memory()  # nor by the allocator, for what does not ask it: files to be mapped, other processes
        return StepResult(trial_id=self.task.trial_id, epoch=epoch, failure=failure, notes=self._take_notes())

    def _start(self) -> "TailTrainer | FoldsTrainer":
        import torch

        from trainable.training.checkpoint import CheckpointPace, load_latest, make_checkpoint_folder
        from trainable.training.folds_trainer import make_trainer
        from trainable.training.trial_data import TrialData

        if self.task.device == "cpu":
            torch.set_num_threads(self.task.n_threads)
        if self.data is None:
            try:
                self.data = TrialData.load(place_of(self.task.data_folder), copy_features=True)
            except UserError as error:
                raise DataNotRead(str(error)) from error
        task = self.task
        trainer = make_trainer(
            TrialConfig.from_dict(task.config),
            self.data,
            seed=task.seed,
            device=task.device,
            precision=task.precision,
            gpu_share=task.gpu_share,
        )
        state, skipped = load_latest(place_of(self.task.checkpoint_folder))
        self._notes = tuple(f"{self.task.trial_id}: passed over a damaged checkpoint: {reason}" for reason in skipped)
        if state is not None:
            trainer.load_state_dict(state)
        make_checkpoint_folder(place_of(self.task.checkpoint_folder))
        self._pace, self._saved_epoch = CheckpointPace(), trainer.epoch
        if trainer.epoch < self._n_reported:
            n_lost = self._n_reported - trainer.epoch
            self._notes += (
                f"{self.task.trial_id}: the last whole checkpoint is that of epoch {trainer.epoch}; "
                f"{counted(n_lost, 'epoch')} to be trained again",
            )
        self._trainer = trainer
        return trainer

    def _next_epoch(self, trainer: "TailTrainer | FoldsTrainer") -> StepResult:
        from trainable.training.held_out_predictions import save_predictions  # loads torch and numpy

        folder, checkpoint = place_of(self.task.checkpoint_folder), None
        while trainer.epoch <= self._n_reported:  # more than once where no checkpoint holds what was reported
            trainer.train_epoch()
            if self.task.keep_predictions:  # before the checkpoint: an epoch that need not be trained again has them
                assert trainer.held_out_predictions is not None  # an epoch was trained
                save_predictions(folder, trainer.epoch, trainer.held_out_predictions)
            is_last = trainer.epoch == trainer.config.n_epochs
            checkpoint = self._save(trainer) if is_last or self._pace.is_due() else None
        metrics = trainer.history[self._n_reported]
        self._n_reported += 1
        return StepResult(
            trial_id=self.task.trial_id,
            epoch=self._n_reported,
            metrics=metrics,
            checkpoint=checkpoint,
            notes=self._take_notes(),
        )

    def _save(self, trainer: "TailTrainer | FoldsTrainer") -> str:
        from trainable.training.checkpoint import save_checkpoint  # loads torch

        with self._pace.writing():
            file = save_checkpoint(place_of(self.task.checkpoint_folder), trainer.state_dict(copy=False))
        self._saved_epoch = trainer.epoch
        return str(file)

    def _take_notes(self) -> tuple[str, ...]:
        notes, self._notes = self._notes, ()
        return notes
