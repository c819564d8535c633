"""A line of a journal as text: one JSON object, exact in both directions, with a digest of itself.

    {"crc":"1c291ca3","v":1,"seq":7,"time":1764392414.5,"event":"tell",...}

The digest is of all that follows it on the line, so that a changed bit anywhere is noticed. Lines of older versions
have none and begin with `"v"`; they are read as they are.

Floats are written in Python's shortest exact form and read back bit-equal. JSON has no NaN or infinity: these are
`{"$float": "nan"}`, `{"$float": "inf"}` and `{"$float": "-inf"}`.
"""

import json
import math
import zlib

from trainable.plain_values import JsonObject, parse_json

OLD_START = b'{"v":'
"""How lines of older versions begin, which have no digest."""

_DIGEST_KEY = b'{"crc":"'
_DIGEST_LENGTH = len(b'{"crc":"00000000",')
_STAMP_AT = len(b'{"crc":"00000000","v":1,')


class DigestError(ValueError):
    """A line is not as it was written, as its digest says."""


def line_of(values: JsonObject) -> bytes:
    """One line of the journal, newline included; `values` begin with the version."""
    rest = _plain(values)[1:]
    return b"%b%b\n" % (_digest(rest), rest)


def values_of(line: bytes) -> JsonObject:
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


def plain_as_read(values: JsonObject) -> JsonObject:
    """Plain values as they come back from the journal: tuples as lists, every key a string, floats untouched."""
    return _parsed(_plain(values))


def is_whole(line: bytes) -> bool:
    """Whether these bytes are the entry that they were written as, newline or not; of older versions, whether any."""
    try:
        values_of(line)
    except ValueError:
        return False
    return True


def is_unchanged(line: bytes) -> bool:
    """Whether a line, without its newline, is as it was written, as far as it can say so: older versions' cannot."""
    rest = line[_DIGEST_LENGTH:]
    return line.startswith(OLD_START) or line[:_DIGEST_LENGTH] == _digest(rest)


def is_stamped(line: bytes, seq: int, time: float) -> bool:
    """Whether a line is as it was written, and says this number and time; older versions' cannot say the former."""
    stamp = b'"seq":%d,"time":%s,' % (seq, repr(time).encode())
    return line[_STAMP_AT:].startswith(stamp) and line[:_DIGEST_LENGTH] == _digest(line[_DIGEST_LENGTH:-1])


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
