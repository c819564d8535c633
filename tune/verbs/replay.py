"""A study's decisions in order, each with its reason, and whether today's code would decide the same.

sentinel-tune replay STUDY [--json]
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from search_spaces.space import SearchSpace
from trainable.counts import counted
from tune.command_line.options import StudyOptions
from tune.command_line.parsing import Given
from tune.decisions.differences import differences
from tune.decisions.trial_record import ENQUEUED, SAMPLER
from tune.journal.entries import (
    JournalEntry,
    RungDecided,
    SessionBegun,
    SessionEnded,
    StopRequested,
    StudyBegun,
    TrialAsked,
    TrialEnqueued,
    TrialEntry,
    TrialPaused,
    TrialRaised,
    TrialRetried,
    TrialStopped,
    TrialTold,
    study_of,
)
from tune.journal.journal import read_contents
from tune.journal.lines import kind_of
from tune.report.console import Console

EXIT_FOLLOWS, EXIT_DIFFERS = 0, 1
FOLLOWS = "every proposal and decision follows from what came before"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of the log; trial: None for what concerns the whole study. Others: of the entry in the journal."""

    seq: int
    time: float
    kind: str
    trial: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.seq:>6}  {self.text if self.trial is None else f'{self.trial} {self.text}'}"


def run(given: Given) -> int:
    """Run the verb; returns the exit status: 0 all follows, 1 something would come out differently or cannot follow."""
    options: StudyOptions = given.options()
    contents = read_contents(options.study)
    entries = contents.entries
    lines = log_lines(entries)
    differing = differences(SearchSpace.from_dict(study_of(entries).header["space"]), entries)
    refused = [str(entry) for entry in contents.left_out]
    Console(json=options.json).finish(
        text="\n".join([*map(str, lines), "", *_verdict(entries, differing, refused)]),
        json={
            "study": str(options.study),
            "n_events": len(entries) + len(refused),
            "entries": [
                {"seq": n.seq, "time": n.time, "event": n.kind, "trial": n.trial, "text": n.text} for n in lines
            ],
            "follows": not differing and not refused,
            "differences": differing,
            "refused": refused,
        },
    )
    return EXIT_DIFFERS if differing or refused else EXIT_FOLLOWS


def log_lines(entries: Iterable[JournalEntry]) -> list[LogLine]:
    """What begins, judges or ends something; epochs and checkpoints are not among them."""
    return [
        LogLine(
            seq=entry.seq,
            time=entry.time,
            kind=kind_of(entry),
            trial=entry.trial if isinstance(entry, TrialEntry) else None,
            text=text,
        )
        for entry in entries
        if (text := _text(entry)) is not None
    ]


def _text(entry: JournalEntry) -> str | None:
    match entry:
        case StudyBegun():
            return _study(entry)
        case SessionBegun():
            return _session(entry)
        case TrialAsked():
            return _ask(entry)
        case RungDecided():
            return entry.reason
        case TrialTold():
            return _tell(entry)
        case TrialRaised():
            return f"raised {entry.type} after epoch {entry.epoch} on {entry.node or '?'}: {entry.message}"
        case TrialRetried():
            return f"is tried again, attempt {entry.attempt}: {entry.reason}"
        case TrialPaused():
            return f"paused after epoch {entry.epoch}: {entry.reason}"
        case TrialStopped():
            return "is to end: a user asked for it"
        case TrialEnqueued():
            return f"enqueued by a user: {_settings(entry.values)}"
        case StopRequested():
            return "the session is to end: a user asked for it"
        case SessionEnded():
            return f"session ended {_clock(entry)}: {entry.reason}"
    return None


def _study(study: StudyBegun) -> str:
    header = study.header
    patience = f", none after {header['patience']} epochs without a better score" if header.get("patience") else ""
    return (
        f"study {study.study_id}: space {header['space']['name']}, seed {header['seed']}, "
        f"at most {counted(header['max_epochs'], 'epoch')}, no stop before epoch {header['grace_epochs']}, "
        f"one in {header['reduction_factor']} goes on{patience}"
    )


def _session(session: SessionBegun) -> str:
    where = f"{session.executor or '?'} on {session.host or '?'}, process {session.pid or '?'}"
    trials = "? trials" if session.n_trials is None else counted(session.n_trials, "trial")
    return f"session began {_clock(session)}: {where}, {trials} in all"


def _ask(asked: TrialAsked) -> str:
    if asked.origin in (SAMPLER, ENQUEUED):
        by = "proposed by the sampler" if asked.origin == SAMPLER else "asked for as enqueued"
        return f"{by}: {_settings(asked.values or {})}"
    kind, _, name = asked.origin.partition(":")
    beside = ", unknown to the sampler" if asked.values is None else ""
    exempt = ", never stopped early" if asked.exempt else ""
    return f"asked for as {kind} {name}{beside}{exempt}"


def _settings(values: Mapping[str, object]) -> str:
    return "  ".join(f"{name}={f'{v:.4g}' if isinstance(v, float) else v}" for name, v in values.items())


def _tell(told: TrialTold) -> str:
    if told.state == "failed":
        return f"failed: {told.reason}"
    best = "no score" if told.value is None else f"best {told.value:.4g} at epoch {told.epoch}"
    return f"{told.state}: {best}"


def _verdict(entries: list[JournalEntry], differing: list[str], refused: list[str]) -> list[str]:
    found = []
    if refused:
        head = "cannot follow on what came before; --resume, status and all else leave it out and keep the rest:"
        found += [head, *(f"  {line}" for line in refused)]
    if differing:
        head = "would come out differently with this version of sentinel-tune and Optuna, or was changed by hand:"
        found += [head, *(f"  {line}" for line in differing)]
    if found:
        return found
    counts = Counter(map(kind_of, entries))
    parts = (
        counted(counts[kind], noun) for kind, noun in (("ask", "proposal"), ("decision", "decision"), ("tell", "end"))
    )
    return [f"{FOLLOWS} ({', '.join(parts)})"]


def _clock(entry: JournalEntry) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time))
