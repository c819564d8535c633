"""Which entries of a journal can follow on those before: a trial is asked for once, then heard of, then told.

Writers keep to it. An entry that cannot follow was left by an accident (older versions wrote `pause` after `tell` when
a projection failed), or by hand. It is left out; whatever follows from the others stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainable.counts import counted
from tune.journal.events import Event

FIELDS: Mapping[str, tuple[str, ...]] = {
    "ask": ("number", "origin", "exempt", "values", "config"),
    "report": ("epoch", "metrics"),
    "checkpoint": ("path",),
    "decision": ("epoch", "action", "rung", "value", "reason"),
    "error": ("type", "message", "kind", "epoch"),
    "retry": ("attempt", "config", "reason"),
    "pause": ("epoch", "reason"),
    "tell": ("state", "value", "epoch", "reason"),
}
"""What an entry about a trial must say, by its kind; `confirm` wraps the same kinds."""

STATES = ("completed", "pruned", "failed")
"""In which a trial can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An entry that cannot follow. seq: its number in the journal."""

    seq: int
    event: str
    trial: str | None
    reason: str

    def __str__(self) -> str:
        of = "" if self.trial is None else f" of {self.trial}"
        return f"event {self.seq}, {self.event}{of}: {self.reason}"


@dataclass(slots=True)
class _Life:
    asked: int
    epoch: int = 0
    told: int | None = None


@dataclass(slots=True)
class Lifecycle:
    """What was heard of each trial so far; only `take` changes it."""

    _lives: dict[tuple[str, str], _Life] = field(default_factory=dict)
    _is_begun: bool = False

    def take(self, event: Event) -> LeftOut | None:
        """Take in the next entry; one that cannot follow changes nothing, and is returned with the reason."""
        problem = self.problem(event)
        if problem is not None:
            return problem
        self._is_begun = True
        inner = _inner(event)
        if (key := _key(event, inner)) is None:
            return None
        if inner["event"] == "ask":
            self._lives[key] = _Life(event["seq"])
        elif inner["event"] == "report":
            self._lives[key].epoch = inner["epoch"]
        elif inner["event"] == "tell":
            self._lives[key].told = event["seq"]
        return None

    def problem(self, event: Event) -> LeftOut | None:
        """Why an entry cannot come next; None when it can."""
        inner = _inner(event)
        reason = _incomplete(event, inner) or self._misplaced(event, inner)
        if reason is None:
            return None
        name = str(event.get("event")) if inner is event else f"confirm {inner.get('event')}"
        trial = inner.get("trial")
        return LeftOut(seq=event["seq"], event=name, trial=None if trial is None else str(trial), reason=reason)

    def _misplaced(self, event: Event, inner: Mapping[str, Any]) -> str | None:
        if (event["event"] == "study") == self._is_begun:
            return "the study was begun before" if self._is_begun else "no study was begun before"
        if (key := _key(event, inner)) is None:
            return None
        life, of, trial = self._lives.get(key), inner["event"], inner["trial"]
        if life is None:
            return None if of == "ask" else f"{trial} was not asked for before"
        if of == "ask":
            return f"{trial} was asked for by event {life.asked}"
        if life.told is not None:
            return f"{trial} was told by event {life.told}"
        if of == "report" and inner["epoch"] <= life.epoch:
            return f"epoch {life.epoch} was reported before"
        return None


def _inner(event: Event) -> Mapping[str, Any]:
    """What happened to a trial, out of the envelope of a confirmation."""
    of = event.get("of")
    return of if event.get("event") == "confirm" and isinstance(of, Mapping) else event


def _key(event: Event, inner: Mapping[str, Any]) -> tuple[str, str] | None:
    """The trial that an entry is about; a confirmation's are others than the search's."""
    if inner["event"] not in FIELDS or "trial" not in inner:
        return None
    return "confirm" if event["event"] == "confirm" else "search", str(inner["trial"])


def _incomplete(event: Event, inner: Mapping[str, Any]) -> str | None:
    kind, time = inner.get("event"), event.get("time")
    if not isinstance(kind, str) or kind == "confirm":
        return "it does not say what happened"
    if isinstance(time, bool) or not isinstance(time, int | float):
        return "it does not say when"
    if "trial" not in inner:
        return "it names no trial" if kind == "ask" else None
    if missing := [name for name in FIELDS.get(kind, ()) if name not in inner]:
        return f"it lacks {', '.join(missing)}"
    if kind == "report" and not (isinstance(inner["epoch"], int) and isinstance(inner["metrics"], Mapping)):
        return "it has no epoch and metrics"
    if kind == "tell" and inner["state"] not in STATES:
        return f"{inner['state']!r} is none of {', '.join(STATES)}"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A journal's entries that follow on one another, and those that were left out."""

    events: list[Event]
    left_out: tuple[LeftOut, ...]


def contents_of(events: Iterable[Event], lifecycle: Lifecycle | None = None) -> Contents:
    """Sort a whole journal's entries. lifecycle: takes them in, to go on with."""
    life = Lifecycle() if lifecycle is None else lifecycle
    kept, left_out = [], []
    for event in events:
        problem = life.take(event)
        if problem is None:
            kept.append(event)
        else:
            left_out.append(problem)
    return Contents(events=kept, left_out=tuple(left_out))


def left_out_line(left_out: tuple[LeftOut, ...], shown: int = 3) -> str:
    """What the user reads of entries that were left out."""
    more = f"; and {len(left_out) - shown} more" if len(left_out) > shown else ""
    listed = "; ".join(map(str, left_out[:shown])) + more
    return f"left out {counted(len(left_out), 'entry')} that cannot follow on what came before ({listed})"
