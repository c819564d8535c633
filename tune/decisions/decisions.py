"""Ask, report, decide, tell: the search's decisions, without Ray, as a function of the study's journal.

Every change of state goes through an entry: a live call works out what follows, has the entry written, and applies it
just as `Decisions.replay` does. What follows from a report (a rung's decision, a trial's end) follows from the state
alone, so a process killed between two of these entries leaves them to the next one, which decides the same.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Self

from optuna.trial import FrozenTrial

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.decisions.asha import Asha
from tune.decisions.proposals import Proposal, Proposals
from tune.decisions.sampler import Space
from tune.decisions.standings import Standings
from tune.decisions.trial_entries import TrialEntries, kept_nowhere
from tune.decisions.trial_record import ENQUEUED, Ask, TrialRecord
from tune.decisions.verdicts import next_entry
from tune.journal.entries import (
    EntryWriter,
    JournalEntry,
    RungDecided,
    SessionBegun,
    StudyBegun,
    TrialAsked,
    TrialEnqueued,
    TrialEntry,
    TrialRaised,
    TrialStopped,
    TrialTold,
    begun,
)
from tune.journal.line_text import plain_as_read


class Decisions(TrialEntries):
    """One study's sampler, rungs and trials; `standings` and `asha` are not to be changed from outside.

    The header needs: seed, n_trials (all trials together), max_epochs, grace_epochs, reduction_factor. It may hold:
    queue (what runs first: `[{"origin", "values": {...}}]` or, for a trial that the sampler shall not know,
    `[{"origin", "config": {...}}]`, each with a `seed` where it is not the study's; never stopped early but where
    `exempt` is false), sampler (a `sampler_description()`), warm_start (trials of earlier studies, see
    `Proposer.add_history`), patience (epochs in a row without a better score after which a trial has ended; a study of
    before has none).
    """

    def __init__(self, space: Space, header: Mapping[str, object], *, on_entry: EntryWriter | None = None) -> None:
        """on_entry: `Journal.append`; without it, entries are kept nowhere (simulations, reading a study).

        Raises: UserError naming every problem of the numbers and of the starting points.
        """
        header = plain_as_read(dict(header))  # the same whether it comes from here or from the journal
        self._proposals = Proposals(space, header)
        self.asha = Asha.of(header)
        self._patience: int = header.get("patience", 0)
        self.standings = Standings()
        self.standings.apply(StudyBegun(header=header))
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
            for record in decisions.trials():
                decisions._advance(record)
        return decisions

    def ask(self) -> Ask | None:
        """The next trial; None when the budget is spent, a stop was requested, or nothing untried is left.

        What a user enqueues after that runs all the same.
        """
        is_enqueued = any(proposal.origin == ENQUEUED for proposal in self.waiting()[:1])
        if self.n_left == 0 or (self.stop_reason is not None and not is_enqueued):
            return None
        proposal = self._proposals.next()
        if proposal is None:
            self.stop_reason = "every configuration of the space was tried"
            return None
        asked = self._emit(proposal.asked(len(self.standings.trials)), apply=self.apply)
        return self._record(asked.trial).to_ask()

    def begin_session(self, session: SessionBegun) -> None:
        """A process begins to work on the study, which may change the budget and add to what runs first."""
        self._emit(session, apply=self.apply)

    def enqueue(self, values: JsonObject, *, request: str) -> None:
        """Run this next, and one trial more in all. request: who asks, as an id.

        Raises: UserError as `check_new`.
        """
        self.check_new(values)
        self._emit(TrialEnqueued(request=request, values=values), apply=self.apply)

    def check_new(self, values: JsonObject, *, requested: Iterable[JsonObject | None] = ()) -> None:
        """requested: what was asked for, too, and has not come here yet.

        Raises: UserError when values of the sampler do not lie in the space, or give what was asked for before.
        """
        config = self._proposals.config(values)
        same = [trial for trial in self.standings.trials.values() if trial.config == config and not trial.is_noise]
        if same:
            score = "no score yet" if same[0].best_score is None else f"best {same[0].best_score:.4g}"
            raise UserError(
                f"`enqueue` must be given a configuration that was not tried, but {same[0].trial_id} is equal "
                f"({same[0].state}, {score})"
            )
        if values in requested or any(proposal.config == config for proposal in self.waiting()):
            raise UserError(
                "`enqueue` must be given a configuration that was not tried, but an equal one is queued and runs "
                "anyway, as the variants of a space do; give another"
            )

    def stop_trial(self, trial_id: str, *, request: str) -> None:
        """End a trial that was not told, as a user asks. request: who asks, as an id."""
        record = self._running(trial_id)
        self._write(TrialStopped(trial=trial_id, request=request))
        self._advance(record)

    @property
    def n_left(self) -> int:
        """Trials still to be asked for."""
        return max(0, self.standings.n_trials - len(self.standings.trials))

    def waiting(self) -> tuple[Proposal, ...]:
        """What is queued and was not asked for yet, in order."""
        return self._proposals.waiting()

    @property
    def n_queued(self) -> int:
        """Starting points and the like that are still to be asked for."""
        return self._proposals.n_queued

    def unfinished(self) -> list[Ask]:
        """Trials asked for and not told, in order."""
        return [record.to_ask() for record in self.standings.trials.values() if not record.is_told]

    def trials(self) -> list[TrialRecord]:
        """All trials in order of asking; not to be changed."""
        return list(self.standings.trials.values())

    def sampler_trials(self) -> list[FrozenTrial]:
        """What Optuna was told, in order of asking; comparisons are not among them. Not to be changed."""
        return self._proposals.sampler_trials()

    def best(self) -> TrialRecord | None:
        """As of `Standings`."""
        return self.standings.best()

    def first_trials_all_failed(self, n: int) -> bool:
        """Whether the first n trials to end in this session all failed.

        More than a configuration is wrong then. A trial stopped for a score that is not finite counts as failed.
        """
        ends = self.standings.ends_this_session
        return len(ends) >= n and all(state == "failed" for state in islice(ends, n))

    def foresee(self, entry: TrialAsked | RungDecided | TrialTold) -> TrialEntry | None:
        """What belongs where this entry stands; None when nothing does."""
        if isinstance(entry, TrialAsked):
            proposal = self._proposals.next()
            return None if proposal is None else proposal.asked(len(self.standings.trials))
        return next_entry(self._record(entry.trial), self.asha, patience=self._patience)

    def apply(self, entry: JournalEntry) -> None:
        """Take in one entry, live or from a journal; kinds that decide nothing are passed over."""
        self.standings.apply(entry)
        match entry:
            case SessionBegun():
                self._proposals.extend(entry.queue)
            case TrialEnqueued():
                self._proposals.enqueue(entry.values)
            case TrialAsked():
                self._proposals.begin(self._record(entry.trial))
            case RungDecided() | TrialRaised():
                self.asha.record_trial(self._record(entry.trial))
            case TrialTold():
                self._proposals.tell(self._record(entry.trial))

    def _record(self, trial_id: str) -> TrialRecord:
        return self.standings.trials[trial_id]

    def _write(self, entry: TrialEntry) -> None:
        self._emit(entry, apply=self.apply)

    def _advance(self, record: TrialRecord) -> None:
        while (entry := next_entry(record, self.asha, patience=self._patience)) is not None:
            self._write(entry)
