"""What a look at all photographs found, in lines: formats, sizes, which cannot be read, which show nearly the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainable.counts import counted
from trainable.data.image_survey import ImageSurvey
from trainable.data.near_duplicates import MOST_BITS, N_BITS, first_twins
from trainable.shown import shown

ALONE = "photograph"
"""The word of a group where each photograph is its own."""

_SHOWN = 3


def image_facts(survey: ImageSurvey, names: Sequence[str], groups: Sequence[str], group: str) -> dict[str, str]:
    """Lines by what they are of. names: of all rows. groups: of all rows, what is held out as a whole; group: its word.

    The warnings among them say so.
    """
    facts = {}
    if len(survey.sizes):
        formats = ", ".join(f"{count} {name}" for name, count in survey.formats.items())
        facts["photographs"] = f"photographs: {formats}; {_sizes(survey.sizes)}"
    if survey.faults:
        each = [f"{names[row]}: {fault}" for row, fault in sorted(survey.faults.items())]
        facts["unreadable"] = (
            f"warning: {len(each)} of {counted(survey.n, 'photograph')} cannot be read: {_listed(each)}; mend them, or "
            "leave them out with --skip-bad-images"
        )
    readable = np.array([row for row in range(survey.n) if row not in survey.faults], dtype=np.int64)
    if line := _twins_line(survey, readable, names, [groups[row] for row in readable], group):
        facts["near duplicates"] = line
    return facts


def _sizes(sizes: NDArray[np.int64]) -> str:
    areas = sizes.prod(axis=1)
    smallest, middle, largest = (sizes[row] for row in np.argsort(areas, kind="stable")[[0, len(areas) // 2, -1]])
    if (smallest == largest).all():
        return "{} x {} pixels".format(*smallest)
    return "{} x {} to {} x {} pixels, the middle one {} x {}".format(*smallest, *largest, *middle)


def _twins_line(
    survey: ImageSurvey, readable: NDArray[np.int64], names: Sequence[str], groups: Sequence[str], group: str
) -> str:
    """Empty where no two show nearly the same. names: of all rows; groups: of the readable ones."""
    twins = first_twins(survey.hashes, groups)
    if not len(near := np.flatnonzero(twins >= 0)):
        return ""
    called = [names[row] for row in readable]
    called = [name if of == name else f"{name} of {of}" for name, of in zip(called, groups, strict=True)]
    each_once = [row for row in near if row < twins[row] or twins[twins[row]] != row]
    pairs = [f"{called[row]} and {called[twins[row]]}" for row in each_once]
    as_whom = "another" if group == ALONE else f"one of another {group}"
    return (
        f"warning: {len(near)} of {counted(len(readable), 'photograph')} look nearly the same as {as_whom} (perceptual "
        f"hashes differ in {MOST_BITS} of {N_BITS} bits at most): {_listed(pairs)}; held out with one of them is "
        "nothing new: name a column that holds both together, or leave one out"
    )


def _listed(items: Sequence[str]) -> str:
    return shown(", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else ""))
