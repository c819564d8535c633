"""How entries are written down: one JSON object a line, exact in both directions, with a digest of itself.

    {"crc":"1c291ca3","v":1,"seq":7,"time":1764392414.5,"event":"tell",...}

The digest is of all that follows it on the line, so that a changed bit anywhere is noticed. Lines of older versions
have none and begin with `"v"`; they are read as they are.

Floats are written in Python's shortest exact form and read back bit-equal. JSON has no NaN or infinity: these are
`{"$float": "nan"}`, `{"$float": "inf"}` and `{"$float": "-inf"}`.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from trainable.errors import UserError
from trainable.failure import FailureKind
from trainable.plain_values import JsonObject, parse_json
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

VERSION = 1
"""Of the journal's format; a reader refuses lines of a higher one."""

OLD_START = b'{"v":'
"""How lines of older versions begin, which have no digest."""

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


def encode_entry(entry: JournalEntry) -> bytes:
    """One line of the journal, newline included."""
    rest = _plain({"v": VERSION, "seq": entry.seq, "time": entry.time, **_content(entry)})[1:]
    return b"%b%b\n" % (_digest(rest), rest)


def as_read(entry: Kind) -> Kind:
    """An entry as it comes back from the journal: tuples as lists, every key a string, floats untouched."""
    found = entry_of(_parsed(_plain({"seq": entry.seq, "time": entry.time, **_content(entry)})))
    assert isinstance(found, type(entry))
    return found


def plain_as_read(values: JsonObject) -> JsonObject:
    """Plain values as they come back from the journal."""
    return _parsed(_plain(values))


def decode_entry(line: bytes, *, where: str, seq: int | None = None) -> JournalEntry:
    """The entry of one line; `seq` is the number it must have.

    Raises: UserError naming `where` if it is damaged, out of sequence, or of a newer version.
    """
    try:
        values = _checked(line)
        version, found = values["v"], values["seq"]
        is_newer = version > VERSION
    except (ValueError, KeyError, TypeError) as error:
        what = "was changed since it was written" if isinstance(error, DigestError) else "is not"
        raise UserError(
            f"`every line but the last must be a whole entry`, but {where} {what}: {line[:60]!r}; "
            "restore the file from a copy, or delete this line and all after it to go on from there"
        ) from None
    if is_newer:
        raise UserError(
            f"`journal version <= {VERSION}` must hold, but {where} is of version {version}; "
            "it was written by a newer sentinel-tune: use that one"
        )
    if seq is not None and found != seq:
        raise UserError(f"`seq must count up by one`, but {where} has {found} where {seq} belongs; lines are missing")
    return entry_of(values)


def read_back(line: bytes) -> JournalEntry:
    """The entry of a line that was checked before."""
    return entry_of(_checked(line))


def entry_of(values: JsonObject) -> JournalEntry:
    """The entry that a line's values say; one that they cannot is an `UnusableEntry`. Uses `values` up."""
    values.pop("v", None)
    seq, time = values.pop("seq"), values.pop("time", None)
    if values.get("event") != _ENVELOPE:
        return _entry(values, _OF_STUDIES, seq=seq, time=time)
    if not isinstance(values.get("of"), dict):
        return _unusable(values, "it does not say what happened", seq=seq, time=time)
    of = _entry(values["of"], _OF_CONFIRMATIONS, seq=seq, time=time)
    match of:
        case UnusableEntry():
            return UnusableEntry(seq=seq, time=of.time, kind=f"{_ENVELOPE} {of.kind}", trial=of.trial, reason=of.reason)
        case PlanMade() | VerdictReached() | TrialEntry() | OtherEntry():
            return Confirming(seq=seq, time=time, of=of)
    raise AssertionError(f"a confirmation has no {of}")


def _entry(values: JsonObject, types: Mapping[str, type[JournalEntry]], *, seq: int, time: Any) -> JournalEntry:
    kind = values.pop("event", None)
    if (reason := _problem(kind, time)) is not None:
        return _unusable({**values, "event": kind}, reason, seq=seq, time=time)
    of = types.get(kind)
    if of is None or ("trial" not in values and kind in _OF_TRIALS and kind != "ask"):
        return OtherEntry(seq=seq, time=time, kind=kind, fields=values)
    if kind == "error":
        values["kind"] = _failure_kind(values.get("kind"))
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


def _content(entry: JournalEntry) -> JsonObject:
    """What a line says beyond number and time."""
    match entry:
        case OtherEntry():
            return {"event": entry.kind, **entry.fields}
        case Confirming():
            return {"event": _ENVELOPE, "of": _content(entry.of)}
    of = type(entry)
    optional = _LEFT_OUT_AS_NONE.get(of, ())
    found = {name: getattr(entry, name) for name in _WRITTEN[of]}
    return {"event": _KINDS[of]} | {n: value for n, value in found.items() if value is not None or n not in optional}


class DigestError(ValueError):
    """A line is not as it was written, as its digest says."""


def _checked(line: bytes) -> JsonObject:
    """The values of one line, without its digest, which is compared.

    Raises: ValueError if it is no entry; DigestError if it was changed.
    """
    if not line.startswith(_DIGEST_KEY):
        values = _parsed(line)
        if next(iter(values), None) != "v":  # neither a line of an older version nor a digest where it belongs
            raise DigestError
        return values
    rest = line[_DIGEST_LENGTH:].removesuffix(b"\n")
    if line[:_DIGEST_LENGTH] != _digest(rest):
        raise DigestError
    return _parsed(b"{" + rest)


def is_whole(line: bytes) -> bool:
    """Whether these bytes are the entry that they were written as, newline or not; of older versions, whether any."""
    try:
        _checked(line)
    except ValueError:
        return False
    return True


def is_unchanged(line: bytes) -> bool:
    """Whether a line, without its newline, is as it was written, as far as it can say so: older versions' cannot."""
    rest = line[_DIGEST_LENGTH:]
    return line.startswith(OLD_START) or line[:_DIGEST_LENGTH] == _digest(rest)


_DIGEST_KEY = b'{"crc":"'
_DIGEST_LENGTH = len(b'{"crc":"00000000",')


def _digest(rest: bytes) -> bytes:
    """How a line begins; CRC-32 finds every change of up to 32 bits in a row."""
    return b'{"crc":"%08x",' % zlib.crc32(rest)


def _plain(value: JsonObject) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a float that JSON cannot say: rare, so looked for only now
        text = json.dumps(_tag_floats(value), allow_nan=False, separators=(",", ":"))
    return text.encode()


def _parsed(text: bytes) -> JsonObject:
    values = parse_json(text, object_hook=_untag_float if b'"$float"' in text else None)
    if not isinstance(values, dict):
        raise ValueError("not an entry")
    return values


def _tag_floats(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(float(value))}
    if isinstance(value, dict):
        return {key: _tag_floats(child) for key, child in value.items()}
    return [_tag_floats(child) for child in value] if isinstance(value, list | tuple) else value


def _untag_float(value: JsonObject) -> float | JsonObject:
    return float(value["$float"]) if value.keys() == {"$float"} else value
