"""How a study stands, also while another process works on it: read from its journal, without a lock."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.space import DEFAULT
from trainable.errors import UserError
from trainable.scoring.metrics import SCORE
from trainable.storage.place import Place
from trainable.storage.remote_folder import StorageError
from tune.confirming.outcome import confirmed_of
from tune.confirming.runs import Confirmation
from tune.decisions.pace import Pace
from tune.decisions.rungs import RungStanding, rung_standings
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.entries import JournalEntry, RungDecided, SessionBegun, TrialTold
from tune.journal.journal import Owner, owner_of, read_entries
from tune.printed.next_command import next_command

MAX_INTERVAL_SECONDS = 30.0
"""Predicting the held-out specimens for the interval may take so long; a status is to be had between two looks."""

MOVED_ON = "the best trial has just moved on; ask again"

SCORES = (SCORE, "score/id", "score/ood")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What is known about how far the best score could have come out otherwise.

    scores: score name -> low, high; empty when not known, and `note` says why.
    """

    level: float | None = None
    scores: Mapping[str, tuple[float, float]]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """A study at one moment.

    owner: who works on it; None if nobody does. n_sessions: processes that worked on it, one after another.
    seconds_used: of all sessions together, each from when its trials could begin: data were loaded and Ray started.
    seconds_left: at the speed of the latest session; None when nothing is known of it. confirmation: its runs so far.
    verdict: the latest. mixtures: what the ensembles that it judges are made of. not_compared: what failed in it.
    """

    folder: Place
    standings: Standings
    rungs: list[RungStanding]
    owner: Owner | None
    interval: Interval
    n_sessions: int
    seconds_used: float
    seconds_left: float | None
    confirmation: Confirmation
    verdict: str | None
    mixtures: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """ "running", "ended" or "cut off": the last one was killed before it could say why it ends."""
        if self.owner is not None:
            return "running"
        return "ended" if self.standings.end_reason is not None else "cut off"

    @property
    def n_running(self) -> int:
        """Trials being trained."""
        return self.standings.count("running") if self.owner else 0

    @property
    def n_interrupted(self) -> int:
        """Trials that go on when the study does; some of a running study wait for their turn."""
        return self.standings.count("paused") + self.standings.count("running") - self.n_running

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed, in order of asking."""
        return [trial for trial in self.standings.trials.values() if trial.state == "failed"]

    @property
    def retried(self) -> list[tuple[TrialRecord, str]]:
        """Trials that were tried again, each with the reason, once a retry."""
        return [(trial, reason) for trial in self.standings.trials.values() for reason in trial.retries]

    @property
    def resume_command(self) -> str:
        """What goes on with its confirmation, or else its search; where all trials have ended, with more of them."""
        plan = self.confirmation.plan
        if plan is not None and not self.confirmation.is_complete and not self.n_interrupted:
            return next_command(
                "confirm",
                self.folder,
                confirm_top=sum(configuration.name != DEFAULT for configuration in plan.configurations),
                confirm_folds=len(plan.folds),
                confirm_seeds=len(plan.seeds),
                local=self.standings.is_local,
            )
        is_done = self.standings.n_told >= self.standings.n_wanted
        trials = 2 * self.standings.n_wanted if is_done else None
        return next_command("search", resume=self.folder, trials=trials, local=self.standings.is_local)


def read_status(folder: Place) -> StudyStatus:
    """Look at a study.

    Raises: UserError when the folder holds none, or a damaged or newer one.
    """
    owner = owner_of(folder)  # before the entries: one that ends in between is then seen with its end
    entries = read_entries(folder)
    standings, pace = Standings(), Pace()
    for entry in entries:
        standings.apply(entry)
        pace.apply(entry)
    if standings.end_reason is not None:
        owner = None  # it only writes up
    confirmed = confirmed_of(entries)
    now = time.time() if owner else entries[-1].time
    return StudyStatus(
        folder=folder,
        standings=standings,
        rungs=rung_standings(standings),
        owner=owner,
        interval=_interval(folder, standings, is_running=owner is not None),
        n_sessions=sum(isinstance(entry, SessionBegun) for entry in entries),
        seconds_used=_seconds_used(entries, now=now),
        seconds_left=pace.seconds_left(standings, now=now),
        confirmation=Confirmation.replay(entries),
        verdict=None if confirmed is None else confirmed.verdict,
        mixtures=() if confirmed is None else tuple(c.mixture for c in confirmed.candidates if c.members),
        not_compared=() if confirmed is None else tuple(confirmed.not_compared),
    )


def _seconds_used(entries: Sequence[JournalEntry], *, now: float) -> float:
    """All sessions' lengths; decisions do not count, since a resume makes those that a killed process left open."""
    used, start, last = 0.0, None, 0.0
    for entry in entries:
        match entry:
            case SessionBegun():
                used += last - start if start is not None else 0.0
                start = last = entry.time
            case RungDecided() | TrialTold():
                pass
            case _:
                last = entry.time
    return used + (now - start if start is not None else 0.0)


def _interval(folder: Place, standings: Standings, *, is_running: bool) -> Interval:
    """Of the best trial's scores, from its checkpoint's predictions for the held-out events."""
    best = standings.best()
    if best is None:
        return Interval(scores={}, note="no trial has a score")
    from trainable.scoring.intervals import LEVEL, score_interval
    from trainable.training.best_forecasts import best_forecasts  # imports torch

    try:
        found = best_forecasts(
            folder / "data", folder / "checkpoints" / best.trial_id, max_seconds=MAX_INTERVAL_SECONDS
        )
    except (UserError, StorageError) as error:
        return Interval(scores={}, note=f"not known here: {str(error).splitlines()[0]}")
    if found.epoch != best.best_epoch:
        if found.damaged:
            return Interval(scores={}, note=f"not known here: {found.damaged[0]}")
        return Interval(scores={}, note=MOVED_ON if is_running else _apart(best, found.epoch))
    return Interval(level=LEVEL, scores=score_interval(found.forecasts, seed=0))


def _apart(best: TrialRecord, epoch: int) -> str:
    """Of a study that nobody works on: its session ended between a checkpoint and the report of its epoch, say."""
    known = "not known here" if best.is_told else "not known until the study goes on"
    return (
        f"{known}: the checkpoint of {best.trial_id} has the weights of epoch {epoch}, its score is of epoch "
        f"{best.best_epoch}"
    )
