"""Cells of a table that look like mistakes: one of them is enough to change what a column seems to be."""

import re
from collections.abc import Iterator, Sequence
from itertools import permutations

import pandas as pd

from trainable.counts import counted
from trainable.shown import brief

NO_VALUE = re.compile(r"n/?a|nan|none|null|-+|\?+", re.IGNORECASE)
"""What stands for no value in many a table."""

_MOST_VALUES = 1000
"""A column of more different texts is looked at no further: they are names of rows."""

_FEW_GROUPS = 0.1
"""Of groups that differ within themselves, as a share of all: more of them are no mistake (assumption)."""

_LEAST_GROUPS = 5


def odd_cells(rows: pd.DataFrame, columns: Sequence[str]) -> Iterator[str]:
    """A line a finding. rows: texts, "" where there is no value. columns: those with words, or with few numbers."""
    for name in rows.columns:
        odd = [value for value in rows[name].unique() if value and NO_VALUE.fullmatch(value)]
        if odd:
            n = int(rows[name].isin(odd).sum())
            yield f"{name}: {counted(n, 'cell')} with {', '.join(map(brief, odd))}, which may stand for no value"
    words = [name for name in columns if 2 <= rows[name].nunique() <= _MOST_VALUES]
    for name in words:
        yield from (f"{name}: {' and '.join(map(brief, found))} may be one value" for found in spellings(rows[name]))
    for group, name in permutations(words, 2):
        yield from _nearly_alike(rows, group, name)


def spellings(values: pd.Series) -> list[tuple[str, ...]]:
    """Values that differ in case and spaces alone, those of one value together."""
    found: dict[str, list[str]] = {}
    for value in values.unique():
        found.setdefault(" ".join(str(value).casefold().split()), []).append(str(value))
    return [tuple(sorted(same)) for same in found.values() if len(same) > 1]


def _nearly_alike(rows: pd.DataFrame, group: str, name: str) -> Iterator[str]:
    """Whether all groups but a few hold one value each."""
    n_values = rows.groupby(group)[name].nunique()
    n_values = n_values[rows[group].value_counts()[n_values.index] > 1]
    unlike = n_values.index[n_values > 1]
    if len(n_values) >= _LEAST_GROUPS and 0 < len(unlike) <= max(1.0, _FEW_GROUPS * len(n_values)):
        first = ", ".join(map(brief, sorted(rows.loc[rows[group] == unlike[0], name].unique())[:3]))
        yield (
            f"{name} is the same throughout each {group}, but for {len(unlike)} of {len(n_values)}: "
            f"{brief(unlike[0])} has {first}"
        )
