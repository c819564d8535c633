"""Ask, report, decide, tell: the search's decisions, without Ray, as a function of the study's journal.

Every change of state goes through an entry: a live call works out what follows, has the entry written, and applies it
just as `Decisions.replay` does. What follows from a report (a rung's decision, a trial's end) follows from the state
alone, so a process killed between two of these entries leaves them to the next one, which decides the same.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Self

from optuna.trial import FrozenTrial

from trainable.failure import FailureKind
from tune.decisions.asha import Asha
from tune.decisions.proposals import Proposals
from tune.decisions.sampler import Space
from tune.decisions.trial_entries import TrialEntries, kept_nowhere
from tune.decisions.trial_record import Ask, State, TrialRecord
from tune.decisions.verdicts import next_entry
from tune.journal.entries import (
    EntryWriter,
    JournalEntry,
    RungDecided,
    SessionBegun,
    TrialAsked,
    TrialEntry,
    TrialRaised,
    TrialTold,
    begun,
)
from tune.journal.lines import plain_as_read


class Decisions(TrialEntries):
    """One study's sampler, rungs and trials.

    The header needs: seed, n_trials (all trials together), max_epochs, grace_epochs, reduction_factor. It may hold:
    queue (what runs first: `[{"origin", "values": {...}}]` or, for a trial that the sampler shall not know,
    `[{"origin", "config": {...}}]`, each with a `seed` where it is not the study's; never stopped early), sampler (a
    `sampler_description()`), warm_start (trials of earlier studies, see `Proposer.add_history`).
    """

    def __init__(self, space: Space, header: Mapping[str, Any], *, on_entry: EntryWriter | None = None) -> None:
        """on_entry: `Journal.append`; without it, entries are kept nowhere (simulations, reading a study).

        Raises: UserError naming every problem of the numbers and of the starting points.
        """
        header = plain_as_read(dict(header))  # the same whether it comes from here or from the journal
        self._proposals = Proposals(space, header)
        self._asha = Asha(
            grace_epochs=header["grace_epochs"],
            reduction_factor=header["reduction_factor"],
            max_epochs=header["max_epochs"],
        )
        self._max_epochs: int = header["max_epochs"]
        self.n_trials: int = header["n_trials"]
        self._records: dict[str, TrialRecord] = {}
        self._ends_this_session: list[State] = []
        self._emit: EntryWriter = kept_nowhere if on_entry is None else on_entry

    @classmethod
    def replay(cls, space: Space, entries: Iterable[JournalEntry], *, on_entry: EntryWriter | None = None) -> Self:
        """The state that a journal's entries add up to.

        With `on_entry`, what a killed process left undecided is decided and written now.
        """
        study, others = begun(entries)
        decisions = cls(space, study.header, on_entry=on_entry)
        for entry in others:
            decisions.apply(entry)
        if on_entry is not None:
            for record in list(decisions._records.values()):
                decisions._advance(record)
        return decisions

    def ask(self) -> Ask | None:
        """The next trial; None when the budget is spent, a stop was requested, or nothing untried is left."""
        if self.stop_reason is not None or self.n_left == 0:
            return None
        proposal = self._proposals.next()
        if proposal is None:
            self.stop_reason = "every configuration of the space was tried"
            return None
        asked = self._emit(proposal.asked(len(self._records)), apply=self.apply)
        return self._records[asked.trial].to_ask()

    def begin_session(self, session: SessionBegun) -> None:
        """A process begins to work on the study, which may change the budget and add to what runs first."""
        self._emit(session, apply=self.apply)

    @property
    def n_left(self) -> int:
        """Trials still to be asked for."""
        return max(0, self.n_trials - len(self._records))

    @property
    def n_queued(self) -> int:
        """Starting points and the like that are still to be asked for."""
        return self._proposals.n_queued

    def unfinished(self) -> list[Ask]:
        """Trials asked for and not told, in order."""
        return [record.to_ask() for record in self._records.values() if record.state == "running"]

    def trials(self) -> list[TrialRecord]:
        """All trials in order of asking; not to be changed."""
        return list(self._records.values())

    def trial(self, trial_id: str) -> TrialRecord:
        """One trial; not to be changed."""
        return self._records[trial_id]

    def count(self, state: State) -> int:
        """Trials in a state."""
        return sum(record.state == state for record in self._records.values())

    def rung_sizes(self) -> dict[int, int]:
        """Trials recorded at each rung, by epoch."""
        return self._asha.sizes()

    def sampler_trials(self) -> list[FrozenTrial]:
        """What Optuna was told, in order of asking; comparisons are not among them. Not to be changed."""
        return self._proposals.sampler_trials()

    def best(self) -> TrialRecord | None:
        """The trial with the lowest score of all that have not failed; the earlier one where two are equal.

        Reruns for the noise between seeds are no candidates.
        """
        scored = [r for r in self._records.values() if r.best_score is not None and not r.is_noise]
        ranked = [r for r in scored if r.state != "failed"]
        return min(ranked, key=lambda record: record.best_score or 0.0, default=None)

    def first_trials_all_failed(self, n: int) -> bool:
        """Whether the first n trials to end in this session all failed.

        More than a configuration is wrong then. A trial stopped for a score that is not finite counts as failed.
        """
        ends = self._ends_this_session
        return len(ends) >= n and all(state == "failed" for state in islice(ends, n))

    def foresee(self, entry: TrialAsked | RungDecided | TrialTold) -> TrialEntry | None:
        """What belongs where this entry stands; None when nothing does."""
        if isinstance(entry, TrialAsked):
            proposal = self._proposals.next()
            return None if proposal is None else proposal.asked(len(self._records))
        return next_entry(self._records[entry.trial], self._asha, self._max_epochs)

    def apply(self, entry: JournalEntry) -> None:
        """Take in one entry, live or from a journal; kinds that decide nothing are passed over."""
        match entry:
            case SessionBegun():
                self._ends_this_session = []
                self.n_trials = self.n_trials if entry.n_trials is None else entry.n_trials
                self._proposals.extend(entry.queue)
            case TrialAsked():
                record = TrialRecord.from_ask(entry)
                self._records[record.trial_id] = record
                self._proposals.begin(record)
            case TrialEntry():
                self._apply_to(self._records[entry.trial], entry)

    def _apply_to(self, record: TrialRecord, entry: TrialEntry) -> None:
        record.apply(entry)
        match entry:
            case RungDecided() if entry.rung is not None:
                self._asha.record(entry.rung, record.trial_id, entry.value)
            case TrialRaised() if entry.kind is FailureKind.DIVERGED:
                self._record_diverged(record)
            case TrialTold():
                self._ends_this_session.append(record.state)
                self._proposals.tell(record)

    def _record_diverged(self, record: TrialRecord) -> None:
        rung = self._asha.next_rung(record.epoch + 1)
        if rung is not None:
            self._asha.record(rung, record.trial_id, math.nan)

    def _record(self, trial_id: str) -> TrialRecord:
        return self._records[trial_id]

    def _write(self, entry: TrialEntry) -> None:
        self._emit(entry, apply=self.apply)

    def _advance(self, record: TrialRecord) -> None:
        while (entry := next_entry(record, self._asha, self._max_epochs)) is not None:
            self._write(entry)
