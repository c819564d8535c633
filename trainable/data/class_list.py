"""The classes that a task file lists, or `auto` for those that the data have."""

import math
from collections.abc import Iterator

from trainable.data.task_parts import class_name
from trainable.shown import brief

MOST_CLASSES = 500
"""More would rather want a name embedded than a row of the head each; forecasts of events are kept class by class."""

AUTO = "auto"

_RULE = f"`classes` must be {AUTO}, or a list of 2 to {MOST_CLASSES} names"


def listed_classes(value: object) -> tuple[str, ...] | None:
    """The names in their order; None for `auto`, and for what is wrong."""
    if not isinstance(value, list) or any(list_problems(value)):
        return None
    return tuple(map(class_name, value))


def list_problems(value: object) -> Iterator[str]:
    """What is wrong with the value of `classes`, a line each."""
    if value == AUTO:
        return
    if not isinstance(value, list):
        yield f"{_RULE}, but got {brief(value)}"
        return
    if not 2 <= len(value) <= MOST_CLASSES:
        yield f"{_RULE}, but has {len(value)}"
    wrong = [name for name in value if not _is_name(name)]
    if wrong:
        yield f"each of `classes` must be a text, a number or true or false, but got {', '.join(map(brief, wrong[:5]))}"
    names = [class_name(name) for name in value if _is_name(name)]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        yield f"`classes` must name each once, but {', '.join(map(brief, twice[:5]))} stands twice"


def _is_name(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) or (isinstance(value, str) and bool(value.strip()))
