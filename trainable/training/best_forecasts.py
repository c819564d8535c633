"""What a trial forecast for the held-out events with the weights of its best epoch, from its checkpoint."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.scoring.scoring import EventForecast, HeldOutScorer
from trainable.storage.place import Place
from trainable.training.checkpoint import load_latest
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
    trainer = TailTrainer(config, data, seed=values["seed"], device=device, precision="float32")
    trainer.load_state_dict(state | {"values": values | {"precision": "float32"}})
    trainer.load_best()
    predictions = _predict(trainer, np.concatenate([data.split.id_, data.split.ood]), max_seconds=max_seconds)
    scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split, targets=data.targets)
    return BestForecasts(epoch=values["best_epoch"], forecasts=scorer.forecasts(predictions), damaged=tuple(damaged))


def _predict(
    trainer: TailTrainer, rows: Int64[NDArray[np.int64], " held_out"], *, max_seconds: float
) -> Float[NDArray[np.float32], "held_out outputs"]:
    started = time.perf_counter()
    first = trainer.predict(rows[:FIRST_ROWS])
    expected = (time.perf_counter() - started) * len(rows) / len(first)
    if expected > max_seconds:
        raise UserError(
            f"predicting the held-out specimens must take {max_seconds:.0f} s at most, "
            f"but {len(rows)} of them would take {expected:.0f} s here"
        )
    return np.concatenate([first, trainer.predict(rows[FIRST_ROWS:])])
