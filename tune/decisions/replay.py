"""Replays a journal against today's code: does every proposal and decision in it follow from what came before?"""

from collections.abc import Iterable

from tune.decisions.decisions import Decisions
from tune.decisions.sampler import Space
from tune.journal.entries import JournalEntry, RungDecided, StudyBegun, TrialAsked, TrialTold
from tune.journal.lines import as_read, kind_of


def differences(space: Space, entries: Iterable[JournalEntry]) -> list[str]:
    """One line for each ask, decision or tell of a whole journal that would come out differently now; empty if none.

    Another version of Optuna may propose differently; a journal is taken as it is all the same, never corrected.
    """
    first, *others = entries
    assert isinstance(first, StudyBegun)
    decisions = Decisions(space, first.header)
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
    """What followed from the state before; which trial it is about did not."""
    match entry:
        case TrialAsked():
            return {
                "origin": entry.origin,
                "exempt": entry.exempt,
                "values": entry.values,
                "config": entry.config,
                "seed": entry.seed,
            }
        case RungDecided():
            return {
                "epoch": entry.epoch,
                "action": entry.action,
                "rung": entry.rung,
                "value": entry.value,
                "cut": entry.cut,
                "n": entry.n,
                "reason": entry.reason,
            }
        case TrialTold():
            return {"state": entry.state, "value": entry.value, "epoch": entry.epoch, "reason": entry.reason}
    return {}
