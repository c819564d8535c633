"""What follows from a trial's state: a rung's decision, then how it ended. Pure functions of the state."""

import math
from dataclasses import dataclass

from trainable.counts import counted
from tune.decisions.asha import Asha
from tune.decisions.trial_record import State, TrialRecord
from tune.journal.entries import Action, RungDecided, ToldState, TrialTold


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from a report: whether the trial goes on, why, and its state now."""

    action: Action
    reason: str
    state: State


def verdict_on(record: TrialRecord) -> Verdict:
    """What the trial's executor must do now."""
    if record.is_told:
        return Verdict(action="stop", reason=record.reason, state=record.state)
    decision = record.decisions.get(record.epoch)
    return Verdict(action="continue", reason="" if decision is None else decision.reason, state=record.state)


def next_entry(record: TrialRecord, asha: Asha, *, patience: int) -> RungDecided | TrialTold | None:
    """The entry that the trial's state calls for; None when it is the trial's turn. patience: as of `completion`."""
    if record.is_told:
        return None
    if record.error is not None:
        return _failed(record)
    if record.is_stopped:
        return _stopped(record)
    if not record.scores:
        return None
    epoch = record.epoch
    decision = record.decisions.get(epoch)
    if decision is None:
        decision = _decision(record, asha)
        if decision is not None:
            return decision
    elif decision.action == "stop":
        return _tell(record, "pruned" if math.isfinite(record.scores[epoch]) else "failed", decision.reason)
    return completion(record, patience=patience)


def completion(record: TrialRecord, *, patience: int = 0, at_most: int | None = None) -> TrialTold | None:
    """The end of a running trial that needs no decision: it failed, went its whole length, or is past its best.

    patience: it has ended when so many epochs in a row brought no better score, unless it is exempt from stopping; 0 is
    off. at_most: epochs that it trains, if they are fewer than its own.
    """
    if record.is_told:
        return None
    if record.error is not None:
        return _failed(record)
    score = record.scores.get(record.epoch, math.nan)
    if record.scores and not math.isfinite(score):
        return _tell(record, "failed", f"stopped at epoch {record.epoch}: the score is {score}")
    full = record.max_epochs
    if record.epoch >= min(full, at_most or full):
        return _tell(record, "completed", f"completed {counted(record.epoch, 'epoch')}: {_best(record)}")
    if patience and not record.exempt and record.epoch - (record.best_epoch or 0) >= patience:
        past = f"past its best after {record.epoch} of {counted(full, 'epoch')}: {_best(record)}"
        return _tell(record, "completed", f"{past}, none better in the {counted(patience, 'epoch')} since")
    return None


def _decision(record: TrialRecord, asha: Asha) -> RungDecided | None:
    epoch, score = record.epoch, record.scores[record.epoch]
    if not math.isfinite(score):
        return RungDecided(
            trial=record.trial_id,
            epoch=epoch,
            action="stop",
            rung=asha.next_rung(epoch, of=record.max_epochs),
            value=score,
            reason=f"stopped at epoch {epoch}: the score is {score}",
        )
    rung = asha.due_rung(record.trial_id, epoch, of=record.max_epochs)
    if rung is None:
        return None
    judgement = asha.judge(rung, record.trial_id, record.best_until(epoch))
    action: Action = "continue" if record.exempt else judgement.action
    word = "stopped" if action == "stop" else "goes on"
    trials = counted(judgement.n, "trial")
    reason = f"{word} at epoch {epoch}: {judgement.value:.4g}, cut {judgement.cut:.4g} from {trials}"
    if record.exempt and judgement.action == "stop":
        reason += "; exempt from stopping"
    return RungDecided(
        trial=record.trial_id,
        epoch=epoch,
        action=action,
        rung=rung,
        value=judgement.value,
        cut=judgement.cut,
        n=judgement.n,
        reason=reason,
    )


def _tell(record: TrialRecord, state: ToldState, reason: str) -> TrialTold:
    return TrialTold(
        trial=record.trial_id, state=state, value=record.best_score, epoch=record.best_epoch, reason=reason
    )


def _stopped(record: TrialRecord) -> TrialTold:
    best = _best(record) if record.best_score is not None else "no score"
    return _tell(record, "pruned", f"stopped by a user after epoch {record.epoch}: {best}")


def _failed(record: TrialRecord) -> TrialTold:
    error = record.error
    assert error is not None
    return _tell(record, "failed", f"{error.type}: {error.message}")


def _best(record: TrialRecord) -> str:
    return f"best {record.best_score:.4g} at epoch {record.best_epoch}"
