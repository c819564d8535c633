"""The content that one run in MLflow must get, as plain values."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tune.journal.entries import (
    EpochReported,
    JournalEntry,
    TrialAsked,
    TrialEntry,
    TrialPaused,
    TrialRaised,
    TrialRetried,
    TrialTold,
)
from tune.tracking.values import MAX_KEY, tag_text

PARENT = ""
"""Key of the study's own run; the other runs have their trial id as key."""

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class MetricPoint(NamedTuple):
    """One value of one metric; `timestamp_ms` is the journal's time of the entry that brought it."""

    key: str
    value: float
    timestamp_ms: int
    step: int


@dataclass(slots=True, kw_only=True)
class DesiredRun:
    """The content that a run must get.

    metrics: points in journal order, unique by (key, step); the first `n_forgotten` of them are no longer kept here
    because they are written. artifacts: path -> text.
    """

    key: str
    name: str
    start_ms: int
    end_ms: int | None = None
    status: RunStatus = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    n_forgotten: int = 0
    artifacts: dict[str, str] = field(default_factory=dict)
    last_ms: int = 0
    steps_seen: set[int] = field(default_factory=set)

    @property
    def n_metrics(self) -> int:
        """Points in all, forgotten ones included."""
        return self.n_forgotten + len(self.metrics)

    def forget_metrics(self) -> None:
        """Drop the points to save memory, once they are written and the trial has ended."""
        self.n_forgotten += len(self.metrics)
        self.metrics = []

    def take(self, entry: TrialEntry) -> None:
        """Take in what happened to the run's trial, of a search or of a confirmation, but for what was measured."""
        match entry:
            case TrialAsked() | EpochReported():
                self.settle("RUNNING", "running", end_ms=None)
            case TrialRetried():
                self.settle("RUNNING", "running", end_ms=None)
                self.tag("hpo.retry", entry.reason)
            case TrialPaused():
                self.settle("KILLED", "interrupted", end_ms=ms_of(entry))
                self.tag("hpo.reason", entry.reason)
            case TrialRaised():
                self.tag("hpo.error", f"{entry.type}: {entry.message}")
                self.tag("hpo.traceback", entry.traceback_tail)
                self.tag("hpo.node", entry.node)
            case TrialTold():
                self.settle("FAILED" if entry.state == "failed" else "FINISHED", entry.state, end_ms=ms_of(entry))
                self.tag("hpo.reason", entry.reason)

    def settle(self, status: RunStatus, hpo_status: str, *, end_ms: int | None) -> None:
        """Set the state as MLflow knows it and as the search knows it."""
        self.status, self.end_ms = status, end_ms
        self.tag("hpo.status", hpo_status)
        if status == "RUNNING" and "hpo.reason" in self.tags:
            self.tags["hpo.reason"] = "none"  # the reason of an earlier pause holds no more

    def tag(self, name: str, value: Any) -> None:
        """Set a tag; nothing for a missing or empty value."""
        if value is not None and value != "":
            self.tags[name[:MAX_KEY]] = tag_text(value)


def ms_of(entry: JournalEntry) -> int:
    """When it was written, in MLflow's unit."""
    return round(entry.time * 1000)
