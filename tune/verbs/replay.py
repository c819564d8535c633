"""A study's decisions in order, each with its reason, and whether today's code would decide the same.

sentinel-tune replay STUDY [--json]
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.space import SearchSpace
from trainable.counts import counted
from tune.command_line.options import StudyOptions
from tune.decisions.replay import differences
from tune.journal.events import Event
from tune.journal.journal import read_contents
from tune.report.console import Console

if TYPE_CHECKING:
    from tune.command_line.parsing import Given

EXIT_FOLLOWS, EXIT_DIFFERS = 0, 1
FOLLOWS = "every proposal and decision follows from what came before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log; trial: None for what concerns the whole study. seq, time: of the event in the journal."""

    seq: int
    time: float
    event: str
    trial: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.seq:>6}  {self.text if self.trial is None else f'{self.trial} {self.text}'}"


def run(given: "Given") -> int:
    """Run the verb; returns the exit status: 0 all follows, 1 something would come out differently or cannot follow."""
    options: StudyOptions = given.options()
    contents = read_contents(options.study)
    events = contents.events
    entries = log_entries(events)
    differing = differences(SearchSpace.from_dict(events[0]["header"]["space"]), events)
    refused = [str(entry) for entry in contents.left_out]
    Console(json=options.json).finish(
        text="\n".join([*map(str, entries), "", *_verdict(events, differing, refused)]),
        json={
            "study": str(options.study),
            "n_events": len(events) + len(refused),
            "entries": [
                {"seq": e.seq, "time": e.time, "event": e.event, "trial": e.trial, "text": e.text} for e in entries
            ],
            "follows": not differing and not refused,
            "differences": differing,
            "refused": refused,
        },
    )
    return EXIT_DIFFERS if differing or refused else EXIT_FOLLOWS


def log_entries(events: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The events that begin, judge or end something; epochs and checkpoints are not among them."""
    return [
        Entry(seq=event["seq"], time=event["time"], event=event["event"], trial=event.get("trial"), text=text)
        for event in events
        if (text := _text(event)) is not None
    ]


def _text(event: Mapping[str, Any]) -> str | None:
    match event["event"]:
        case "study":
            return _study(event)
        case "session":
            return _session(event)
        case "ask":
            return _ask(event)
        case "decision":
            return str(event["reason"])
        case "tell":
            return _tell(event)
        case "error":
            return f"raised {event['type']} after epoch {event['epoch']} on {event['node'] or '?'}: {event['message']}"
        case "retry":
            return f"is tried again, attempt {event['attempt']}: {event['reason']}"
        case "pause":
            return f"paused after epoch {event['epoch']}: {event['reason']}"
        case "end":
            return f"session ended {_clock(event)}: {event['reason']}"
    return None


def _study(event: Mapping[str, Any]) -> str:
    header = event["header"]
    return (
        f"study {event['study_id']}: space {header['space']['name']}, seed {header['seed']}, "
        f"at most {counted(header['max_epochs'], 'epoch')}, no stop before epoch {header['grace_epochs']}, "
        f"one in {header['reduction_factor']} goes on"
    )


def _session(event: Mapping[str, Any]) -> str:
    where = f"{event.get('executor', '?')} on {event.get('host', '?')}, process {event.get('pid', '?')}"
    trials = counted(event["n_trials"], "trial") if "n_trials" in event else "? trials"
    return f"session began {_clock(event)}: {where}, {trials} in all"


def _ask(event: Mapping[str, Any]) -> str:
    if event["origin"] == "sampler":
        return f"proposed by the sampler: {_settings(event['values'])}"
    kind, _, name = event["origin"].partition(":")
    beside = ", unknown to the sampler" if event["values"] is None else ""
    exempt = ", never stopped early" if event["exempt"] else ""
    return f"asked for as {kind} {name}{beside}{exempt}"


def _settings(values: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={f'{v:.4g}' if isinstance(v, float) else v}" for name, v in values.items())


def _tell(event: Mapping[str, Any]) -> str:
    if event["state"] == "failed":
        return f"failed: {event['reason']}"
    best = "no score" if event["value"] is None else f"best {event['value']:.4g} at epoch {event['epoch']}"
    return f"{event['state']}: {best}"


def _verdict(events: list[Event], differing: list[str], refused: list[str]) -> list[str]:
    found = []
    if refused:
        head = "cannot follow on what came before; --resume, status and all else leave it out and keep the rest:"
        found += [head, *(f"  {line}" for line in refused)]
    if differing:
        head = "would come out differently with this version of sentinel-tune and Optuna, or was changed by hand:"
        found += [head, *(f"  {line}" for line in differing)]
    if found:
        return found
    counts = Counter(event["event"] for event in events)
    parts = (
        counted(counts[event], noun) for event, noun in (("ask", "proposal"), ("decision", "decision"), ("tell", "end"))
    )
    return [f"{FOLLOWS} ({', '.join(parts)})"]


def _clock(event: Mapping[str, Any]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
