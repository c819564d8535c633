"""ASHA, the stopping form with one bracket: at each rung the worse part of the trials seen so far is stopped.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934), section 3, with three
differences: trials are stopped rather than paused; a trial's score at a rung is its best so far, so that one noisy
epoch does not decide; and the number kept is rounded up, because a stopped trial cannot be promoted later when more
peers have arrived.
"""

import math
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Literal, Self

from trainable.errors import UserError
from trainable.failure import FailureKind
from trainable.plain_values import JsonObject
from tune.decisions.trial_record import TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a rung says about one trial.

    value: the trial's best score so far (lower is better). cut: the largest value that still goes on. n: trials
    recorded at the rung, the judged one included.
    """

    action: Literal["continue", "stop"]
    value: float
    cut: float
    n: int


class Asha:
    """The rungs and what was recorded at them; deterministic, a function of the calls made."""

    def __init__(self, *, grace_epochs: int, reduction_factor: int, max_epochs: int) -> None:
        """Rungs lie at grace_epochs * reduction_factor^k below max_epochs; no trial is stopped before the first.

        Raises: UserError for numbers out of range.
        """
        _check(grace_epochs, reduction_factor, max_epochs)
        self.reduction_factor, self.max_epochs = reduction_factor, max_epochs
        self.rungs = _rung_epochs(grace_epochs, reduction_factor, max_epochs)
        self._recorded = {rung: _Scores() for rung in self.rungs}

    @classmethod
    def of(cls, header: JsonObject) -> Self:
        """That of a study."""
        return cls(**{name: header[name] for name in ("grace_epochs", "reduction_factor", "max_epochs")})

    def due_rung(self, trial_id: str, epoch: int, *, of: int) -> int | None:
        """The highest rung that a trial of `of` epochs has reached, unless it was judged there or is at its end.

        A rung lies at the same share of every trial's length: schedules are laid out over it. Those that an epoch of a
        short trial jumps are skipped.
        """
        reached = [rung for rung in self.rungs if rung * of <= epoch * self.max_epochs]
        is_due = bool(reached) and epoch < of and trial_id not in self._recorded[reached[-1]].by_trial
        return reached[-1] if is_due else None

    def next_rung(self, epoch: int, *, of: int) -> int | None:
        """The first rung that a trial of `of` epochs has not passed before `epoch`."""
        return next((rung for rung in self.rungs if rung * of >= epoch * self.max_epochs), None)

    def judge(self, rung: int, trial_id: str, value: float) -> Judgement:
        """Whether a trial with this best-so-far goes on: it must be in the top 1/reduction_factor, rounded up.

        It counts itself. The first trial at a rung always goes on; so does one that ties with the cut.
        """
        scores = self._recorded[rung]
        n = len(scores.by_trial) + (trial_id not in scores.by_trial)
        cut = _ranked(scores.without(trial_id), value, rank=math.ceil(n / self.reduction_factor))
        action: Literal["continue", "stop"] = "continue" if value <= cut else "stop"  # False for NaN
        return Judgement(action=action, value=value, cut=cut, n=n)

    def record(self, rung: int, trial_id: str, value: float) -> None:
        """Keep a trial's score; one that is not finite ranks as the worst finite score of its rung."""
        self._recorded[rung].put(trial_id, value)

    def record_trial(self, trial: TrialRecord) -> None:
        """Keep what a trial's state says: its scores where it was judged, the worst where it diverged on its way."""
        for decision in trial.decisions.values():
            if decision.rung is not None:
                self.record(decision.rung, trial.trial_id, decision.value)
        if trial.error is not None and trial.error.kind is FailureKind.DIVERGED:
            rung = self.next_rung(trial.epoch + 1, of=trial.max_epochs)
            if rung is not None:
                self.record(rung, trial.trial_id, math.nan)

    def sizes(self) -> dict[int, int]:
        """Trials recorded at each rung, by epoch."""
        return {rung: len(scores.by_trial) for rung, scores in self._recorded.items()}

    def recorded(self, rung: int) -> dict[str, float]:
        """Scores at a rung by trial, in the order of their arrival."""
        return dict(self._recorded[rung].by_trial)


@dataclass(slots=True)
class _Scores:
    """Of one rung: by trial in the order of their arrival, and the finite ones ranked. Others rank as the last."""

    by_trial: dict[str, float] = field(default_factory=dict)
    ranked: list[float] = field(default_factory=list)

    def put(self, trial_id: str, score: float) -> None:
        before = self.by_trial.get(trial_id, math.nan)
        if math.isfinite(before):
            del self.ranked[bisect_left(self.ranked, before)]
        if math.isfinite(score):
            insort(self.ranked, score)
        self.by_trial[trial_id] = score

    def without(self, trial_id: str) -> list[float]:
        """The finite ones but for a trial's, ranked; not to be changed."""
        own = self.by_trial.get(trial_id, math.nan)
        if not math.isfinite(own):
            return self.ranked
        at = bisect_left(self.ranked, own)
        return self.ranked[:at] + self.ranked[at + 1 :]


def _ranked(others: list[float], score: float, *, rank: int) -> float:
    """The score of that rank, from 1, among ranked finite ones and one more; infinity where none is finite."""
    is_finite = math.isfinite(score)
    place = min(rank, len(others) + is_finite) - 1
    if place < 0:
        return math.inf
    below = others[place - 1] if place else -math.inf
    above = others[place] if place < len(others) else math.inf
    return min(max(score if is_finite else math.inf, below), above)


def _rung_epochs(grace_epochs: int, reduction_factor: int, max_epochs: int) -> tuple[int, ...]:
    rungs, epoch = [], grace_epochs
    while epoch < max_epochs:
        rungs.append(epoch)
        epoch *= reduction_factor
    return tuple(rungs)


def _check(grace_epochs: int, reduction_factor: int, max_epochs: int) -> None:
    problems = []
    if max_epochs < 1:
        problems.append(f"`epochs >= 1` must hold, but got {max_epochs}")
    if grace_epochs < 1:
        problems.append(f"`grace_epochs >= 1` must hold, but got {grace_epochs}")
    if reduction_factor < 2:
        problems.append(f"`reduction_factor >= 2` must hold, but got {reduction_factor}; 3 or 4 are good values")
    if problems:
        raise UserError(problems)
