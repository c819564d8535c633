"""Numbers that are known of photographs in files, from a table that names these."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.counts import counted
from trainable.data.specimen_checks import Problems, number_values
from trainable.data.specimen_schema import image_columns, missing_columns
from trainable.data.table_files import arrow_frame, read_csv, read_json_lines, row_places
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.shown import brief

SUFFIXES = (".csv", ".parquet", ".jsonl")


def read_numbers(
    table: Path, files: Sequence[Path], names: Sequence[str], task: Task
) -> tuple[list[dict[str, float]], tuple[str, ...]]:
    """Of each file what the table says, by name, NaN where it is not known; and lines on what it lacks.

    table: paths in `file_name`, or in what the task calls its photographs, are relative to it. names: of the numbers.
    Raises: UserError with every problem of the table.
    """
    rows, image = _rows(table, names, task)
    problems = Problems()
    found_at = row_places(table, len(rows))
    of_row = [f"{table}: {place}" for place in found_at]
    present = [name for name in names if name in rows.columns]
    values = np.full((len(rows), len(names)), np.nan)
    for index, name in enumerate(names):
        if name in present:
            values[:, index] = number_values(rows[name], name, of_row, problems)
    places: dict[str, int] = {}
    for row, path in enumerate(rows[image]):
        if not isinstance(path, str) or not path:
            problems.add("no path", f"{of_row[row]}: {image} must be the path of a photograph, but is {brief(path)}")
        elif (first := places.setdefault(os.path.abspath(table.parent / path), row)) != row:
            problems.add(
                "twice", f"{of_row[row]}: {image} must name each photograph once, but {found_at[first]} has {path} too"
            )
    if lines := problems.lines():
        raise UserError(lines)
    found = [places.get(os.path.abspath(file)) for file in files]
    of_rows = [dict(zip(names, each, strict=True)) for each in values.tolist()]
    if files and found.count(None) == len(files):
        named = next(iter(places), "none")
        raise UserError(
            f"{table} must name photographs by their paths beside it, but names none of the {len(files)} given: it has "
            f"{named}, and {os.path.abspath(files[0])} was looked for"
        )
    known = [dict.fromkeys(names, np.nan) if row is None else of_rows[row] for row in found]
    empty = {name: sum(row is not None and np.isnan(of_rows[row][name]) for row in found) for name in present}
    absent = [name for name in names if name not in present]
    return known, tuple(_lacking(table, absent, empty, found.count(None), len(files)))


def _rows(table: Path, names: Sequence[str], task: Task) -> tuple[pd.DataFrame, str]:
    """The table, and its column of photographs."""
    if table.suffix not in SUFFIXES or not table.is_file():
        there = "" if table.exists() else ", which is not there"
        raise UserError(f"`--numbers` must be a table ({', '.join(SUFFIXES)}), but got {table}{there}")
    images = image_columns(task)
    try:
        if table.suffix == ".parquet":
            rows = arrow_frame(pq.read_table(table), (*images, *names))
        else:
            rows = read_json_lines(table) if table.suffix == ".jsonl" else read_csv(table, (*images, *names))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{table} must be readable, but: {error}") from error
    image = next((name for name in images if name in rows.columns), None)
    if image is None:
        raise UserError(missing_columns(str(table), rows.columns, [" or ".join(images)]))
    return rows, image


def _lacking(
    table: Path, absent: Sequence[str], empty: Mapping[str, int], n_without: int, n_files: int
) -> Iterator[str]:
    if absent:
        yield f"{table} has no column {', '.join(absent)}: taken for missing"
    if cells := [f"{name} of {n}" for name, n in empty.items() if n]:
        yield f"{table} has empty cells for {', '.join(cells)} of {n_files}: taken for missing"
    if n_without:
        they, their = ("is", "its") if n_without == 1 else ("are", "their")
        which = f"{counted(n_without, 'photograph')} of {n_files} {they} not in {table}"
        yield f"{which}: {their} numbers are taken for missing"
