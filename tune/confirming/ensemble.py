"""The ensemble: the mean of what the better half of the confirmed configurations predict, each counted alike.

Which half that is, the folds say; what a fold's events are forecast by, only the *other* folds do, and none of their
events that are held out of this one, too. So nothing about an event chooses its own forecast, and the ensemble's score
is as honest as that of a configuration. Chosen weights (Caruana 2004) do as well, no better: benchmarks/ENSEMBLE.md.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainable.scoring.scoring import EventForecast, root_mean_square
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import ENSEMBLE
from tune.confirming.predicted import Predicted, Predictions


def ensemble_name(members: Sequence[Predicted]) -> str:
    """ "ensemble", unless a configuration is called so."""
    name = ENSEMBLE
    while name in {member.name for member in members}:
        name += "-of-all"
    return name


def ensemble_predictions(members: Sequence[Predicted], held_out: HeldOutFolds) -> dict[int, list[Predictions]]:
    """Fold -> one array a seed: the mean of the half that the other folds found better, each at the epoch they did."""
    found: dict[int, list[Predictions]] = {}
    for fold in held_out.scorers:
        half = better_half(members, held_out, without=fold)
        of_each = [member.of(fold, member.epoch(without=fold)) for member in half]
        found[fold] = [np.mean(np.asarray(of_seed, dtype=np.float64), axis=0) for of_seed in zip(*of_each, strict=True)]
    return found


def better_half(members: Sequence[Predicted], held_out: HeldOutFolds, *, without: int | None = None) -> list[Predicted]:
    """Two at least, in the order given: those that err least on the folds but one, and on none of that one's events.

    All of them where nothing is left to choose by.
    """
    errors = [error_without(without, [(member, 1.0)], held_out) for member in members]
    if not all(map(math.isfinite, errors)):
        return list(members)
    n = max(2, math.ceil(len(members) / 2))
    best = sorted(range(len(members)), key=lambda i: (errors[i], i))[:n]
    return [members[i] for i in sorted(best)]


def error_without(fold: int | None, shares: Sequence[tuple[Predicted, float]], held_out: HeldOutFolds) -> float:
    """How much a mean of configurations errs on all folds but one, none of that one's events counted.

    shares: each with its weight. What a score is proportional to where each sigma is the best one: the root mean square
    of each target's root mean squared errors; of classes, of the mean loss. NaN without an event.
    """
    apart = np.empty(0) if fold is None else _events(shares[0][0], held_out, fold)
    found: dict[str, list[EventForecast]] = {}
    for other in held_out.scorers:
        if other != fold:
            of_each = [[np.float64(weight) * p for p in m.of(other, m.epoch(without=fold))] for m, weight in shares]
            for predictions in np.sum(of_each, axis=0):
                for name, part in held_out.forecasts(other, predictions).items():
                    found.setdefault(name, []).append(part.of(~np.isin(part.event_ids, apart)))
    errors = [_error(parts) / held_out.targets.floor for parts in found.values() if any(len(p.labels) for p in parts)]
    return float(root_mean_square(np.concatenate(errors))) if errors else math.nan


def _events(member: Predicted, held_out: HeldOutFolds, fold: int) -> NDArray[np.generic]:
    """Ids of the events that a fold is scored on."""
    predictions = member.of(fold, member.epoch(without=fold))[0]
    return np.concatenate([part.event_ids for part in held_out.forecasts(fold, predictions).values()])


def _error(parts: Sequence[EventForecast]) -> NDArray[np.float64]:
    labels, mu, losses = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "mu", "crps"))
    return parts[0].targets.rule.error(labels, mu, losses)
