"""Entries of a journal as the plain values of their lines: what is on the disk, by the names that it has there."""

import json
from collections.abc import Iterable
from typing import Any

from trainable.storage.place import Place
from tune.journal.entries import JournalEntry
from tune.journal.journal import read_entries
from tune.journal.line_text import plain_as_read
from tune.journal.lines import encode_entry, entry_of

Plain = dict[str, Any]


def make_entry(kind: str, /, *, seq: int = 0, time: float = 0.0, **fields: Any) -> JournalEntry:
    """The entry of a line with these fields."""
    return entry_of(plain_as_read({"seq": seq, "time": time, "event": kind, **fields}))


def entries_of(lines: Iterable[Plain]) -> list[JournalEntry]:
    return [entry_of(plain_as_read(dict(line))) for line in lines]


def plain(written: JournalEntry) -> Plain:
    """The values of its line, without the digest."""
    values: Plain = json.loads(encode_entry(written), object_hook=_untagged)
    del values["crc"]
    return values


def read_plain(folder: Place) -> list[Plain]:
    """A study's journal."""
    return [plain(written) for written in read_entries(folder)]


def _untagged(value: Plain) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def encoded(values: Plain) -> bytes:
    """The line of an entry with these values."""
    return encode_entry(entry_of(plain_as_read(dict(values))))
