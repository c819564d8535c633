"""From a confirmation's runs to its verdict: out-of-fold forecasts, paired differences, words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search_spaces.space import DEFAULT
from trainable.plain_values import JsonObject
from trainable.scoring.best_floor import not_better_words
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import OutOfFold, paired_difference
from trainable.storage.place import Place
from tune.confirming.ensemble import ensemble_name, ensemble_predictions, floor_shares, near_best
from tune.confirming.floors import floors_on
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import TRIED_AGAIN, Confirmed, ConfirmedConfiguration, asked_first
from tune.confirming.planned_runs import Configuration
from tune.confirming.predicted import Predicted, predicted_by, scored
from tune.confirming.runs import Confirmation, complete_cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """confirmed: the result. forecasts: candidate's name -> what it rests on."""

    confirmed: Confirmed
    forecasts: dict[str, OutOfFold]


def judge(
    folder: Place, confirmation: Confirmation, *, search_fold: int | None, header: JsonObject, local: bool = False
) -> Judged:
    """Compare the plan's configurations on the folds and seeds that all of them have come to the end of.

    search_fold: the one that the search scored its trials on, None if none was. header: the study's. local: whether
    it does without Ray, for the command that mends it.
    Raises: ValueError while there is no such fold; UserError when predictions are missing or not those of the run.
    """
    plan = confirmation.plan
    assert plan is not None
    runs = confirmation.runs()
    failed = tuple(dict.fromkeys(run.name for run in runs if run.has_failed))
    diverged = tuple(dict.fromkeys(run.name for run in runs if run.has_diverged))
    folds, seeds = complete_cells(runs, plan, without=failed)
    if not folds or len(failed) == len(plan.configurations):
        raise ValueError("no fold has a whole run of every configuration")
    held_out = HeldOutFolds.load(folder, folds)
    configurations = [c for c in plan.configurations if c.name not in failed]
    trained = [predicted_by(runs, c.name, folder, held_out, seeds, local=local) for c in configurations]
    measured = [_measured(*of, held_out) for of in zip(configurations, trained, strict=True)]
    if plan.with_ensemble and len(trained) > 1 and len(folds) > 1:
        measured.append(_ensemble(trained, held_out, with_floors=plan.with_floors))
    level = 1 - (1 - LEVEL) / max(1, len(measured) - 1)
    candidates = _compared(measured, level)
    winner, is_win, words = decide(candidates, failed, diverged)
    leader, floors = winner if is_win else candidates[0].name, floors_on(held_out)
    decided = {c.name: c.metrics["score/all"] for c in candidates if c.name in (leader, winner)}
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
        diverged=diverged,
        winner=winner,
        is_win=is_win,
        leader=leader,
        verdict="; ".join(filter(None, (words, not_better_words(decided, floors)))),
        fresh_only=True,
        n_left_out=held_out.n_left_out,
        n_seen=held_out.n_seen,
        floors=floors,
    )
    return Judged(confirmed=confirmed, forecasts={candidate.name: oof for candidate, oof in measured})


def _measured(
    configuration: Configuration, trained: Predicted, held_out: HeldOutFolds
) -> tuple[ConfirmedConfiguration, OutOfFold]:
    of = scored(held_out, {fold: trained.of(fold, trained.epoch(without=fold)) for fold in held_out.scorers})
    candidate = ConfirmedConfiguration(
        name=configuration.name,
        trial_id=configuration.trial_id,
        config=configuration.config,
        epoch=trained.epoch(),
        metrics=of.metrics,
        intervals=of.forecasts.intervals(),
        difference=None,
        fold_scores=of.fold_scores,
    )
    return candidate, of.forecasts


def _ensemble(
    trained: Sequence[Predicted], held_out: HeldOutFolds, *, with_floors: bool
) -> tuple[ConfirmedConfiguration, OutOfFold]:
    of = scored(held_out, ensemble_predictions(trained, held_out, with_floors=with_floors))
    members = near_best(trained, held_out)
    candidate = ConfirmedConfiguration(
        name=ensemble_name(trained),
        trial_id=None,
        config={},
        epoch=max(member.epoch() for member in members),
        metrics=of.metrics,
        intervals=of.forecasts.intervals(),
        difference=None,
        fold_scores=of.fold_scores,
        members=tuple(member.name for member in members),
        floor_shares=floor_shares(members, held_out) if with_floors else {},
    )
    return candidate, of.forecasts


def _compared(
    measured: Sequence[tuple[ConfirmedConfiguration, OutOfFold]], level: float
) -> list[ConfirmedConfiguration]:
    """Best first, each with its difference to the default where that one came to its end.

    level: of the intervals, widened for the number of candidates. That of who is asked first is not, nor that of the
    only one who is asked then.
    """
    first, n_rivals = asked_first([candidate for candidate, _ in measured]), len(measured) - 1
    default = next((forecasts for candidate, forecasts in measured if candidate.name == DEFAULT), None)
    compared = []
    for candidate, forecasts in measured:
        if default is not None and candidate.name != DEFAULT:
            own = LEVEL if first is not None and (candidate.name == first or n_rivals == 2) else level
            candidate = replace(candidate, difference=paired_difference(forecasts, default, level=own))
        compared.append(candidate)
    return sorted(compared, key=lambda candidate: candidate.metrics["score/all"])


def decide(
    candidates: Sequence[ConfirmedConfiguration], failed: Sequence[str], diverged: Sequence[str]
) -> tuple[str, bool, str]:
    """The winner's name, whether it beats the default beyond noise, and the verdict in words."""
    best = candidates[0]
    if DEFAULT in failed:
        how, remedy = "failed in a run", TRIED_AGAIN
        if DEFAULT in diverged:
            how = "diverged in a run, as it would again"
            remedy = "begin a new study with other options, such as --precision or --epochs"
        return (
            best.name,
            False,
            f"the default {how}, so nothing is compared: {best.name} has the best mean score; {remedy}",
        )
    rivals = [c for c in candidates if c.difference is not None]
    if not rivals:
        return DEFAULT, False, _alone(failed, diverged)
    beyond_noise = {c.name: c.difference for c in rivals if c.difference is not None and c.difference.is_win}
    first = asked_first(candidates)
    winner = winner_of(list(beyond_noise), first=first)
    if winner is not None:
        return winner, True, f"{winner} beats default by {beyond_noise[winner].size}"
    words = f"no candidate beats the default beyond noise: keep the default; {_lead(best, rivals[0])}"
    if beyond_noise:
        words += (
            f"; the whole interval of {', '.join(beyond_noise)} lies above 0, but that counts only where that of "
            f"{first} does, which is asked first"
        )
    return DEFAULT, False, words


def winner_of(beyond_noise: Sequence[str], *, first: str | None) -> str | None:
    """The best of those that beat the default beyond noise, best first; None where `first` is not among them.

    Hypotheses in a fixed order (Maurer, Hothorn & Lehmacher 1995, "Multiple comparisons in drug clinical trials and
    preclinical assays: a-priori ordered hypotheses"): the ensemble is asked first, with the whole probability of an
    error, and others only after it won. So the default is beaten by chance as rarely as if all shared that probability,
    and the ensemble, which is truly better more often than any other, is seen to be much more often.
    """
    if first is not None and first not in beyond_noise:
        return None
    return next(iter(beyond_noise), None)


def _alone(failed: Sequence[str], diverged: Sequence[str]) -> str:
    """Why the default stands alone, and what gives it a rival."""
    if not failed:
        return (
            "the search found nothing but the default, so nothing is compared: keep it, or search on with more --trials"
        )
    others = "search on with more --trials for other candidates"
    remedy = others if set(failed) <= set(diverged) else f"{TRIED_AGAIN}, or {others}"
    return (
        f"all but the default failed in a run ({', '.join(failed)}), so nothing is compared: keep the default; {remedy}"
    )


def _lead(best: ConfirmedConfiguration, rival: ConfirmedConfiguration) -> str:
    """Who has the best mean, where nothing is proven; rival: the best that is not the default."""
    assert rival.difference is not None
    gain = f"{'loses' if rival.difference.mean > 0 else 'gains'} {rival.difference.size}"
    p_better = rival.difference.p_better
    assert p_better is not None  # it was compared just now
    if best.name == DEFAULT:
        return f"it has the best mean, too, and the next, {rival.name}, {gain}"
    return f"{rival.name} is leading, not proven: it {gain}, and is better with probability {p_better:.0%}"
