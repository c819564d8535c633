"""What a study was given, for the verbs that come after its search."""

from collections.abc import Iterable
from typing import Any

from tune.journal.entries import JournalEntry, SessionBegun, StudyBegun


def kept_options(entries: Iterable[JournalEntry]) -> dict[str, Any]:
    """The study's options as its latest session had them, plain values by name."""
    kept: dict[str, Any] = {}
    for entry in entries:
        match entry:
            case StudyBegun():
                kept = dict(entry.header["options"])
            case SessionBegun():
                kept |= entry.given
    return kept
