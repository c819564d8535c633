"""Replays a journal against today's code: does every proposal and decision in it follow from what came before?"""

from collections.abc import Iterable
from typing import Any

from tune.decisions.decisions import Decisions
from tune.decisions.sampler import Space
from tune.journal.events import Event, as_read


def differences(space: Space, events: Iterable[Event]) -> list[str]:
    """One line for each ask, decision or tell of a whole journal that would come out differently now; empty if none.

    Another version of Optuna may propose differently; a journal is taken as it is all the same, never corrected.
    """
    first, *others = events
    decisions = Decisions(space, first["header"])
    found = []
    for event in others:
        expected = decisions.foresee(event)
        if expected is not None:
            found.extend(_differing(event, as_read(expected)))
        decisions.apply(event)
    return found


def _differing(event: Event, expected: dict[str, Any]) -> list[str]:
    where = f"event {event['seq']}, {event['event']} of {event['trial']}"
    if not expected:
        return [f"{where}: does not follow from what came before"]
    return [
        f"{where}: {name} is {event[name]!r}, but would be {value!r}"
        for name, value in expected.items()
        if repr(event[name]) != repr(value)  # NaN is not equal to itself
    ]
