"""What a study was given, for the verbs that come after its search."""

from collections.abc import Iterable

from trainable.frozen.model_folder import name_now
from trainable.plain_values import JsonObject
from tune.journal.entries import JournalEntry, SessionBegun, StudyBegun


def kept_options(entries: Iterable[JournalEntry]) -> JsonObject:
    """The study's options as its latest session had them, plain values by name."""
    kept: JsonObject = {}
    header: JsonObject = {}
    for entry in entries:
        match entry:
            case StudyBegun():
                kept, header = dict(entry.header["options"]), entry.header
            case SessionBegun():
                kept |= entry.given
    return in_names_of_now(kept, header)


def given_options(entries: Iterable[JournalEntry]) -> JsonObject:
    """Of `kept_options` those that a user gave, at the study's begin or later, and the seed."""
    past = list(entries)
    names = dict.fromkeys(name for entry in past for name in _given(entry))
    kept = kept_options(past)
    return {name: kept[name] for name in (*names, "seed") if name in kept}


def _given(entry: JournalEntry) -> tuple[str, ...]:
    match entry:
        case StudyBegun():
            return tuple(entry.header.get("given", ()))
        case SessionBegun():
            return tuple(entry.given)
    return ()


def in_names_of_now(options: JsonObject, header: JsonObject) -> JsonObject:
    """A study's options as one of now would have them: its backbone's name, one fold, a training
    for each and no patience where that was all there was.

    header: the study's.
    """
    of_before: JsonObject = {
        "search_folds": 1, "train_each_fold": True, "variants_in_full": True, "patience": header.get("patience", 0),
    }  # fmt: skip
    named = options | {name: value for name, value in of_before.items() if options.get(name) is None}
    if (backbone := options.get("backbone")) is not None:
        named["backbone"] = name_now(backbone, header["backbone_fingerprint"])
    return named
