"""What the report shows of one study: its fold, and how the best score came down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trainable.data.task import Task
from trainable.storage.place import Place
from tune.confirming.outcome import Confirmed, confirmed_of
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.decisions.varied import Varied, varied_parameters
from tune.journal.entries import JournalEntry, SessionBegun
from tune.journal.journal import owner_of, read_entries
from tune.journal.study_task import task_of_study
from tune.report.trial_table import status_of
from tune.study.kept_options import given_options, kept_options

MAX_DRAWN = 300
"""Lines in one figure: more of them are a blot, and make the page heavy."""


class Step(NamedTuple):
    """The best score after so many epochs of all trials, and so many seconds after the first of them began."""

    n_epochs: int
    seconds: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """A study at one moment. given: of its options those that a user gave. n_sessions: that worked on it. ends_at:
    trial id -> epochs of all trials when its last one was reported.
    """

    folder: Place
    standings: Standings
    varied: tuple[Varied, ...]
    confirmed: Confirmed | None
    options: dict[str, Any]
    given: dict[str, Any]
    is_running: bool
    n_sessions: int
    steps: list[Step] = field(default_factory=list)
    ends_at: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's."""
        return str(self.standings.study_id)

    @property
    def task(self) -> Task:
        """What is forecast."""
        return task_of_study(self.standings.header)

    @property
    def trials(self) -> list[TrialRecord]:
        """All of them, in order of asking."""
        return list(self.standings.trials.values())

    def ranked(self) -> list[TrialRecord]:
        """Those with a score that have not failed, best first."""
        scored = [t for t in self.trials if t.best_score is not None and t.state != "failed"]
        return sorted(scored, key=lambda t: (t.best_score or 0.0, t.number))

    def drawn(self) -> list[TrialRecord]:
        """At most `MAX_DRAWN` trials with a score, evenly over the ranking: the worst first, the best last."""
        ranked = [*self.ranked(), *(t for t in self.trials if t.best_score is not None and t.state == "failed")]
        return evenly(ranked, MAX_DRAWN)[::-1]

    def status(self, trial: TrialRecord) -> str:
        """How a trial stands."""
        return status_of(trial, is_running=self.is_running)

    @property
    def drawn_note(self) -> str:
        """Says so where not all trials are drawn."""
        n = sum(t.best_score is not None for t in self.trials)
        return f" {MAX_DRAWN} of {n} trials are drawn, evenly over the ranking." if n > MAX_DRAWN else ""


def evenly(ranked: Sequence[TrialRecord], most: int) -> list[TrialRecord]:
    """At most so many of them, evenly over the ranking."""
    step = max(1.0, len(ranked) / most)
    return [ranked[int(i * step)] for i in range(min(len(ranked), most))]


def read_view(folder: Place) -> StudyView:
    """Look at a study, without a lock.

    Raises: UserError when the folder holds none, or a damaged or newer one.
    """
    is_running = owner_of(folder) is not None
    return view_of(folder, read_entries(folder), is_running=is_running)


def view_of(folder: Place, entries: list[JournalEntry], *, is_running: bool) -> StudyView:
    """Fold a whole journal; is_running: whether a process works on the study."""
    standings, steps, ends_at = Standings(), list[Step](), dict[str, int]()
    began, n, best = 0.0, 0, math.inf
    for entry in entries:
        standings.apply(entry)
        if standings.n_reports == n:
            continue
        n, began = standings.n_reports, began or entry.time
        if (trial := getattr(entry, "trial", None)) is not None:
            ends_at[trial] = n
        now = standings.best()
        if now is not None and now.best_score is not None and now.best_score != best:
            best = now.best_score
            steps.append(Step(n, entry.time - began, best))
    if steps:
        steps.append(Step(n, max(entry.time for entry in entries) - began, best))
    return StudyView(
        folder=folder, standings=standings, varied=varied_parameters(standings), confirmed=confirmed_of(entries),
        options=kept_options(entries), given=given_options(entries),
        is_running=is_running and standings.end_reason is None, steps=steps, ends_at=ends_at,
        n_sessions=sum(isinstance(entry, SessionBegun) for entry in entries),
    )  # fmt: skip
