"""Ask, report, decide, tell: the search's decisions, without Ray, as a function of the study's events.

Every change of state goes through an event: a live call works out what follows, has the event written, and applies it
just as `Decisions.replay` does. What follows from a report (a rung's decision, a trial's end) follows from the state
alone, so a process killed between two of these events leaves them to the next one, which decides the same.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Self

from optuna.trial import FrozenTrial

from tune.decisions.asha import Asha
from tune.decisions.proposals import Proposals
from tune.decisions.sampler import Space
from tune.decisions.trial_events import TrialEvents
from tune.decisions.trial_record import Ask, State, TrialRecord
from tune.decisions.verdicts import next_event
from tune.journal.events import Event, EventWriter, as_read


class Decisions(TrialEvents):
    """One study's sampler, rungs and trials.

    The header needs: seed, n_trials (all trials together), max_epochs, grace_epochs, reduction_factor. It may hold:
    queue (what runs first: `[{"origin", "values": {...}}]` or, for a trial that the sampler shall not know,
    `[{"origin", "config": {...}}]`, each with a `seed` where it is not the study's; never stopped early), sampler (a
    `sampler_description()`), warm_start (trials of earlier studies, see `Proposer.add_history`).
    """

    def __init__(self, space: Space, header: Mapping[str, Any], *, on_event: EventWriter | None = None) -> None:
        """on_event: `Journal.append`; without it, events are kept nowhere (simulations, reading a study).

        Raises: UserError naming every problem of the numbers and of the starting points.
        """
        header = as_read(dict(header))  # the same whether it comes from here or from the journal
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
        self._emit: EventWriter = on_event if on_event is not None else _unwritten

    @classmethod
    def replay(cls, space: Space, events: Iterable[Event], *, on_event: EventWriter | None = None) -> Self:
        """The state that a journal's events add up to.

        With `on_event`, what a killed process left undecided is decided and written now.
        """
        first, *others = events
        decisions = cls(space, first["header"], on_event=on_event)
        for event in others:
            decisions.apply(event)
        if on_event is not None:
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
        number = len(self._records)
        trial_id = f"t{number:04d}"
        self._write("ask", trial=trial_id, number=number, **proposal.fields())
        return self._records[trial_id].to_ask()

    def begin_session(self, **fields: Any) -> None:
        """A process begins to work on the study; `n_trials` changes the budget, `queue` adds to what runs first."""
        self._write("session", **fields)

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

    def foresee(self, event: Event) -> dict[str, Any] | None:
        """The fields that an ask, decision or tell standing here must have; None for events that come from outside."""
        if event["event"] == "ask":
            proposal = self._proposals.next()
            return {} if proposal is None else proposal.fields()
        if event["event"] in ("decision", "tell"):
            step = next_event(self._records[event["trial"]], self._asha, self._max_epochs)
            return step[1] if step is not None and step[0] == event["event"] else {}
        return None

    def apply(self, event: Event) -> None:
        """Take in one event, live or from a journal; kinds that decide nothing are passed over."""
        kind = event["event"]
        if kind == "session":
            self._ends_this_session = []
            self.n_trials = event.get("n_trials", self.n_trials)
            self._proposals.extend(event.get("queue", ()))
        elif kind == "ask":
            record = TrialRecord.from_ask(event)
            self._records[record.trial_id] = record
            self._proposals.begin(record)
        elif "trial" in event:
            record = self._records[event["trial"]]
            record.apply(event)
            if kind == "decision" and event["rung"] is not None:
                self._asha.record(event["rung"], record.trial_id, event["value"])
            elif kind == "error" and event["kind"] == "diverged":
                self._record_diverged(record)
            elif kind == "tell":
                self._ends_this_session.append(record.state)
                self._proposals.tell(record)

    def _record_diverged(self, record: TrialRecord) -> None:
        rung = self._asha.next_rung(record.epoch + 1)
        if rung is not None:
            self._asha.record(rung, record.trial_id, math.nan)

    def _record(self, trial_id: str) -> TrialRecord:
        return self._records[trial_id]

    def _write(self, event: str, **fields: Any) -> None:
        self._emit(event, apply=self.apply, **fields)

    def _advance(self, record: TrialRecord) -> None:
        while (step := next_event(record, self._asha, self._max_epochs)) is not None:
            kind, fields = step
            self._write(kind, trial=record.trial_id, **fields)


def _unwritten(event: str, *, apply: Callable[[Event], None], **fields: Any) -> Event:
    """An event that no journal keeps, with the values that one would have given back."""
    made = as_read({"time": time.time(), "event": event, **fields})
    apply(made)
    return made
