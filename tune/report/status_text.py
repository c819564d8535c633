"""A study's status as plain text."""

import textwrap

from trainable.counts import counted
from trainable.data.task_words import score_keys
from tune.decisions.rungs import RungStanding
from tune.decisions.standings import Standings
from tune.decisions.trial_record import finite
from tune.journal.entries import STATES
from tune.journal.study_task import task_of_study
from tune.report.results import COLUMNS, duration
from tune.report.study_status import Interval, StudyStatus

MAX_FAILURES = 8
"""So many are shown, the latest; `--json` has all."""

_INDENT = 12


def status_text(status: StudyStatus) -> str:
    """A few sections; lines of at most 120 columns but for paths and commands."""
    sections = {
        "trials": [_counts(status)],
        "time": [_times(status)],
        "best": _best_lines(status.standings, status.interval),
        "rungs": [_rung_line(rung) for rung in status.rungs],
        "confirmed": _confirmation(status),
        "retried": _latest([f"{trial.trial_id}: {reason}" for trial, reason in status.retried]),
        "failed": _latest([f"{t.trial_id} at epoch {t.epoch}: {t.reason}" for t in status.failed]),
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
    standings = status.standings
    counts = {state: standings.count(state) for state in STATES}
    counts_open = {"running": status.n_running, "interrupted": status.n_interrupted}
    parts = [f"{n} {word}" for word, n in (*counts.items(), *counts_open.items()) if n]
    return f"{standings.n_told} of {standings.n_wanted} done" + (f": {', '.join(parts)}" if parts else "")


def _times(status: StudyStatus) -> str:
    sessions = f"in {counted(status.n_sessions, 'session')}, starting up not counted"
    used = f"{duration(status.seconds_used)} used {sessions}"
    if status.standings.n_told >= status.standings.n_wanted:
        return used
    if status.seconds_left is None:
        return f"{used}; time left not known yet"
    return f"{used}; about {duration(status.seconds_left)} left{'' if status.owner else ' once resumed'}"


def _confirmation(status: StudyStatus) -> list[str]:
    runs = status.confirmation
    if not runs.n_wanted:
        return []
    done = [] if runs.is_complete else [f"{runs.n_ended} of {counted(runs.n_wanted, 'run')} done"]
    said = [status.verdict or "no verdict yet", *status.mixtures, *status.not_compared]
    return [*done, *(line for text in said for line in textwrap.wrap(text, COLUMNS - _INDENT))]


def _best_lines(standings: Standings, interval: Interval) -> list[str]:
    best = standings.best()
    if best is None:
        return ["no trial has a score"]
    name = best.trial_id if best.name == best.trial_id else f"{best.trial_id} {best.name}"
    lines = [f"{name} at epoch {best.best_epoch} of {best.max_epochs}"]
    for key, label in score_keys(task_of_study(standings.header)).items():
        if (score := finite(best.best_metrics.get(key))) is not None:
            bounds = interval.scores.get(key)
            shown = f"  [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
            lines.append(f"score {label:<4} {score:.3f}{shown}")
    note = interval.note or f"[ ]: {interval.level:.0%} interval over the held-out sites"
    return [*lines, *textwrap.wrap(f"interval: {note}" if interval.note else note, COLUMNS - _INDENT)]


def _rung_line(rung: RungStanding) -> str:
    if not rung.n_reached:
        return f"epoch {rung.epoch}: no trial yet"
    cut = "" if rung.cut is None else f", cut {rung.cut:.4g}"
    return f"epoch {rung.epoch}: {counted(rung.n_reached, 'trial')}, {rung.n_stopped} stopped{cut}"


def _latest(lines: list[str]) -> list[str]:
    shown = [textwrap.shorten(line, COLUMNS - _INDENT, placeholder=" …") for line in lines[-MAX_FAILURES:]]
    n_hidden = len(lines) - len(shown)
    return [f"{n_hidden} earlier: see --json", *shown] if n_hidden else shown
