"""Content that carries its own checksum, so that a flipped bit is named and never used.

Bytes end in a line that holds it, which readers of `.npy` and `.npz` pass over; a JSON object has a key for it. What
was written without one is read as it is.
"""

import hashlib
import json
from collections.abc import Mapping

from trainable.plain_values import JsonObject, parse_json

KEY = "checksum"
"""Of a JSON object: the hex sha256 of the rest of it."""

_MARK = b"\nsha256 "
_LINE_BYTES = len(_MARK) + 64 + 1


class AlteredContent(ValueError):
    """What is read is not what was written."""


def with_checksum(content: bytes) -> bytes:
    """The content and a last line that holds its sha256."""
    return content + _MARK + hashlib.sha256(content).hexdigest().encode() + b"\n"


def without_checksum(content: bytes) -> bytes:
    """Inverse of `with_checksum`; content without such a line is returned whole.

    Raises: AlteredContent.
    """
    rest, line = content[:-_LINE_BYTES], content[-_LINE_BYTES:]
    if not line.startswith(_MARK):
        return content
    _compare(line[len(_MARK) : -1].decode("ascii", "replace"), hashlib.sha256(rest).hexdigest())
    return rest


def checksum_of(values: Mapping[str, object]) -> str:
    """Hex sha256 of plain values, whatever their order."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def to_json(values: Mapping[str, object], *, indent: int | None = None) -> str:
    """A JSON object of the values and their checksum."""
    plain = json.loads(json.dumps(values))  # as it will be read: keys are texts, tuples lists
    return json.dumps(plain | {KEY: checksum_of(plain)}, indent=indent)


def from_json(text: str | bytes) -> JsonObject:
    """Inverse of `to_json`; an object without a checksum is returned as it is.

    Raises: AlteredContent; ValueError for what is no JSON object.
    """
    values = parse_json(text)
    if not isinstance(values, dict):
        raise ValueError(f"it must be a JSON object, but is a {type(values).__name__}")
    if (written := values.pop(KEY, None)) is not None:
        _compare(written, checksum_of(values))
    return values


def _compare(written: object, found: str) -> None:
    if written != found:
        raise AlteredContent(f"it was altered: its sha256 must be {written}, but is {found}")
