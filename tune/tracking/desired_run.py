"""The content that one run in MLflow must get, as plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tune.decisions.trial_record import finite
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
from tune.tracking.values import MAX_KEY, metric_key, tag_text

PARENT = ""
"""Key of the study's own run; the other runs have their trial id as key."""

CONFIRMATION = "confirmation"
"""Key of the run that holds together those of a confirmation, apart from the trials."""

SCORE_SO_FAR = "score"
"""Metric of a run: its best score so far, so that its latest value, which the UI sorts by, is its best."""

RUN_LINK, TABLE_LINK, CHARTS_LINK = "{run}", "{table}", "{charts}"
"""In a description: addresses within the UI, of the run's own page and of the study's views, known only when it is
there."""

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class MetricPoint(NamedTuple):
    """One value of one metric; `timestamp_ms` is the journal's time of the entry that brought it."""

    key: str
    value: float
    timestamp_ms: int
    step: int


class UsedDataset(NamedTuple):
    """Data that a study learns from. digest: of its content. rows: None where the journal does not say. use: how it is
    split, in words.
    """

    name: str
    digest: str
    rows: int | None
    use: str


@dataclass(slots=True, kw_only=True)
class DesiredRun:
    """The content that a run must get.

    parent: key of the run that it stands under in the UI; None for the study's own. metrics: points in journal order,
    unique by (key, step); the first `n_forgotten` of them are no longer kept here because they are written. artifacts:
    path -> content. description: Markdown, with `RUN_LINK`, `TABLE_LINK` and `CHARTS_LINK` where addresses belong.
    views: tags of the experiment, each a view of the UI.
    """

    key: str
    name: str
    start_ms: int
    parent: str | None = PARENT
    end_ms: int | None = None
    status: RunStatus = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    n_forgotten: int = 0
    artifacts: dict[str, str | bytes] = field(default_factory=dict)
    datasets: tuple[UsedDataset, ...] = ()
    description: str = ""
    views: dict[str, str] = field(default_factory=dict)
    last_ms: int = 0
    steps_seen: set[int] = field(default_factory=set)

    @property
    def order(self) -> tuple[bool, bool, str]:
        """To sort runs by, so that each comes after the one that it stands under."""
        return self.parent is not None, self.parent != PARENT, self.key

    @property
    def n_metrics(self) -> int:
        """Points in all, forgotten ones included."""
        return self.n_forgotten + len(self.metrics)

    def add(self, key: str, value: object, timestamp_ms: int, step: int) -> None:
        """Add a point; NaN for what is not finite, nothing for what is no measurement."""
        number = finite(value)
        if number is not None or value is None or isinstance(value, float | str):
            self.metrics.append(MetricPoint(key, math.nan if number is None else number, timestamp_ms, step))

    def add_epoch(self, entry: EpochReported, best_score: float | None) -> None:
        """Add what an epoch measured and the best score so far, unless that epoch is there already.

        An epoch that is repeated after a crash is equal, and MLflow would keep both.
        """
        if entry.epoch in self.steps_seen:
            return
        self.steps_seen.add(entry.epoch)
        values: dict[str, Any] = {} if best_score is None else {SCORE_SO_FAR: best_score}
        for name, value in entry.metrics.items():
            values.setdefault(metric_key(name), value)
        self.add_all(values, ms_of(entry), entry.epoch)

    def add_all(self, values: Mapping[str, Any], timestamp_ms: int, step: int) -> None:
        """Add a point for each of the metrics, by keys that MLflow takes."""
        for key, value in values.items():
            self.add(key, value, timestamp_ms, step)

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
        self.tag("status", hpo_status)
        if status == "RUNNING" and "hpo.reason" in self.tags:
            self.tags["hpo.reason"] = "none"  # the reason of an earlier pause holds no more

    def tag(self, name: str, value: Any) -> None:
        """Set a tag; nothing for a missing or empty value."""
        if value is not None and value != "":
            self.tags[name[:MAX_KEY]] = tag_text(value)


def ms_of(entry: JournalEntry) -> int:
    """When it was written, in MLflow's unit."""
    return round(entry.time * 1000)
