"""Whether specimens can be learnt from: typed values, labels in bounds, events of one place, readable images."""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.config import NO_DOMAIN, NO_NAME
from trainable.counts import counted
from trainable.data.class_labels import class_labels, note_bad_classes
from trainable.data.specimen_schema import MAX_LINES
from trainable.data.task import Task
from trainable.data.task_parts import ClassTarget, RealTarget
from trainable.data.task_source import FRAME_COLUMNS
from trainable.shown import brief, cut

LABEL_TOLERANCE = 0.005
"""How far a label in standard units may lie outside of its bounds: the challenge's published ones have two decimals."""

LARGEST_NUMBER = 1e30
"""Of numbers known when predicting: what says "no data" in a map, -3.4e38, is none."""

_LARGEST_FLOAT = int(sys.float_info.max)

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_MOST_DIGITS = 18  # of 2**63, less one

_OF_A_ROW = re.compile(r"(?P<row>\w+ row \d+): (?P<problem>.*)", re.DOTALL)
_ROWS_NAMED = 3  # of those that share a problem

_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")


class Problems:
    """Problems by kind, in the order found."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, line: str) -> None:
        """Note one problem; kind groups those that are cut to `MAX_LINES` together."""
        self._kinds.setdefault(kind, []).append(line)

    def lines(self) -> list[str]:
        """All problems, of rows with the same one a line together, each kind cut to its first `MAX_LINES` and a count
        of the rest.
        """
        found: list[str] = []
        for kind, each in self._kinds.items():
            lines = _together(each)
            found += lines[:MAX_LINES]
            if len(lines) > MAX_LINES:
                found.append(f"and {len(lines) - MAX_LINES} more: {kind}")
        return found


def _together(lines: Sequence[str]) -> list[str]:
    """What several rows have word for word, once: "train row 3, train row 5 and 4 more rows: ..."."""
    rows_of: dict[str, list[str]] = {}
    for line in lines:
        found = _OF_A_ROW.fullmatch(line)
        problem, rows = (line, []) if found is None else (found["problem"], [found["row"]])
        rows_of.setdefault(problem, []).extend(rows)
    return [_of_rows(problem, rows) for problem, rows in rows_of.items()]


def _of_rows(problem: str, rows: Sequence[str]) -> str:
    named, n_more = ", ".join(rows[:_ROWS_NAMED]), len(rows) - _ROWS_NAMED
    more = f" and {counted(n_more, 'more row')}" if n_more > 0 else ""
    return f"{named}{more}: {problem}" if rows else problem


def typed_frame(rows: pd.DataFrame, task: Task, problems: Problems) -> pd.DataFrame:
    """`Specimens.frame` of rows in the task's columns; what cannot be typed is noted, and NaN, -1 or "" in the frame.

    Without a column of events each row is its own; without one of sites the event is; without one of domains all are
    `NO_DOMAIN`. A number that is not known, or whose column is absent, is NaN.
    """
    names = row_names(rows)
    rows = _plain_cells(rows, names, problems)
    frame = pd.DataFrame({"split": rows["split"].astype(str)})
    columns, typed = task.columns, _integers if task.is_beetles else _groups
    frame["event_id"], frame["domain_id"] = np.arange(len(rows), dtype=np.int64), NO_DOMAIN
    for column, source in (("event_id", columns.event), ("domain_id", columns.domain)):
        if source is not None:
            frame[column] = typed(rows[source], source, names, problems)
    as_sites = frame["event_id"].astype(str)
    frame["site_id"] = as_sites if columns.site is None else _given(rows[columns.site], names, problems)
    frame["date"] = "" if columns.date is None else _given(rows[columns.date], names, problems)
    named = _strings(rows[task.covariates[0]]) if task.covariates else pd.Series("", index=rows.index)
    frame["species"] = named.where(named != "", NO_NAME)  # an insect that nobody could identify is no mistake
    given = _strings(rows[columns.id]) if columns.id in rows.columns else pd.Series("", index=rows.index)
    frame["specimen_id"] = given.where(given != "", pd.Series(names, index=rows.index).str.replace(" row ", "-"))
    for target, column in zip(task.targets, task.label_columns, strict=True):
        typed_labels = class_labels if isinstance(target, ClassTarget) else _labels
        frame[column] = typed_labels(rows[target.column], target, names, problems)  # type: ignore[arg-type]
    absent = pd.Series(np.nan, index=rows.index)
    for column, source in zip(task.number_columns, task.numbers, strict=True):
        frame[column] = number_values(rows.get(source, absent), source, names, problems)
    return frame[[*FRAME_COLUMNS, *task.label_columns, *task.number_columns]]


def note_no_numbers(frame: pd.DataFrame, task: Task, problems: Problems) -> None:
    """Note columns of numbers, which are to be learnt from, that have none at all, or the same one everywhere."""
    for column, source in zip(task.number_columns, task.numbers, strict=True):
        found = frame[column].dropna().unique()
        if not len(found):
            problems.add("no numbers", f"column {source} must have a number in some rows, but has none in any")
        elif len(found) == 1:
            rule = f"column {source} must have different numbers, or no part in `numbers`"
            problems.add("one number", f"{rule}, but has {found[0]:g} alone")


def row_names(rows: pd.DataFrame) -> list[str]:
    """ "train row 0", ...: a row's number in its split."""
    numbers = rows.groupby("split").cumcount()
    return [f"{split} row {number}" for split, number in zip(rows["split"], numbers, strict=True)]


def note_bad_events(frame: pd.DataFrame, task: Task, problems: Problems, *, to_learn: bool = True) -> None:
    """Note events of several sites or labels, sites of several domains, and of what is to be learnt targets that never
    differ.

    An event of several dates passes: traps are left out for days, and nothing here depends on it.
    """
    names = row_names(frame)
    targets = list(task.label_columns)
    has_event, has_domain = _is_given(frame["event_id"]), _is_given(frame["domain_id"])
    known = frame[has_event & (frame["site_id"] != "")]
    _check_one(known, "event_id", "site_id", "event {} must be of one site, but is of {}", names, problems)
    of_domain = frame[has_domain & (frame["site_id"] != "")]
    _check_one(of_domain, "site_id", "domain_id", "site {} must be in one domain, but is in {}", names, problems)
    labelled = frame[has_event & frame[targets].notna().all(axis=1)]
    values = [tuple(triple) for triple in labelled[targets].to_numpy()]
    triples = labelled.assign(labels=pd.Series(values, index=labelled.index, dtype=object))
    rule = f"event {{}} must have one label each for {', '.join(task.names)}, but has {{}}"
    _check_one(triples, "event_id", "labels", rule, names, problems)
    for target in task.targets:
        if isinstance(target, ClassTarget):
            note_bad_classes(frame["label"], target, problems, to_learn=to_learn)
            continue
        same = frame[target.name].dropna().unique()
        if to_learn and len(same) == 1 and not target.is_standard:
            problems.add("one value", f"`{target.name}` must have two values at least, but is {same[0]:g} everywhere")


def note_bad_images(
    frame: pd.DataFrame, faults: Mapping[int, str], where: Callable[[int], str], problems: Problems
) -> None:
    """Note unreadable images. faults: row -> what is wrong with it. where: row -> the file it lies in."""
    names = row_names(frame)
    for row, fault in sorted(faults.items()):
        found = (
            f"{names[row]} ({frame['specimen_id'].iloc[row]}): the image must be readable, but {where(row)}: {fault}"
        )
        problems.add("images unreadable", found)
    if faults:
        remedy = "mend unreadable images and the names of missing ones, or leave them out with --skip-bad-images"
        problems.add("remedy", remedy)


def _check_one(frame: pd.DataFrame, of: str, value: str, rule: str, names: list[str], problems: Problems) -> None:
    """Note each group that has several values, with the first row of each value."""
    firsts = frame[[of, value]].drop_duplicates()
    for key, group in firsts[firsts.duplicated(of, keep=False)].groupby(of):
        several = list(zip(group.index.to_numpy(np.int64), group[value], strict=True))
        found = ", ".join(f"{_shown(v)} ({names[row]})" for row, v in several[:5])
        problems.add(rule.format("...", "several"), rule.format(key, found))


def _plain_cells(rows: pd.DataFrame, names: list[str], problems: Problems) -> pd.DataFrame:
    """The same with a missing value for each cell that holds several, which is noted."""
    for column in [name for name in rows.columns if pd.api.types.is_object_dtype(rows[name])]:
        has_several = rows[column].map(lambda cell: isinstance(cell, list | dict | tuple | np.ndarray))
        for row in np.flatnonzero(has_several):
            kind = "a table" if isinstance(rows[column].iloc[row], dict) else "a list"
            problems.add(f"{column} no single value", f"{names[row]}: {column} must be one value, but is {kind}")
        if has_several.any():
            rows = rows.assign(**{column: rows[column].where(~has_several, None)})
    return rows


def _integers(values: pd.Series, source: str, names: list[str], problems: Problems) -> NDArray[np.int64]:
    found = [_integer(value) for value in values]
    for row, number in enumerate(found):
        if number is None:
            problems.add(
                f"{source} is no number",
                f"{names[row]}: {source} must be an integer of 0 or more, but is {_shown(values.iloc[row])}",
            )
    return np.array([-1 if number is None else number for number in found], dtype=np.int64)


def _groups(values: pd.Series, _: str, names: list[str], problems: Problems) -> "NDArray[np.int64] | pd.Series":
    """Numbers where all are whole ones, as they are written; else text."""
    texts = _given(values, names, problems)
    if all(_WHOLE.fullmatch(text) for text in texts if text):
        return np.array([int(text) if text else -1 for text in texts], dtype=np.int64)
    return texts


def _given(values: pd.Series, names: list[str], problems: Problems) -> pd.Series:
    """As `_strings`; none may be missing."""
    texts = _strings(values)
    for row in np.flatnonzero(texts == ""):
        rule = f"{names[row]}: {values.name} must be given, but is {_shown(values.iloc[row])}"
        problems.add(f"{values.name} missing", rule)
    return texts


def _is_given(ids: pd.Series) -> "pd.Series[bool]":
    return ids >= 0 if pd.api.types.is_integer_dtype(ids) else ids != ""


def _integer(value: object) -> int | None:
    """The integer from 0 to 2**63 - 1 that a cell holds; None for a float so large that it was rounded."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        number = int(value)
    elif isinstance(value, float | np.floating):
        number = int(value) if float(value).is_integer() else -1
        if number >= 2**53:
            return None
    elif (text := str(value).strip()).isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        number = int(text)
    else:
        if not _NUMBER.fullmatch(text) or Decimal(text).adjusted() > _MOST_DIGITS or Decimal(text) % 1 != 0:
            return None
        number = int(Decimal(text))
    return number if 0 <= number < 2**63 else None


def _strings(values: pd.Series) -> pd.Series:
    """Text without surrounding blanks, "" where missing; dates as 2019-07-31, whole floats beside integers as these."""
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_timedelta64_dtype(values):
        values = values.astype(object)  # else a missing one stays, as "NaT"
    if values.dtype == object and any(isinstance(value, int) for value in values):
        whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
        values = pd.Series(whole, index=values.index, dtype=object)
    return values.where(values.notna(), "").astype(str).str.strip()


def _as_numbers(values: pd.Series) -> NDArray[np.float64]:
    """NaN for what is none: also of dates and durations, which pandas would count, and of integers beyond any float."""
    types = pd.api.types
    if types.is_datetime64_any_dtype(values) or types.is_timedelta64_dtype(values):
        values = _strings(values)
    if values.dtype == object:
        values = values.map(lambda value: math.nan if isinstance(value, int) and abs(value) > _LARGEST_FLOAT else value)
    found = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return _nearest(values.to_numpy(dtype=object), found)


def _nearest(cells: NDArray[np.object_], numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers that texts stand for: of some pandas 2 takes a neighbour, and the data would have another fingerprint."""
    nearest = numbers.copy()
    for row in np.flatnonzero(np.isfinite(numbers)).tolist():
        if isinstance(cells[row], str):
            with suppress(ValueError):  # of what pandas alone reads
                nearest[row] = float(cells[row])
    return nearest


def _labels(values: pd.Series, target: RealTarget, names: list[str], problems: Problems) -> NDArray[np.float64]:
    numbers = _as_numbers(values)
    tolerance = LABEL_TOLERANCE if target.is_standard else 0.0
    is_good = np.isfinite(numbers)
    with np.errstate(invalid="ignore"):
        if target.low is not None:
            is_good &= numbers >= target.low - tolerance
        if target.high is not None:
            is_good &= numbers <= target.high + tolerance
    for row in np.flatnonzero(~is_good):
        rule = f"{names[row]}: {_rule(target)}, but got {_shown(values.iloc[row])}"
        problems.add(f"{target.column} out of range", rule)
    return np.where(is_good, numbers, np.nan)


def number_values(values: pd.Series, source: str, names: list[str], problems: Problems) -> NDArray[np.float64]:
    """Of a column that is known when predicting; NaN for an empty cell, and for what is no number, which is noted."""
    texts = _strings(values)
    numbers = _as_numbers(values)
    is_good = np.abs(numbers) <= LARGEST_NUMBER  # NaN is not
    for row in np.flatnonzero(~is_good & (texts != "")):
        rule = f"{source} must be a number within {LARGEST_NUMBER:g}, or an empty cell where it is not known"
        problems.add(f"{source} is no number", f"{names[row]}: {rule}, but got {_shown(values.iloc[row])}")
    return np.where(is_good, numbers, np.nan)


def _rule(target: RealTarget) -> str:
    low = "" if target.low is None else f"{target.low} <= "
    high = "" if target.high is None else f" <= {target.high}"
    return f"`{low}{target.column}{high}` must hold" if low or high else f"{target.column} must be a finite number"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(v if isinstance(v, str) else f"{v:g}" for v in value)
    return brief(value) if isinstance(value, str) else cut(str(value), longest=80)
