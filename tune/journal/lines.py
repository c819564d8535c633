"""How each kind of entry is a line of the journal, and back. `line_text.py` has what a line looks like.

A line says the lowest version of the format that can say it, so that an older sentinel-tune reads what it can.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from trainable.errors import UserError
from trainable.failure import FailureKind
from trainable.plain_values import JsonObject
from tune.journal.entries import (
    STATES,
    CheckpointWritten,
    Confirming,
    EpochReported,
    FloorsMeasured,
    JournalEntry,
    Kind,
    OtherEntry,
    PlanMade,
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
    UnusableEntry,
    VerdictReached,
)
from tune.journal.line_text import DigestError, is_stamped, line_of, plain_as_read, values_of
from tune.journal.metric_names import MetricNames

VERSION = 2
"""Of the journal's format; a reader refuses lines of a higher one. Version 2 names metrics once."""

_OF_TRIALS: dict[str, type[TrialEntry]] = {
    "ask": TrialAsked,
    "checkpoint": CheckpointWritten,
    "report": EpochReported,
    "decision": RungDecided,
    "error": TrialRaised,
    "retry": TrialRetried,
    "pause": TrialPaused,
    "tell": TrialTold,
}
_OF_STUDIES: dict[str, type[JournalEntry]] = {
    "study": StudyBegun,
    "session": SessionBegun,
    "floors": FloorsMeasured,
    "end": SessionEnded,
    "enqueue": TrialEnqueued,
    "stop": StopRequested,
    "stop_trial": TrialStopped,
    **_OF_TRIALS,
}
_OF_CONFIRMATIONS: dict[str, type[JournalEntry]] = {"plan": PlanMade, "verdict": VerdictReached, **_OF_TRIALS}
"""What a line says under "event" -> the type."""

_ENVELOPE = "confirm"
_KINDS = {of: kind for kind, of in (_OF_STUDIES | _OF_CONFIRMATIONS).items()} | {Confirming: _ENVELOPE}

_STAMP = ("seq", "time")
_WRITTEN = {of: tuple(f.name for f in fields(of) if f.name not in _STAMP) for of in _KINDS}
_NEEDED = {
    of: tuple(f.name for f in fields(of) if f.default is MISSING and f.default_factory is MISSING) for of in _KINDS
}
_LEFT_OUT_AS_NONE = {
    TrialAsked: {"seed", "fold"},
    SessionBegun: {"n_trials", "executor", "device", "precision", "host", "pid", "versions"},
}
"""Fields that are not written when they are None; the others are null then."""


def kind_of(entry: JournalEntry) -> str:
    """What its line says under "event"."""
    return entry.kind if isinstance(entry, OtherEntry | UnusableEntry) else _KINDS[type(entry)]


def encode_entry(entry: JournalEntry, names: MetricNames | None = None) -> bytes:
    """One line of the journal, newline included. names: of its metrics, as far as they are written."""
    report = entry.of if isinstance(entry, Confirming) else entry
    like = names.like(report.metrics) if names is not None and isinstance(report, EpochReported) else None
    version = 1 if like is None else 2
    return line_of({"v": version, "seq": entry.seq, "time": entry.time, **_content(entry, like)})


def as_read(entry: Kind) -> Kind:
    """An entry as it comes back from the journal: tuples as lists, every key a string, floats untouched."""
    found = entry_of(plain_as_read({"seq": entry.seq, "time": entry.time, **_content(entry)}))
    assert isinstance(found, type(entry))
    return found


def decoded(
    lines: Iterable[bytes],
    *,
    where: Callable[[int], str],
    first: int = 0,
    known: Iterable[JournalEntry] = (),
) -> Iterator[JournalEntry]:
    """The entries of a journal's lines, in order.

    where: names the line of an entry. first: number of the first entry. known: entries that were read from the same
    journal before; of a line that is whole and of the same number and time they are taken.
    Raises: UserError if a line is damaged, out of sequence, or of a newer version.
    """
    names, read_before = MetricNames(), {entry.seq: entry for entry in known}
    for seq, line in enumerate(lines, first):
        if (before := read_before.get(seq)) is not None and is_stamped(line, seq, before.time):
            names.note(before)
            yield before
            continue
        values = _checked(line, where, seq)
        names_metrics = values["v"] == 1
        entry = entry_of(values, names)
        if names_metrics:
            names.note(entry)
        yield entry


def _checked(line: bytes, where: Callable[[int], str], seq: int) -> JsonObject:
    try:
        values = values_of(line)
        version, found = values["v"], values["seq"]
        is_newer = version > VERSION
    except (ValueError, KeyError, TypeError) as error:
        what = "is none"
        if isinstance(error, DigestError):
            what = "was changed since it was written, by hand or by a fault of the disk (its checksum differs)"
        raise UserError(
            f"`each line of a journal must be an entry as it was written`, but {where(seq)} {what}: {line[:60]!r}; "
            f"{_mend(seq)}"
        ) from None
    if is_newer:
        raise UserError(
            f"`journal version <= {VERSION}` must hold, but {where(seq)} is of version {version}; "
            "it was written by a newer sentinel-tune: use that one"
        )
    if found != seq:
        raise UserError(
            f"`the entries of a journal must be numbered without a gap`, but {where(seq)} has the number {found} where "
            f"{seq} belongs, so lines were lost, doubled or moved; {_mend(seq)}"
        )
    return values


def _mend(seq: int) -> str:
    """What a user may do about a journal that is whole before entry seq."""
    if not seq:
        return "restore the journal from a copy; without one, begin a new study in another folder"
    return (
        "restore the journal from a copy; without one, delete this line and all after it, and resume: "
        "what came before is kept, what came after is done anew"
    )


def read_back(line: bytes, names: MetricNames | None = None) -> JournalEntry:
    """The entry of a line that was checked before. names: of metrics, as the lines before have them."""
    return entry_of(values_of(line), names)


def entry_of(values: JsonObject, names: MetricNames | None = None) -> JournalEntry:
    """The entry that a line's values say; one that they cannot is an `UnusableEntry`. Uses `values` up."""
    values.pop("v", None)
    seq, time = values.pop("seq"), values.pop("time", None)
    if values.get("event") != _ENVELOPE:
        return _entry(values, _OF_STUDIES, names, seq=seq, time=time)
    if not isinstance(values.get("of"), dict):
        return _unusable(values, "it does not say what happened", seq=seq, time=time)
    of = _entry(values["of"], _OF_CONFIRMATIONS, names, seq=seq, time=time)
    match of:
        case UnusableEntry():
            return UnusableEntry(seq=seq, time=of.time, kind=f"{_ENVELOPE} {of.kind}", trial=of.trial, reason=of.reason)
        case PlanMade() | VerdictReached() | TrialEntry() | OtherEntry():
            return Confirming(seq=seq, time=time, of=of)
    raise AssertionError(f"a confirmation has no {of}")


def _entry(
    values: JsonObject, types: Mapping[str, type[JournalEntry]], names: MetricNames | None, *, seq: int, time: Any
) -> JournalEntry:
    kind = values.pop("event", None)
    if (reason := _problem(kind, time)) is not None:
        return _unusable({**values, "event": kind}, reason, seq=seq, time=time)
    of = types.get(kind)
    if of is None or ("trial" not in values and kind in _OF_TRIALS and kind != "ask"):
        return OtherEntry(seq=seq, time=time, kind=kind, fields=values)
    if kind == "error":
        values["kind"] = _failure_kind(values.get("kind"))
    elif kind == "report" and "like" in values:
        like = values.pop("like")
        values["metrics"] = (names or MetricNames()).metrics(like, values.pop("values", None))
        if values["metrics"] is None:
            return _unusable({**values, "event": kind}, f"entry {like} has no such metrics", seq=seq, time=time)
    try:
        entry = of(seq=seq, time=time, **values)
    except TypeError:  # it lacks fields, or has more: of those nothing here follows
        if missing := _missing(of, values):
            return _unusable({**values, "event": kind}, missing, seq=seq, time=time)
        entry = of(seq=seq, time=time, **{name: values[name] for name in _WRITTEN[of] if name in values})
    reason = _impossible(entry)
    return entry if reason is None else _unusable({**values, "event": kind}, reason, seq=seq, time=time)


def _problem(kind: object, time: object) -> str | None:
    if not isinstance(kind, str) or kind == _ENVELOPE:
        return "it does not say what happened"
    if isinstance(time, bool) or not isinstance(time, int | float):
        return "it does not say when"
    return None


def _missing(of: type[JournalEntry], values: Mapping[str, object]) -> str | None:
    missing = [name for name in _NEEDED[of] if name not in values]
    if "trial" in missing:
        return "it names no trial"
    return f"it lacks {', '.join(missing)}" if missing else None


def _impossible(entry: JournalEntry) -> str | None:
    match entry:
        case EpochReported() if not (isinstance(entry.epoch, int) and isinstance(entry.metrics, dict)):
            return "it has no epoch and metrics"
        case TrialTold() if entry.state not in STATES:
            return f"{entry.state!r} is none of {', '.join(STATES)}"
    return None


def _unusable(values: Mapping[str, object], reason: str, *, seq: int, time: object) -> UnusableEntry:
    trial = values.get("trial")
    return UnusableEntry(
        seq=seq,
        time=time if isinstance(time, int | float) and not isinstance(time, bool) else 0.0,
        kind=str(values.get("event")),
        trial=None if trial is None else str(trial),
        reason=reason,
    )


def _failure_kind(text: object) -> FailureKind:
    """Kinds that only another version knows blame nobody."""
    return next((kind for kind in FailureKind if kind == text), FailureKind.ERROR)


def _content(entry: JournalEntry, like: int | None = None) -> JsonObject:
    """What a line says beyond number and time. like: the entry that has the names of a report's metrics."""
    match entry:
        case OtherEntry():
            return {"event": entry.kind, **entry.fields}
        case Confirming():
            return {"event": _ENVELOPE, "of": _content(entry.of, like)}
        case EpochReported() if like is not None:
            values = [*entry.metrics.values()]
            return {"event": "report", "trial": entry.trial, "epoch": entry.epoch, "like": like, "values": values}
    of = type(entry)
    optional = _LEFT_OUT_AS_NONE.get(of, ())
    found = {name: getattr(entry, name) for name in _WRITTEN[of]}
    return {"event": _KINDS[of]} | {n: value for n, value in found.items() if value is not None or n not in optional}
