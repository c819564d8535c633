"""The ensemble: the mean of what the confirmed configurations predict, each counted alike, without those that err far
more than the best, and of floors, as far as these forecast about as well.

Which ones err far more, the folds say; of those that forecast a fold's events, only the *other* folds say it, and none
of their events that are held out of this one, too. Where they hold out no others, those of other domains say it, for
each domain anew. So no event's own forecast chooses who forecasts it, and the ensemble's score is as honest as that of
a configuration. Chosen weights (Caruana 2004) do as well, no better: benchmarks/ENSEMBLE.md.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from trainable.scoring.scoring import EventForecast, root_mean_square
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import ENSEMBLE
from tune.confirming.predicted import Predicted, Predictions

MOST_ERROR = 1.2
"""Of a member, times that of the best. A search's best are nearly always nearer than that; a tighter bound leaves out
more of them, and proves less (benchmarks/ENSEMBLE.md).
"""

EVIDENCE = 20
"""How many independent errors shares are weighed by. Half or twice as many do as well: benchmarks/ENSEMBLE.md."""

LEAST_SHARE, MOST_SHARES = 0.01, 0.5
"""Smaller ones change no forecast that anyone could tell, and are left out. Together floors have half at most, which
gains as much, and harms less where few events say that a floor errs little.
"""

FEWEST_MEMBERS = 2
"""However much the second errs: what a mean of one is, its configuration is already."""

FEWEST_EVENTS = 10
"""By fewer no share is weighed."""


def ensemble_name(members: Sequence[Predicted]) -> str:
    """ "ensemble", unless a configuration is called so."""
    name = ENSEMBLE
    while name in {member.name for member in members}:
        name += "-of-all"
    return name


def ensemble_predictions(
    members: Sequence[Predicted], held_out: HeldOutFolds, *, with_floors: bool, evidence: float = EVIDENCE
) -> dict[int, list[Predictions]]:
    """Fold -> one array a seed: the mean of those that the other folds found near the best, each at the epoch they did,
    and of floors by the shares that these folds give them; evidence: as `floor_shares` takes it.
    """
    found: dict[int, list[Predictions]] = {}
    for fold in held_out.scorers:
        of_fold: list[Predictions] = []
        for rows, apart in _chosen_apart(members[0], held_out, fold):
            near = near_best(members, held_out, without=fold, apart=apart)
            of_each = [member.of(fold, member.epoch(without=fold)) for member in near]
            means = [np.mean(np.asarray(of_seed, dtype=np.float64), axis=0) for of_seed in zip(*of_each, strict=True)]
            shares = floor_shares(near, held_out, without=fold, apart=apart, evidence=evidence) if with_floors else {}
            mixtures = [mixed(mean, shares, held_out, fold) for mean in means]
            of_fold = of_fold or [np.empty_like(mixture) for mixture in mixtures]
            for of_seed, mixture in zip(of_fold, mixtures, strict=True):
                of_seed[rows] = mixture[rows]
        found[fold] = of_fold
    return found


def _chosen_apart(
    like: Predicted, held_out: HeldOutFolds, fold: int
) -> Iterator[tuple[NDArray[np.bool_], set[int | str]]]:
    """Rows of a fold's held-out specimens that are forecast by the same choice, and the events that have no part in it.

    All of them, and all events of the fold, where the other folds hold out others; else domain by domain.
    """
    events, own = held_out.scorers[fold].event_ids, _events(like, held_out, fold)
    elsewhere = [_events(like, held_out, other) for other in held_out.scorers if other != fold]
    if set().union(*elsewhere) - own or not elsewhere:
        yield np.ones(len(events), dtype=np.bool_), own
        return
    groups = held_out.groups(fold)
    for group in np.unique(groups):
        rows = groups == group
        yield rows, set(events[rows].tolist())


def mixed(mean: Predictions, shares: Mapping[str, float], held_out: HeldOutFolds, fold: int) -> Predictions:
    """A fold's predictions: of known domains a mean of trained configurations and, by their shares, of floors.

    Of an unknown domain floors know next to nothing: there the configurations alone forecast.
    """
    if not shares:
        return mean
    of_floors = sum(share * held_out.group_floors[fold][name] for name, share in shares.items())
    return np.where(held_out.is_known[fold][:, None], (1 - sum(shares.values())) * mean + of_floors, mean)


def floor_shares(
    near: Sequence[Predicted],
    held_out: HeldOutFolds,
    *,
    without: int | None = None,
    apart: Set[int | str] | None = None,
    evidence: float = EVIDENCE,
) -> dict[str, float]:
    """Floor -> its share of forecasts of known domains, by how much it errs there as `error_without` counts it.

    Errors to the power of `-evidence`, as a likelihood weighs them: beside a model that sees much a floor has no share,
    beside one that sees next to nothing they have half. None by fewer than `FEWEST_EVENTS` of known domains.
    """
    if _n_events(near[0], held_out, without, apart) < FEWEST_EVENTS:
        return {}
    errors = {"": error_without(without, [(m, 1 / len(near)) for m in near], held_out, apart=apart, part="id")}
    for name in next(iter(held_out.group_floors.values())):
        floor = [(_floor(name, near[0], held_out), 1.0)]
        errors[name] = error_without(without, floor, held_out, apart=apart, part="id")
    if not all(map(math.isfinite, errors.values())):
        return {}
    least = max(min(errors.values()), sys.float_info.min)  # some may err nowhere
    weights = {name: (least / max(error, least)) ** evidence for name, error in errors.items()}
    of_floors = sum(weight for name, weight in weights.items() if name)
    of_all = min(of_floors / (weights[""] + of_floors), MOST_SHARES)
    shares = {name: of_all * weight / of_floors for name, weight in weights.items() if name and of_floors}
    return {name: share for name, share in shares.items() if share >= LEAST_SHARE}


def _n_events(member: Predicted, held_out: HeldOutFolds, without: int | None, apart: Set[int | str] | None) -> int:
    """How many events of known domains the folds but one hold out, those apart left out."""
    of_others = [_events(member, held_out, fold, part="id") for fold in held_out.scorers if fold != without]
    return len(set().union(*of_others) - _apart(member, held_out, without, apart))


def _apart(
    member: Predicted, held_out: HeldOutFolds, without: int | None, apart: Set[int | str] | None
) -> Set[int | str]:
    """Events that do not count; unless given, those of the fold that does not."""
    if apart is not None:
        return apart
    return set() if without is None else _events(member, held_out, without)


def _floor(name: str, like: Predicted, held_out: HeldOutFolds) -> Predicted:
    """A floor as if it had been trained, for one epoch with as many seeds as others."""
    n_seeds = {fold: len(like.of(fold, like.epoch())) for fold in held_out.scorers}
    return Predicted(
        name=name,
        curves={fold: np.zeros(1) for fold in held_out.scorers},
        read=lambda fold, _: [held_out.group_floors[fold][name]] * n_seeds[fold],
    )


def near_best(
    members: Sequence[Predicted],
    held_out: HeldOutFolds,
    *,
    without: int | None = None,
    apart: Set[int | str] | None = None,
) -> list[Predicted]:
    """Two at least, in the order given: those that err at most `MOST_ERROR` times as much as the best, as
    `error_without` counts it.

    All of them where nothing is left to choose by.
    """
    errors = [error_without(without, [(member, 1.0)], held_out, apart=apart) for member in members]
    if not all(map(math.isfinite, errors)):
        return list(members)
    ranked = sorted(range(len(members)), key=lambda i: (errors[i], i))
    most = MOST_ERROR * errors[ranked[0]]
    near = [i for place, i in enumerate(ranked) if place < FEWEST_MEMBERS or errors[i] <= most]
    return [members[i] for i in sorted(near)]


def error_without(
    fold: int | None,
    shares: Sequence[tuple[Predicted, float]],
    held_out: HeldOutFolds,
    *,
    apart: Set[int | str] | None = None,
    part: str | None = None,
) -> float:
    """How much a mean of configurations errs on all folds but one, on none of that one's events, or of those `apart`.

    shares: each with its weight. What a score is proportional to where each sigma is the best one: the root mean square
    of each target's root mean squared errors; of classes, of the mean loss. part: the only one that counts, if any. NaN
    without an event.
    """
    left_out = list(_apart(shares[0][0], held_out, fold, apart))
    found: dict[str, list[EventForecast]] = {}
    for other in held_out.scorers:
        if other != fold:
            of_each = [[np.float64(weight) * p for p in m.of(other, m.epoch(without=fold))] for m, weight in shares]
            for predictions in np.sum(of_each, axis=0):
                for name, of in held_out.forecasts(other, predictions).items():
                    if part in (None, name):
                        found.setdefault(name, []).append(of.of(~np.isin(of.event_ids, left_out)))
    errors = [_error(parts) / held_out.targets.floor for parts in found.values() if any(len(p.labels) for p in parts)]
    return float(root_mean_square(np.concatenate(errors))) if errors else math.nan


def _events(member: Predicted, held_out: HeldOutFolds, fold: int, *, part: str | None = None) -> set[int | str]:
    """Ids of the events that a fold is scored on; part: of the only one that counts, if any."""
    parts = held_out.forecasts(fold, member.of(fold, member.epoch(without=fold))[0])
    return {event for name, of in parts.items() if part in (None, name) for event in of.event_ids.tolist()}


def _error(parts: Sequence[EventForecast]) -> NDArray[np.float64]:
    labels, mu, losses = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "mu", "crps"))
    return parts[0].targets.rule.error(labels, mu, losses)
