"""FoldsTrainer: one configuration trained once a fold, side by side, and scored on the held-out events of all folds.

For `--train-each-fold`, and for studies of before: a search trains a trial once without what any fold holds out.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.scoring.folds_scorer import FoldsScorer
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData


class FoldsTrainer:
    """A `TailTrainer` a fold, each with the folds' own training specimens; an epoch is one of each.

    config: of all. epoch, history, best_epoch: as of `TailTrainer`, the best epoch being the one at which the events of
    all folds together are scored lowest, so that each fold keeps its weights of that epoch. trainers: in the order of
    the data's folds.
    """

    held_out_predictions: NDArray[np.float32] | None = None
    """Kept of one fold alone; see `TailTrainer`."""

    def __init__(self, data: TrialData, trainers: Sequence[TailTrainer]) -> None:
        """data: with several splits. trainers: one for each, alike but for it; see `make_trainer`."""
        self.config, self.data = trainers[0].config, data
        self.trainers = tuple(trainers)
        self._scorer = FoldsScorer([trainer.scorer for trainer in self.trainers])
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0

    @property
    def n_trainable(self) -> int:
        """Numbers that train, of one fold: as many as the model that a retraining makes has."""
        return self.trainers[0].n_trainable

    @property
    def best_score(self) -> float:
        """The lowest `score/all` so far; infinite before there is one."""
        return self.history[self.best_epoch - 1]["score/all"] if self.best_epoch else math.inf

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch on each fold, predict what each holds out, return the metrics of all of it.

        Raises: TrialDiverged when it did on any fold; ValueError when all epochs of the configuration are done.
        """
        of_folds = [trainer.run_epoch() for trainer in self.trainers]
        self.epoch += 1
        metrics = self._scorer.score(self._predictions()) | self._training(of_folds)
        self.history.append(metrics)
        if metrics["score/all"] < self.best_score:
            self.best_epoch = self.epoch
            for trainer in self.trainers:
                trainer.keep_as_best()
        return metrics

    def load_best(self) -> None:
        """Put the best epoch's weights into the tail of each fold.

        Raises: ValueError before the first scored epoch.
        """
        for trainer in self.trainers:
            trainer.load_best()

    def state_dict(self, *, copy: bool = True) -> dict[str, Any]:
        """As of `TailTrainer`, the tensors of each fold under its own name."""
        states = [trainer.state_dict(copy=copy) for trainer in self.trainers]
        return {
            "tensors": {
                f"{_prefix(i)}{name}": tensor
                for i, state in enumerate(states)
                for name, tensor in state["tensors"].items()
            },
            "values": {
                "config": states[0]["values"]["config"],
                "seed": states[0]["values"]["seed"],
                "folds": [state["values"] for state in states],
                "epoch": self.epoch,
                "best_epoch": self.best_epoch,
                "history": [dict(metrics) for metrics in self.history],
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was called.

        Raises: UserError when the state is that of another configuration, seed, precision, data, backbone or folds.
        """
        values, tensors = state["values"], state["tensors"]
        of_folds = values.get("folds", [values])
        if len(of_folds) != len(self.trainers):
            raise UserError(f"`folds` of a checkpoint must be {len(self.trainers)}, but it holds {len(of_folds)}")
        for i, (trainer, own) in enumerate(zip(self.trainers, of_folds, strict=True)):
            prefix = _prefix(i)
            found = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            trainer.load_state_dict({"tensors": found, "values": own})
        self.epoch, self.best_epoch = values["epoch"], values["best_epoch"]
        self.history = [dict(metrics) for metrics in values["history"]]

    def _predictions(self) -> list[NDArray[np.float32]]:
        found = [trainer.held_out_predictions for trainer in self.trainers]
        return [predictions for predictions in found if predictions is not None]

    def _training(self, of_folds: list[dict[str, float]]) -> dict[str, float]:
        """What is said of the training itself: losses over all specimens, times in all."""
        sizes = np.array([len(trainer.data.split.train) for trainer in self.trainers], dtype=np.float64)
        losses = np.array([metrics["train/loss"] for metrics in of_folds])
        seconds = sizes / np.array([metrics["time/train_images_per_second"] for metrics in of_folds])
        return {
            "train/loss": float(sizes @ losses / sizes.sum()),
            "train/lr": of_folds[0]["train/lr"],
            "train/epoch": float(self.epoch),
            "time/epoch_seconds": math.fsum(metrics["time/epoch_seconds"] for metrics in of_folds),
            "time/train_images_per_second": float(sizes.sum() / seconds.sum()),
        }


def make_trainer(
    config: TrialConfig,
    data: TrialData,
    *,
    seed: int,
    device: str = "cpu",
    precision: str = "auto",
    gpu_share: float = 1.0,
) -> TailTrainer | FoldsTrainer:
    """What trains a trial on its data, of one fold or of several; the rest as `TailTrainer` takes it.

    Raises: UserError as `TailTrainer`.
    """
    trainers = [
        TailTrainer(config, fold, seed=seed, device=device, precision=precision, gpu_share=gpu_share)
        for fold in data.folds
    ]
    return FoldsTrainer(data, trainers) if len(trainers) > 1 else trainers[0]


def _prefix(number: int) -> str:
    return f"fold{number}/"
