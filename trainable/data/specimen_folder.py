"""Specimens from a folder of image files with metadata.csv, .parquet or .jsonl, as `datasets` lays them out."""

import os
import re
from pathlib import Path, PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.counts import counted
from trainable.data.class_labels import with_class_names
from trainable.data.folder_walk import check_utf8
from trainable.data.image_sources import ImageFiles
from trainable.data.specimen_schema import (
    READ_SPLITS,
    SPLIT_NAMES,
    SpecimenTable,
    image_columns,
    make_table,
    missing_columns,
    needed_columns,
    read_columns,
    unknown_splits,
)
from trainable.data.table_files import arrow_frame, read_csv, read_json_lines, row_places
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.shown import brief

_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z]:[\\/]")
"""How the name of what is on the web, or on a drive of Windows, begins."""

METADATA = ("metadata.csv", "metadata.parquet", "metadata.jsonl")


def read_image_folder(folder: Path, task: Task, *, to_learn: bool = True) -> SpecimenTable:
    """Rows of metadata files in the folder or in its split folders, with paths relative to the metadata file.

    to_learn: as of `read_table`.
    """
    tables: list[pd.DataFrame] = []
    problems: list[str] = []
    for place in (folder, *split_folders(folder)):
        found = metadata_files(place)
        if len(found) > 1:
            problems.append(f"{place} must have one metadata file, but has {', '.join(p.name for p in found)}")
        for path in found[:1]:
            try:
                tables.append(_located(_read_metadata(path, task), path, folder, task, to_learn=to_learn))
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(problems)
    rows = pd.concat(tables, ignore_index=True)
    if unknown := unknown_splits(str(folder), rows["split"].unique()):
        raise UserError(unknown)
    ordered = [rows[rows["split"] == split] for split in READ_SPLITS]
    images = ImageFiles(tuple(str(path) for part in ordered for path in part["_image"]))
    own = [SPLIT_NAMES[place.name.lower()] for place in split_folders(folder) if metadata_files(place)]
    return make_table(str(folder), ordered, images, [*own, *rows["split"].unique()], task)


def split_folders(folder: Path) -> list[Path]:
    """Folders named like a split that is read, such as train and validation."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and SPLIT_NAMES.get(p.name.lower()) in READ_SPLITS)


def metadata_files(folder: Path) -> list[Path]:
    """The metadata files right in a folder."""
    return [folder / name for name in METADATA if (folder / name).is_file()]


def _read_metadata(path: Path, task: Task) -> pd.DataFrame:
    wanted = ("file_name", task.columns.image, "split", *read_columns(task))
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                table = file.read()
                return with_class_names(arrow_frame(table, wanted), table.schema, task)
        return read_json_lines(path) if path.suffix == ".jsonl" else read_csv(path, wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} must be readable, but: {error}") from error


def _located(rows: pd.DataFrame, metadata: Path, folder: Path, task: Task, *, to_learn: bool) -> pd.DataFrame:
    """Add each row's split and the path of its image."""
    image_names = image_columns(task)
    image_column = next((name for name in image_names if name in rows.columns), None)
    problems = missing_columns(str(metadata), rows.columns, needed_columns(task, to_learn=to_learn))
    if image_column is None:
        problems.append(
            f"{metadata}: column {' or '.join(image_names)} must be there, but has {', '.join(rows.columns)}"
        )
        raise UserError(problems)
    problems += _outside(rows[image_column], image_column, metadata, folder)
    if problems:
        raise UserError(problems)
    names = rows[image_column]
    paths = [str(metadata.parent / name) for name in names]
    check_utf8(paths)
    if "split" in rows.columns:
        split = rows["split"].astype(str).map(lambda s: SPLIT_NAMES.get(s.lower(), s))
    elif metadata.parent != folder:
        split = pd.Series(SPLIT_NAMES[metadata.parent.name.lower()], index=rows.index)
    else:  # as in `datasets`: the image's folder tells
        split = names.map(lambda name: SPLIT_NAMES.get(next(iter(PurePosixPath(name).parts), "").lower(), "train"))
    return rows.assign(split=split, _image=paths)


def _outside(names: pd.Series, column: str, metadata: Path, folder: Path) -> list[str]:
    """The problem of names that lead out of the folder, if any do."""
    outside = [(row, name) for row, name in enumerate(names) if not _is_inside(name, metadata.parent, folder)]
    if not outside:
        return []
    (row, name), n_more = outside[0], len(outside) - 1
    also = f", and so it is in {counted(n_more, 'more row')}" if n_more else ""
    is_elsewhere = isinstance(name, str) and _ELSEWHERE.match(name)
    remedy = "; bring the photographs there, and name their files" if is_elsewhere else ""
    place = row_places(metadata, len(names))[row]
    return [f"{metadata}: {place}: {column} must be a path inside {folder}, but is {brief(name)}{also}{remedy}"]


def _is_inside(name: object, place: Path, folder: Path) -> bool:
    if not isinstance(name, str) or not name or _ELSEWHERE.match(name):
        return False
    return Path(os.path.normpath(place / name)).is_relative_to(os.path.normpath(folder))
