"""How events are written down: one JSON object a line, exact in both directions.

Floats are written in Python's shortest exact form and read back bit-equal. JSON has no NaN or infinity: these are
`{"$float": "nan"}`, `{"$float": "inf"}` and `{"$float": "-inf"}`.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from trainable.errors import UserError

VERSION = 1
"""Of the log's format; a reader refuses lines of a higher one."""

Event = dict[str, Any]

EventWriter = Callable[..., Event]
"""`Journal.append`: takes the event's name and fields, returns it as a reader will see it."""


def encode_event(event: Event) -> bytes:
    """One line of the log, newline included."""
    try:
        text = json.dumps(event, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a float that JSON cannot say: rare, so looked for only now
        text = json.dumps(_tag_floats(event), allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def as_read(value: dict[str, Any]) -> dict[str, Any]:
    """Values as they come back from the log: tuples as lists, every key a string, floats untouched."""
    return read_back(encode_event(value))


def decode_event(line: bytes, *, where: str, seq: int | None = None) -> Event:
    """The event of one line; `seq` is the number it must have.

    Raises: UserError naming `where` if it is damaged, out of sequence, or of a newer version.
    """
    try:
        event = read_back(line)
        version, found = event["v"], event["seq"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"`every line but the last must be a whole event`, but {where} is not: {line[:60]!r}; "
            "restore the file from a copy, or delete this line and all after it to go on from there"
        ) from None
    if version > VERSION:
        raise UserError(
            f"`journal version <= {VERSION}` must hold, but {where} is of version {version}; "
            "it was written by a newer sentinel-tune: use that one"
        )
    if seq is not None and found != seq:
        raise UserError(f"`seq must count up by one`, but {where} has {found} where {seq} belongs; lines are missing")
    return event


def read_back(line: bytes) -> Event:
    """The event of one line, unchecked.

    Raises: ValueError if it is no event.
    """
    event = json.loads(line, object_hook=_untag_float) if b'"$float"' in line else json.loads(line)
    if not isinstance(event, dict):
        raise ValueError("not an event")
    return event


def _tag_floats(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(float(value))}
    if isinstance(value, dict):
        return {key: _tag_floats(child) for key, child in value.items()}
    return [_tag_floats(child) for child in value] if isinstance(value, list | tuple) else value


def _untag_float(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value
