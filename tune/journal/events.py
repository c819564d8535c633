"""How events are written down: one JSON object a line, exact in both directions, with a digest of itself.

    {"crc":"1c291ca3","v":1,"seq":7,"time":1764392414.5,"event":"tell",...}

The digest is of all that follows it on the line, so that a changed bit anywhere is noticed. Lines of older versions
have none and begin with `"v"`; they are read as they are.

Floats are written in Python's shortest exact form and read back bit-equal. JSON has no NaN or infinity: these are
`{"$float": "nan"}`, `{"$float": "inf"}` and `{"$float": "-inf"}`.
"""

import json
import math
import zlib
from collections.abc import Callable
from typing import Any

from trainable.errors import UserError
from trainable.plain_values import parse_json

VERSION = 1
"""Of the log's format; a reader refuses lines of a higher one."""

Event = dict[str, Any]

OLD_START = b'{"v":'
"""How lines of older versions begin, which have no digest."""

EventWriter = Callable[..., Event]
"""`Journal.append`: takes the event's name, `apply` and fields, returns it as a reader will see it.

Whoever's state it changes is `apply`; that hears of it before anybody else does.
"""


def encode_event(event: Event) -> bytes:
    """One line of the log, newline included."""
    rest = _plain(event)[1:]
    return b"%b%b\n" % (_digest(rest), rest)


def as_read(value: dict[str, Any]) -> dict[str, Any]:
    """Values as they come back from the log: tuples as lists, every key a string, floats untouched."""
    return _parsed(_plain(value))


def decode_event(line: bytes, *, where: str, seq: int | None = None) -> Event:
    """The event of one line; `seq` is the number it must have.

    Raises: UserError naming `where` if it is damaged, out of sequence, or of a newer version.
    """
    try:
        event = read_back(line)
        version, found = event["v"], event["seq"]
        is_newer = version > VERSION
    except (ValueError, KeyError, TypeError) as error:
        what = "was changed since it was written" if isinstance(error, DigestError) else "is not"
        raise UserError(
            f"`every line but the last must be a whole event`, but {where} {what}: {line[:60]!r}; "
            "restore the file from a copy, or delete this line and all after it to go on from there"
        ) from None
    if is_newer:
        raise UserError(
            f"`journal version <= {VERSION}` must hold, but {where} is of version {version}; "
            "it was written by a newer sentinel-tune: use that one"
        )
    if seq is not None and found != seq:
        raise UserError(f"`seq must count up by one`, but {where} has {found} where {seq} belongs; lines are missing")
    return event


class DigestError(ValueError):
    """A line is not as it was written, as its digest says."""


def read_back(line: bytes) -> Event:
    """The event of one line, without its digest, which is compared.

    Raises: ValueError if it is no event; DigestError if it was changed.
    """
    if not line.startswith(_DIGEST_KEY):
        event = _parsed(line)
        if next(iter(event), None) != "v":  # neither a line of an older version nor a digest where it belongs
            raise DigestError
        return event
    rest = line[_DIGEST_LENGTH:].removesuffix(b"\n")
    if line[:_DIGEST_LENGTH] != _digest(rest):
        raise DigestError
    return _parsed(b"{" + rest)


def is_whole(line: bytes) -> bool:
    """Whether these bytes are the event that they were written as, newline or not; of older versions, whether any."""
    try:
        read_back(line)
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


def _plain(value: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:  # a float that JSON cannot say: rare, so looked for only now
        text = json.dumps(_tag_floats(value), allow_nan=False, separators=(",", ":"))
    return text.encode()


def _parsed(text: bytes) -> Event:
    event = parse_json(text, object_hook=_untag_float if b'"$float"' in text else None)
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
