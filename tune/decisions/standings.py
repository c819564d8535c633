"""How a study stands: a journal folded into one standing a trial, the best of them, the floors."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tune.decisions.trial_record import NOISE
from tune.journal.entries import (
    EpochReported,
    FloorsMeasured,
    JournalEntry,
    RungDecided,
    SessionBegun,
    SessionEnded,
    StudyBegun,
    TrialAsked,
    TrialEntry,
    TrialPaused,
    TrialRetried,
    TrialTold,
)

SCORE = "score/all"
"""The metric that a search minimises."""

TrialState = Literal["running", "paused", "completed", "pruned", "failed"]

TOLD: tuple[TrialState, ...] = ("completed", "pruned", "failed")


@dataclass(slots=True, kw_only=True)
class TrialStanding:
    """One trial as the journal tells it so far.

    name: the variant's name for `start:NAME` and `compare:NAME`, else the trial id. epoch: last reported. best_score,
    best_epoch, best_metrics: of the reported epoch with the lowest finite score; None where there is none. retries: why
    it was tried again, each time.
    """

    trial_id: str
    name: str = ""
    origin: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    state: TrialState = "running"
    epoch: int = 0
    score: float | None = None
    best_score: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    rung: int | None = None
    reason: str = ""
    retries: list[str] = field(default_factory=list)

    @property
    def variant(self) -> str | None:
        """Name of the variant that this trial runs; None for a sampled one."""
        kind, _, name = self.origin.partition(":")
        return name if kind in ("start", "compare") and name else None

    @property
    def is_noise(self) -> bool:
        """Run for the noise between seeds alone, so never the best."""
        return self.origin.startswith(NOISE)

    @property
    def max_epochs(self) -> int | None:
        """Full length of the trial."""
        epochs = self.config.get("epochs")
        return int(epochs) if isinstance(epochs, int | float) else None

    @property
    def is_told(self) -> bool:
        """True once the trial has its final state."""
        return self.state in TOLD


class Standings:
    """The fold itself; `apply` takes the journal's entries in order."""

    def __init__(self) -> None:
        self.study_id: str | None = None
        self.header: dict[str, Any] = {}
        self.trials: dict[str, TrialStanding] = {}
        self.floors: dict[str, dict[str, float]] = {}
        self.n_trials = 0  # the budget: a later session may raise it
        self.n_reports = 0
        self.end_reason: str | None = None
        self._best: TrialStanding | None = None
        self._counts: Counter[TrialState] = Counter()

    @classmethod
    def of(cls, entries: Iterable[JournalEntry]) -> Self:
        """Fold a whole journal."""
        standings = cls()
        for entry in entries:
            standings.apply(entry)
        return standings

    def apply(self, entry: JournalEntry) -> None:
        """Take one entry; kinds that say nothing about standings are passed over."""
        match entry:
            case StudyBegun():
                self.study_id, self.header = entry.study_id, dict(entry.header)
                self.n_trials = int(self.header.get("n_trials") or 0)
            case SessionBegun():
                self.end_reason = None
                self.n_trials = entry.n_trials or self.n_trials
            case SessionEnded():
                self.end_reason = entry.reason
            case FloorsMeasured():
                self.floors = entry.floors
            case TrialEntry():
                self._apply_to_trial(entry)

    def _apply_to_trial(self, entry: TrialEntry) -> None:
        trial = self.trials.get(entry.trial)
        if trial is None:
            trial = self.trials[entry.trial] = TrialStanding(trial_id=entry.trial, name=entry.trial)
            self._counts[trial.state] += 1
        before = trial.state
        self._change(trial, entry)
        self._counts[before] -= 1
        self._counts[trial.state] += 1
        self._update_best(trial, before)

    def best(self) -> TrialStanding | None:
        """Lowest best score among the trials that have not failed; of equal ones, the one that got there first.

        Reruns for the noise between seeds are no candidates.
        """
        return self._best

    def count(self, state: TrialState) -> int:
        """How many trials are in a state."""
        return self._counts[state]

    @property
    def n_told(self) -> int:
        """Trials that have their final state."""
        return sum(self._counts[state] for state in TOLD)

    @property
    def n_wanted(self) -> int:
        """Trials that there will be: the budget, or more where more were begun."""
        return max(self.n_trials, len(self.trials))

    def variant_trials(self) -> dict[str, TrialStanding]:
        """Variant name -> its trial, in the order in which they were asked."""
        return {trial.variant: trial for trial in self.trials.values() if trial.variant is not None}

    def _update_best(self, trial: TrialStanding, before: TrialState) -> None:
        """Look at all trials only when one fails or stops being failed: a journal of 10,000 trials folds in seconds."""
        if "failed" in (before, trial.state) and before != trial.state:
            scored = [t for t in self.trials.values() if t.best_score is not None and not t.is_noise]
            ranked = [t for t in scored if t.state != "failed"]
            self._best = min(ranked, key=_best_score, default=None)
        elif trial.is_noise:
            return
        elif trial.state != "failed" and (self._best is None or _best_score(trial) < _best_score(self._best)):
            self._best = trial if trial.best_score is not None else self._best

    def _change(self, trial: TrialStanding, entry: TrialEntry) -> None:
        match entry:
            case TrialAsked():
                trial.origin = entry.origin
                trial.name = trial.variant or trial.trial_id
                trial.config, trial.values = dict(entry.config), dict(entry.values or {})
            case EpochReported():
                self.n_reports += 1
                _apply_report(trial, entry)
            case RungDecided():
                trial.rung = trial.rung if entry.rung is None else entry.rung
            case TrialTold():
                trial.state, trial.reason = entry.state, entry.reason
            case TrialPaused():
                trial.state, trial.reason = "paused", entry.reason
            case TrialRetried():
                trial.state = "running"
                trial.retries.append(entry.reason)
                trial.config = dict(entry.config or trial.config)


def _apply_report(trial: TrialStanding, entry: EpochReported) -> None:
    trial.state = "running"
    trial.epoch = entry.epoch
    trial.score = finite(entry.metrics.get(SCORE))
    if trial.score is not None and (trial.best_score is None or trial.score < trial.best_score):
        trial.best_score, trial.best_epoch = trial.score, trial.epoch
        trial.best_metrics = dict(entry.metrics)


def _best_score(trial: TrialStanding) -> float:
    return math.inf if trial.best_score is None else trial.best_score


def finite(value: Any) -> float | None:
    """A finite number as float; None for NaN, infinity, null and anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
