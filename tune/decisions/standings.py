"""How a study stands: its journal folded into one state, with a record a trial, the best of them, the floors.

The one fold of a search's entries. `Decisions` extends it as it writes them; tables, status and MLflow read a journal
through it.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from trainable.plain_values import JsonObject
from tune.decisions.trial_record import ENQUEUED, State, TrialRecord
from tune.journal.entries import (
    STATES,
    EpochReported,
    FloorsMeasured,
    JournalEntry,
    SessionBegun,
    SessionEnded,
    StudyBegun,
    TrialAsked,
    TrialEnqueued,
    TrialEntry,
    TrialTold,
)


class Standings:
    """A study's state; only `apply` changes it.

    trials: by id, in order of asking. n_reports: of all trials. n_enqueued: trials that a user asked for by their
    configuration. end_reason: of the last session; None while it runs. is_local: whether it does without Ray.
    ends_this_session: how trials ended since the last session began, in order.
    """

    def __init__(self) -> None:
        self.study_id: str | None = None
        self.header: JsonObject = {}
        self.trials: dict[str, TrialRecord] = {}
        self.floors: dict[str, dict[str, float]] = {}
        self._n_asked_for = 0
        self.n_enqueued = 0
        self.n_reports = 0
        self.end_reason: str | None = None
        self.is_local = False
        self.ends_this_session: list[State] = []
        self._best: TrialRecord | None = None
        self._counts: Counter[State] = Counter()

    @classmethod
    def of(cls, entries: Iterable[JournalEntry]) -> Self:
        """Fold a whole journal."""
        standings = cls()
        for entry in entries:
            standings.apply(entry)
        return standings

    def apply(self, entry: JournalEntry) -> None:
        """Take the next entry; kinds that say nothing about standings are passed over."""
        match entry:
            case StudyBegun():
                self.study_id, self.header = entry.study_id, dict(entry.header)
                self._n_asked_for = int(self.header.get("n_trials") or 0)
            case SessionBegun():
                self.end_reason, self.ends_this_session = None, []
                self.is_local = entry.is_local
                self._n_asked_for = self._n_asked_for if entry.n_trials is None else entry.n_trials
            case TrialEnqueued():
                self.n_enqueued += 1
            case SessionEnded():
                self.end_reason = entry.reason
            case FloorsMeasured():
                self.floors = entry.floors
            case TrialAsked():
                self.trials[entry.trial] = TrialRecord.from_ask(entry)
                self._counts["running"] += 1
            case TrialEntry():
                self._apply_to(self.trials[entry.trial], entry)

    def _apply_to(self, trial: TrialRecord, entry: TrialEntry) -> None:
        before = trial.state
        trial.apply(entry)
        if trial.state != before:
            self._counts[before] -= 1
            self._counts[trial.state] += 1
        match entry:
            case EpochReported():
                self.n_reports += 1
                self._best = _better(self._best, trial)
            case TrialTold():
                self.ends_this_session.append(entry.state)
                if trial is self._best and entry.state == "failed":  # seldom, so only then all are looked at
                    self._best = None
                    for other in self.trials.values():
                        self._best = _better(self._best, other)

    def best(self) -> TrialRecord | None:
        """Lowest best score among the trials that have not failed; of equal ones, the one asked for first.

        Reruns for the noise between seeds are no candidates.
        """
        return self._best

    def count(self, state: State) -> int:
        """How many trials are in a state."""
        return self._counts[state]

    @property
    def n_trials(self) -> int:
        """The budget, all trials together: as many as a session asked for last, and those enqueued beside them."""
        return self._n_asked_for + self.n_enqueued

    @property
    def n_asked(self) -> int:
        """Trials that were begun, those that a user enqueued not counted."""
        return sum(trial.origin != ENQUEUED for trial in self.trials.values())

    @property
    def n_own(self) -> int:
        """As `n_wanted`, those that a user enqueued not counted: what `--trials` says."""
        return max(self._n_asked_for, self.n_asked)

    @property
    def n_told(self) -> int:
        """Trials that have their final state."""
        return sum(self._counts[state] for state in STATES)

    @property
    def n_wanted(self) -> int:
        """Trials that there will be: the budget, or more where more were begun."""
        return max(self.n_trials, len(self.trials))

    def variant_trials(self) -> dict[str, TrialRecord]:
        """Variant name -> its trial, in the order in which they were asked."""
        return {t.variant: t for t in self.trials.values() if t.variant is not None and not t.is_noise}


def _better(best: TrialRecord | None, trial: TrialRecord) -> TrialRecord | None:
    if trial.best_score is None or trial.state == "failed" or trial.is_noise:
        return best
    if best is None or best.best_score is None:
        return trial
    return min(best, trial, key=lambda record: (record.best_score, record.number))
