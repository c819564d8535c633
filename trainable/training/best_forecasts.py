"""What a trial forecast for the held-out events with the weights of its best epoch, from its checkpoint."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.scoring.folds_scorer import FoldsScorer
from trainable.scoring.scoring import EventForecast
from trainable.storage.place import Place
from trainable.training.checkpoint import load_latest
from trainable.training.folds_trainer import make_trainer
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

FIRST_ROWS = 64
"""Held-out specimens that are predicted first, to learn how long all of them take."""


@dataclass(frozen=True)
class BestForecasts:
    """epoch: the trial's best one. forecasts: part ("id", "ood") -> its events.

    damaged: newer checkpoints that were passed over, each with the reason.
    """

    epoch: int
    forecasts: dict[str, EventForecast]
    damaged: tuple[str, ...]


def best_forecasts(
    data_folder: Place, checkpoint_folder: Place, *, device: str = "cpu", max_seconds: float
) -> BestForecasts:
    """Load the newest whole checkpoint, predict the held-out specimens with its best weights, calibrate.

    Predicted in float32 whatever the trial was trained in, so that a machine without its processor can.
    Raises: UserError when data, features or checkpoint are not reachable, or when predicting would take longer than
    `max_seconds`.
    """
    state, damaged = load_latest(checkpoint_folder)
    if state is None:
        found = "; ".join(damaged) or "holds none"
        raise UserError(f"{checkpoint_folder} must hold a whole checkpoint, but {found}")
    values = state["values"]
    if not values["best_epoch"]:
        raise UserError(f"the checkpoint in {checkpoint_folder} must hold a scored epoch, but has none")
    data = TrialData.load(data_folder)
    config = TrialConfig.from_dict(values["config"])
    trainer = make_trainer(config, data, seed=values["seed"], device=device, precision="float32")
    trainer.load_state_dict(state | {"values": _in_float32(values)})
    trainer.load_best()
    predictions = [_predict(fold, max_seconds=max_seconds / len(trainer.trainers)) for fold in trainer.trainers]
    forecasts = FoldsScorer([fold.scorer for fold in trainer.trainers]).forecasts(predictions)
    return BestForecasts(epoch=values["best_epoch"], forecasts=forecasts, damaged=tuple(damaged))


def _in_float32(values: JsonObject) -> JsonObject:
    """A checkpoint's values as of a trial that was trained in float32."""
    folds = {"folds": [_in_float32(of_fold) for of_fold in values["folds"]]} if "folds" in values else {}
    return values | {"precision": "float32"} | folds


def _predict(trainer: TailTrainer, *, max_seconds: float) -> Float[NDArray[np.float32], "held_out outputs"]:
    rows = np.concatenate([trainer.data.split.id_, trainer.data.split.ood])
    started = time.perf_counter()
    first = trainer.predict(rows[:FIRST_ROWS])
    expected = (time.perf_counter() - started) * len(rows) / len(first)
    if expected > max_seconds:
        raise UserError(
            f"predicting the held-out specimens must take {max_seconds:.0f} s at most, "
            f"but {len(rows)} of them would take {expected:.0f} s here"
        )
    return np.concatenate([first, trainer.predict(rows[FIRST_ROWS:])])
