"""What a study was given, for the verbs that come after its search."""

from collections.abc import Iterable, Mapping
from typing import Any

from trainable.frozen.model_folder import name_now
from tune.journal.entries import JournalEntry, SessionBegun, StudyBegun


def kept_options(entries: Iterable[JournalEntry]) -> dict[str, Any]:
    """The study's options as its latest session had them, plain values by name."""
    kept: dict[str, Any] = {}
    header: Mapping[str, Any] = {}
    for entry in entries:
        match entry:
            case StudyBegun():
                kept, header = dict(entry.header["options"]), entry.header
            case SessionBegun():
                kept |= entry.given
    return in_names_of_now(kept, header)


def in_names_of_now(options: Mapping[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    """A study's options with its backbone called what it is called now; header: the study's."""
    named = dict(options)
    if (backbone := options.get("backbone")) is not None:
        named["backbone"] = name_now(backbone, header["backbone_fingerprint"])
    return named
