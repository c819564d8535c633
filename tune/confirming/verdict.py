"""From a confirmation's runs to its verdict: out-of-fold forecasts, paired differences, words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import Difference, OutOfFold, paired_difference
from trainable.scoring.scoring import EventForecast, HeldOutScorer
from trainable.storage.place import Place
from trainable.training.held_out_predictions import load_predictions, predictions_name
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import DEFAULT, Confirmed, ConfirmedConfiguration
from tune.confirming.runs import Configuration, Confirmation, Plan, Run, complete_cells
from tune.printed.next_command import next_command

SCORE_TOLERANCE = 1e-6
"""In the unit of a score: one from the same predictions differs by rounding alone, also on another processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """confirmed: the result. forecasts: candidate's name -> what it rests on."""

    confirmed: Confirmed
    forecasts: dict[str, OutOfFold]


def judge(folder: Place, confirmation: Confirmation, *, search_fold: int | None, header: JsonObject) -> Judged:
    """Compare the plan's configurations on the folds and seeds that all of them have come to the end of.

    search_fold: the one that the search scored its trials on, None if none was. header: the study's.
    Raises: ValueError while there is no such fold; UserError when predictions are missing or not those of the run.
    """
    plan = confirmation.plan
    assert plan is not None
    runs = confirmation.runs()
    failed = tuple(dict.fromkeys(run.name for run in runs if run.record.state == "failed"))
    folds, seeds = complete_cells(runs, plan, without=failed)
    if not folds or len(failed) == len(plan.configurations):
        raise ValueError("no fold has a whole run of every configuration")
    held_out = HeldOutFolds.load(folder, folds)
    measured = [
        _measured(folder, held_out, configuration, runs, plan=plan, seeds=seeds)
        for configuration in plan.configurations
        if configuration.name not in failed
    ]
    level = 1 - (1 - LEVEL) / max(1, len(measured) - 1)
    candidates = _compared([m[0] for m in measured], {m[0].name: m[1] for m in measured}, level)
    winner, is_win, words = _decide(candidates, failed)
    confirmed = Confirmed(
        holdout=header["options"]["holdout"],
        folds=tuple(folds),
        seeds=tuple(seeds),
        scored_by_search=tuple(fold for fold in folds if fold == search_fold),
        epochs=plan.epochs,
        level=level,
        interval_level=LEVEL,
        data_fingerprint=header["data_fingerprint"],
        backbone_fingerprint=header["backbone_fingerprint"],
        candidates=tuple(candidates),
        failed=failed,
        winner=winner,
        is_win=is_win,
        leader=winner if is_win else candidates[0].name,
        verdict=words,
        fresh_only=True,
        n_left_out=held_out.n_left_out,
        n_seen=held_out.n_seen,
    )
    return Judged(confirmed=confirmed, forecasts={candidate.name: oof for candidate, oof in measured})


def _measured(
    folder: Place,
    held_out: HeldOutFolds,
    configuration: Configuration,
    runs: Sequence[Run],
    *,
    plan: Plan,
    seeds: Sequence[int],
) -> tuple[ConfirmedConfiguration, OutOfFold]:
    """One configuration, each fold at the epoch that the other folds found best, so that no fold chooses its own."""
    own = {(run.fold, run.seed): run for run in runs if run.name == configuration.name}
    curves = {
        fold: np.mean([_curve(own[fold, seed], plan.epochs) for seed in seeds], axis=0) for fold in held_out.scorers
    }
    gathered: dict[int, list[dict[str, EventForecast]]] = {}
    maes: list[dict[str, float]] = []
    scores: dict[int, float] = {}
    for fold, scorer in held_out.scorers.items():
        others = [curve for other, curve in curves.items() if other != fold]
        epoch = best_epoch(others) if others else plan.epochs
        predictions = [_predictions(folder, own[fold, seed], epoch, scorer) for seed in seeds]
        metrics = [scorer.score(p) for p in predictions]
        gathered[fold] = [held_out.forecasts(fold, p) for p in predictions]
        maes += [{name: value for name, value in m.items() if name.startswith("mae_")} for m in metrics]
        scores[fold] = float(np.mean([m["score/all"] for m in metrics]))
    forecasts = OutOfFold.gather(gathered, held_out.domain_of_site)
    maes_mean = {name: float(np.mean([m[name] for m in maes if name in m])) for m in maes for name in m}
    candidate = ConfirmedConfiguration(
        name=configuration.name,
        trial_id=configuration.trial_id,
        config=configuration.config,
        epoch=best_epoch(list(curves.values())),
        metrics=forecasts.metrics() | maes_mean,
        intervals=forecasts.intervals(),
        difference=None,
        fold_scores=scores,
    )
    return candidate, forecasts


def _predictions(study: Place, run: Run, epoch: int, scorer: HeldOutScorer) -> NDArray[np.float32]:
    """Raises: UserError unless they are there and score what was reported while the run was trained."""
    folder = study / "checkpoints" / run.record.trial_id
    remedy = f"delete it, then `{next_command('confirm', study)}` trains that run anew"
    predictions = load_predictions(folder, epoch, remedy=remedy)
    reported, found = run.record.scores[epoch], scorer.score(predictions)["score/all"]
    if not abs(found - reported) <= SCORE_TOLERANCE:
        raise UserError(
            f"{folder / predictions_name(epoch)} must score {reported:.6f}, as the study's journal says, but scores "
            f"{found:.6f}; {remedy}"
        )
    return predictions


def best_epoch(curves: Sequence[Sequence[float]]) -> int:
    """The epoch (from 1) with the lowest mean over curves of scores by epoch."""
    return int(np.argmin(np.mean(curves, axis=0))) + 1


def _curve(run: Run, n_epochs: int) -> list[float]:
    return [run.record.scores[epoch] for epoch in range(1, n_epochs + 1)]


def _compared(
    candidates: Sequence[ConfirmedConfiguration], forecasts: Mapping[str, OutOfFold], level: float
) -> list[ConfirmedConfiguration]:
    """Best first, each with its difference to the default where that one came to its end."""
    default = forecasts.get(DEFAULT)
    compared = [
        candidate
        if default is None or candidate.name == DEFAULT
        else replace(
            candidate,
            difference=paired_difference(forecasts[candidate.name], default, level=level),
        )
        for candidate in candidates
    ]
    return sorted(compared, key=lambda candidate: candidate.metrics["score/all"])


def _decide(candidates: Sequence[ConfirmedConfiguration], failed: Sequence[str]) -> tuple[str, bool, str]:
    """The winner's name, whether it beats the default beyond noise, and the verdict in words."""
    best = candidates[0]
    if DEFAULT in failed:
        return best.name, False, f"the default failed, so nothing is compared: {best.name} has the best mean score"
    winners = [c for c in candidates if c.difference is not None and c.difference.is_win]
    if winners:
        winner = winners[0]
        assert winner.difference is not None
        return winner.name, True, f"{winner.name} beats default by {shown_gain(winner.difference)}"
    rivals = [c for c in candidates if c.difference is not None]
    if not rivals:
        return DEFAULT, False, "no candidate came to its end: keep the default"
    return DEFAULT, False, f"no candidate beats the default beyond noise: keep the default; {_lead(best, rivals[0])}"


def _lead(best: ConfirmedConfiguration, rival: ConfirmedConfiguration) -> str:
    """Who has the best mean, where nothing is proven; rival: the best that is not the default."""
    assert rival.difference is not None
    gain, p_better = shown_gain(rival.difference), rival.difference.p_better
    assert p_better is not None  # it was compared just now
    if best.name == DEFAULT:
        return f"it has the best mean, too, and the next, {rival.name}, gains {gain}"
    return f"{rival.name} is leading, not proven: it gains {gain}, and is better with probability {p_better:.0%}"


def shown_gain(difference: Difference) -> str:
    """ "0.011 [0.004, 0.018]": how much lower the score is, so that more is better."""
    digits = 3 if abs(difference.mean) >= 0.001 else 5
    return f"{-difference.mean:.{digits}f} [{-difference.high:.{digits}f}, {-difference.low:.{digits}f}]"
