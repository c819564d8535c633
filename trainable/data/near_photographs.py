"""Where no column names photographs: which one nearly does, and what keeps it from that."""

import re
from collections.abc import Mapping

import pandas as pd

from trainable.counts import counted
from trainable.data.class_folders import SUFFIXES
from trainable.data.column_facts import ColumnFacts
from trainable.shown import brief

_CALLED_SO = re.compile(r"image|img|photo|picture|file|path", re.IGNORECASE)
_LEAST_SHARE = 0.5
"""Of rows with the name of a photograph, above which the others look like a mistake."""


def near_photographs(rows: pd.DataFrame, columns: Mapping[str, ColumnFacts]) -> str:
    """What to do about the first such column, to be put behind a problem; empty where there is none.

    rows: texts, "" where there is no value.
    """
    names = [name for name in columns if name in rows.columns]
    for name in names:
        is_photograph = rows[name].str.lower().str.endswith(SUFFIXES)
        if _LEAST_SHARE < is_photograph.mean() < 1:
            row = int((~is_photograph).to_numpy().argmax())
            n = counted(int((~is_photograph).sum()), "row")
            return f"; {name} does, but for {n}: row {row} has {brief(rows[name].iloc[row])}"
    for name in names:
        facts = columns[name]
        if facts.kind == "text" and facts.n_values == len(rows) and _CALLED_SO.search(name):
            example = rows[name].iloc[0]
            return f"; if {name} names them, it must do so with their ending, such as {brief(f'{example}.jpg')}"
    return ""
