"""How a study stands, also while another process works on it: read from its journal, without a lock.

sentinel-tune status STUDY [--json]
"""

import shlex
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainable.errors import UserError
from tune.console import Console
from tune.events import Event
from tune.journal import Owner, owner_of, read_events
from tune.options import StudyOptions
from tune.pace import Pace
from tune.report import COLUMNS, duration
from tune.rungs import RungStanding, rung_standings
from tune.standings import SCORE, Standings, TrialStanding, finite

if TYPE_CHECKING:
    from tune.command_line import Given

MAX_INTERVAL_SECONDS = 30.0
"""Predicting the held-out specimens for the interval may take so long; a status is to be had between two looks."""

MAX_FAILURES = 8
"""So many are shown, the latest; `--json` has all."""

_INDENT = 11
_SCORES = ((SCORE, "all"), ("score/id", "ID"), ("score/ood", "OOD"))


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

    owner: who works on it; None if nobody does. seconds_used: of all sessions together. seconds_left: at the speed of
    the latest session; None when nothing is known of it.
    """

    folder: Path
    standings: Standings
    rungs: list[RungStanding]
    owner: Owner | None
    interval: Interval
    seconds_used: float
    seconds_left: float | None

    @property
    def state(self) -> str:
        """ "running", "ended" or "cut off": the last one was killed before it could say why it ends."""
        if self.owner is not None:
            return "running"
        return "ended" if self.standings.end_reason is not None else "cut off"

    @property
    def resume_command(self) -> str:
        """What goes on with the study; one that has all its trials needs more of them."""
        more = ""
        if self.standings.n_told >= self.standings.n_wanted:
            more = f" --trials {2 * self.standings.n_wanted}"
        return f"sentinel-tune search --resume {shlex.quote(str(self.folder))}{more}"


def run(given: "Given") -> int:
    """Run the verb; returns the exit status 0."""
    options: StudyOptions = given.options()
    status = read_status(options.study)
    Console(json=options.json).finish(text=_text(status), json=_json(status))
    return 0


def read_status(folder: Path) -> StudyStatus:
    """Look at a study.

    Raises: UserError when the folder holds none, or a damaged or newer one.
    """
    owner = owner_of(folder)  # before the events: one that ends in between is then seen with its end
    events = read_events(folder)
    standings, pace = Standings(), Pace()
    for event in events:
        standings.apply(event)
        pace.apply(event)
    if standings.end_reason is not None:
        owner = None  # it only writes up
    now = time.time() if owner else float(events[-1]["time"])
    return StudyStatus(
        folder=folder,
        standings=standings,
        rungs=rung_standings(events),
        owner=owner,
        interval=_interval(folder, standings),
        seconds_used=_seconds_used(events, now=now),
        seconds_left=pace.seconds_left(standings, now=now),
    )


def _seconds_used(events: Sequence[Event], *, now: float) -> float:
    """All sessions' lengths; decisions do not count, since a resume makes those that a killed process left open."""
    used, start, last = 0.0, None, 0.0
    for event in events:
        if event["event"] == "session":
            used += last - start if start is not None else 0.0
            start = last = float(event["time"])
        elif event["event"] not in ("decision", "tell"):
            last = float(event["time"])
    return used + (now - start if start is not None else 0.0)


def _interval(folder: Path, standings: Standings) -> Interval:
    """Of the best trial's scores, from its checkpoint's predictions for the held-out events."""
    best = standings.best()
    if best is None:
        return Interval(scores={}, note="no trial has a score")
    from trainable.best_forecasts import best_forecasts  # imports torch
    from trainable.intervals import LEVEL, score_interval

    try:
        found = best_forecasts(
            folder / "data", folder / "checkpoints" / best.trial_id, max_seconds=MAX_INTERVAL_SECONDS
        )
    except UserError as error:
        return Interval(scores={}, note=f"not known here: {error.problems[0]}")
    if found.epoch != best.best_epoch:
        return Interval(scores={}, note="the best trial has just moved on; ask again")
    return Interval(level=LEVEL, scores=score_interval(found.forecasts, seed=0))


def _json(status: StudyStatus) -> dict[str, Any]:
    standings, best = status.standings, status.standings.best()
    unfinished = {state: standings.count(state) for state in ("running", "paused")}
    is_running = status.owner is not None
    return {
        "study": str(status.folder),
        "study_id": standings.study_id,
        "state": status.state,
        "owner": asdict(status.owner) if status.owner else None,
        "end_reason": standings.end_reason,
        "n_trials": standings.n_wanted,
        "n_told": standings.n_told,
        "n_completed": standings.count("completed"),
        "n_pruned": standings.count("pruned"),
        "n_failed": standings.count("failed"),
        "n_running": unfinished["running"] if is_running else 0,
        "n_interrupted": unfinished["paused"] + (0 if is_running else unfinished["running"]),
        "rungs": [asdict(rung) for rung in status.rungs],
        "best": _best_json(best, status.interval) if best else None,
        "failures": [
            {"trial_id": t.trial_id, "name": t.name, "epoch": t.epoch, "reason": t.reason} for t in _failed(standings)
        ],
        "retries": [
            {"trial_id": t.trial_id, "reason": reason} for t in standings.trials.values() for reason in t.retries
        ],
        "seconds_used": round(status.seconds_used, 1),
        "seconds_left": None if status.seconds_left is None else round(status.seconds_left, 1),
        "resume_command": status.resume_command,
    }


def _best_json(best: TrialStanding, interval: Interval) -> dict[str, Any]:
    return {
        "trial_id": best.trial_id,
        "name": best.name,
        "epoch": best.best_epoch,
        "scores": {key: best.best_metrics[key] for key, _ in _SCORES if key in best.best_metrics},
        "interval": {"level": interval.level, **interval.scores} if interval.scores else None,
        "interval_note": interval.note or None,
    }


def _failed(standings: Standings) -> list[TrialStanding]:
    return [trial for trial in standings.trials.values() if trial.state == "failed"]


def _text(status: StudyStatus) -> str:
    sections = {
        "trials": [_counts(status)],
        "time": [_times(status)],
        "best": _best_lines(status.standings.best(), status.interval),
        "rungs": [_rung_line(rung) for rung in status.rungs],
        "retried": _retry_lines(status.standings),
        "failed": _failure_lines(status.standings),
        "resume": [status.resume_command],
    }
    lines = [f"{status.folder}: {_state(status)}"]
    for title, content in sections.items():
        heads = [title, *[""] * len(content)]
        lines += [f"  {head:<{_INDENT - 2}}{line}" for head, line in zip(heads, content, strict=False)]
    return "\n".join(lines) + "\n"


def _state(status: StudyStatus) -> str:
    if status.owner is not None:
        return f"running, {status.owner}"
    if status.state == "ended":
        return f"ended: {status.standings.end_reason}"
    return "cut off: its process ended without a word; nothing that was reported is lost"


def _counts(status: StudyStatus) -> str:
    standings, is_running = status.standings, status.owner is not None
    running, paused = standings.count("running"), standings.count("paused")
    counts = {state: standings.count(state) for state in ("completed", "pruned", "failed")}
    counts |= {"running": running if is_running else 0, "interrupted": paused + (0 if is_running else running)}
    parts = [f"{n} {word}" for word, n in counts.items() if n]
    return f"{standings.n_told} of {standings.n_wanted} done" + (f": {', '.join(parts)}" if parts else "")


def _times(status: StudyStatus) -> str:
    used = f"{duration(status.seconds_used)} used"
    if status.standings.n_told >= status.standings.n_wanted:
        return used
    left = "time left not known yet" if status.seconds_left is None else f"about {duration(status.seconds_left)} left"
    return f"{used}, {left}{'' if status.owner else ' once gone on with'}"


def _best_lines(best: TrialStanding | None, interval: Interval) -> list[str]:
    if best is None:
        return ["no trial has a score"]
    name = best.trial_id if best.name == best.trial_id else f"{best.trial_id} {best.name}"
    full = f" of {best.max_epochs}" if best.max_epochs is not None else ""
    lines = [f"{name} at epoch {best.best_epoch}{full}"]
    for key, label in _SCORES:
        if (score := finite(best.best_metrics.get(key))) is not None:
            bounds = interval.scores.get(key)
            shown = f"  [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
            lines.append(f"score {label:<4} {score:.3f}{shown}")
    note = interval.note or f"[ ]: {interval.level:.0%} interval over the held-out sites"
    return [*lines, *textwrap.wrap(f"interval: {note}" if interval.note else note, COLUMNS - _INDENT)]


def _rung_line(rung: RungStanding) -> str:
    trials = "1 trial" if rung.n_reached == 1 else f"{rung.n_reached} trials"
    cut = "" if rung.cut is None else f", cut {rung.cut:.4g}"
    return f"epoch {rung.epoch}: {trials}, {rung.n_stopped} stopped{cut}"


def _retry_lines(standings: Standings) -> list[str]:
    lines = [f"{trial.trial_id}: {reason}" for trial in standings.trials.values() for reason in trial.retries]
    return _latest(lines)


def _failure_lines(standings: Standings) -> list[str]:
    return _latest([f"{trial.trial_id} at epoch {trial.epoch}: {trial.reason}" for trial in _failed(standings)])


def _latest(lines: list[str]) -> list[str]:
    shown = [textwrap.shorten(line, COLUMNS - _INDENT, placeholder=" …") for line in lines[-MAX_FAILURES:]]
    n_hidden = len(lines) - len(shown)
    return [f"{n_hidden} earlier ones: see --json", *shown] if n_hidden else shown
