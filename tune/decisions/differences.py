"""Replays a journal against today's code: does every proposal and decision in it follow from what came before?"""

from collections.abc import Iterable
from dataclasses import fields

from tune.decisions.decisions import Decisions
from tune.decisions.sampler import Space
from tune.journal.entries import JournalEntry, RungDecided, TrialAsked, TrialTold, begun
from tune.journal.lines import as_read, kind_of

_NOT_DECIDED = ("seq", "time", "trial", "number", "fold")
"""What does not follow from the state before: when it was written, which trial it is about, whether it confirms."""


def differences(space: Space, entries: Iterable[JournalEntry]) -> list[str]:
    """One line for each ask, decision or tell of a whole journal that would come out differently now; empty if none.

    Another version of Optuna may propose differently; a journal is taken as it is all the same, never corrected.
    """
    study, others = begun(entries)
    decisions = Decisions(space, study.header)
    found = []
    for entry in others:
        if isinstance(entry, TrialAsked | RungDecided | TrialTold):
            found.extend(_differing(entry, decisions.foresee(entry)))
        decisions.apply(entry)
    return found


def _differing(entry: TrialAsked | RungDecided | TrialTold, expected: JournalEntry | None) -> list[str]:
    where = f"entry {entry.seq}, {kind_of(entry)} of {entry.trial}"
    if type(expected) is not type(entry):
        return [f"{where}: does not follow from what came before"]
    found, wanted = _decided(entry), _decided(as_read(expected))
    return [
        f"{where}: {name} is {found[name]!r}, but would be {value!r}"
        for name, value in wanted.items()
        if repr(found[name]) != repr(value)  # NaN is not equal to itself
    ]


def _decided(entry: JournalEntry) -> dict[str, object]:
    return {f.name: getattr(entry, f.name) for f in fields(entry) if f.name not in _NOT_DECIDED}
