"""What a configuration's runs of a confirmation predicted, epoch by epoch, and how that scores at chosen epochs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainable.errors import UserError
from trainable.scoring.out_of_fold import OutOfFold
from trainable.scoring.scoring import HeldOutScorer
from trainable.storage.place import Place
from trainable.training.held_out_predictions import load_predictions, predictions_name
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.runs import Run
from tune.printed.next_command import next_command

SCORE_TOLERANCE = 1e-6
"""In the unit of a score: one from the same predictions differs by rounding alone, also on another processor."""

Predictions = NDArray[np.float32] | NDArray[np.float64]
"""[held-out specimens, targets]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Predicted:
    """What one configuration predicted on the folds that are compared.

    curves: fold -> scores by epoch, the mean over seeds. read: (fold, epoch) -> predictions, one array a seed.
    """

    name: str
    curves: Mapping[int, NDArray[np.float64]]
    read: Callable[[int, int], Sequence[Predictions]]
    _known: dict[tuple[int, int], Sequence[Predictions]] = field(default_factory=dict, init=False)

    @property
    def n_epochs(self) -> int:
        """The full length."""
        return len(next(iter(self.curves.values())))

    def epoch(self, *, without: int | None = None) -> int:
        """The best one of all folds but one; the last where no fold is left."""
        curves = [curve for fold, curve in self.curves.items() if fold != without]
        return best_epoch(curves) if curves else self.n_epochs

    def of(self, fold: int, epoch: int) -> Sequence[Predictions]:
        """What was predicted for a fold's held-out specimens at an epoch, one array a seed.

        Raises: what `read` raises.
        """
        if (fold, epoch) not in self._known:
            self._known[fold, epoch] = self.read(fold, epoch)
        return self._known[fold, epoch]


def predicted_by(
    runs: Sequence[Run], name: str, study: Place, held_out: HeldOutFolds, seeds: Sequence[int], *, local: bool
) -> Predicted:
    """A configuration's runs on the folds of `held_out`, all of which came to their end.

    study: its folder. local: whether it does without Ray. `read` raises UserError unless predictions are there and
    score what was reported.
    """
    own = {(run.fold, run.seed): run for run in runs if run.name == name}
    curves = {fold: np.mean([_curve(own[fold, seed]) for seed in seeds], axis=0) for fold in held_out.scorers}
    remedy = f"delete it, then `{next_command('confirm', study, local=local)}` trains that run anew"

    def read(fold: int, epoch: int) -> list[NDArray[np.float32]]:
        return [_read(study, own[fold, seed], epoch, held_out.scorers[fold], remedy=remedy) for seed in seeds]

    return Predicted(name=name, curves=curves, read=read)


def _curve(run: Run) -> list[float]:
    scores = run.record.scores
    return [scores[epoch] for epoch in sorted(scores)]


def _read(study: Place, run: Run, epoch: int, scorer: HeldOutScorer, *, remedy: str) -> NDArray[np.float32]:
    folder = study / "checkpoints" / run.record.trial_id
    predictions = load_predictions(folder, epoch, remedy=remedy)
    reported, found = run.record.scores[epoch], scorer.score(predictions)["score/all"]
    if not abs(found - reported) <= SCORE_TOLERANCE:
        raise UserError(
            f"{folder / predictions_name(epoch)} must score {reported:.6f}, as the study's journal says, but scores "
            f"{found:.6f}; {remedy}"
        )
    return predictions


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored:
    """metrics: pooled over folds, the mean over seeds. fold_scores: fold -> `score/all` of all its held-out events."""

    forecasts: OutOfFold
    metrics: dict[str, float]
    fold_scores: dict[int, float]


def scored(held_out: HeldOutFolds, predictions: Mapping[int, Sequence[Predictions]]) -> Scored:
    """predictions: fold -> one array a seed."""
    metrics = {fold: [held_out.scorers[fold].score(p) for p in seeds] for fold, seeds in predictions.items()}
    forecasts = OutOfFold.gather(
        {fold: [held_out.forecasts(fold, p) for p in seeds] for fold, seeds in predictions.items()},
        held_out.domain_of_site,
    )
    return Scored(
        forecasts=forecasts,
        metrics=forecasts.metrics() | _mean_errors(m for seeds in metrics.values() for m in seeds),
        fold_scores={fold: float(np.mean([m["score/all"] for m in seeds])) for fold, seeds in metrics.items()},
    )


def best_epoch(curves: ArrayLike) -> int:
    """The epoch (from 1) with the lowest mean over curves [curves, epochs] of scores."""
    return int(np.argmin(np.asarray(curves, dtype=np.float64).mean(axis=0))) + 1


def _mean_errors(metrics: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The means of what is measured a specimen, of the runs that have it."""
    found: dict[str, list[float]] = {}
    for of_run in metrics:
        for name, value in of_run.items():
            if name.startswith("mae_"):
                found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}
