"""Photographs in folders that are called as their class, with no table: `FOLDER/Acer/1.jpg`, `FOLDER/train/Acer/1.jpg`.

Their table is made of their paths: `file_name`, `label` (the folder that a photograph lies in), and `folder` (what lies
around that one, such as a place) where there is any.
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from trainable.data.folder_walk import check_utf8, find_files
from trainable.data.image_sources import ImageFiles
from trainable.data.specimen_schema import (
    READ_SPLITS,
    SPLIT_NAMES,
    SpecimenTable,
    make_table,
    missing_columns,
    needed_columns,
)
from trainable.data.task import Task
from trainable.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Of photographs' names."""


def class_folder_rows(folder: Path) -> pd.DataFrame | None:
    """A row a photograph, with its `split`; None where fewer than two folders right above photographs are found, or a
    table lies beside them, which will say what they are.

    Photographs of a split that is not read, such as test, are left out.
    Raises: UserError for paths that are no text in UTF-8.
    """
    if other_tables(folder):
        return None
    files, _ = find_files(folder, lambda name: name.lower().endswith(SUFFIXES))
    paths = [PurePosixPath(file.relative_to(folder).as_posix()) for file in files]
    rows = [row for path in paths if (row := _row(path)) is not None]
    if len({row["label"] for row in rows}) < 2:
        return None
    check_utf8(files)
    frame = pd.DataFrame(rows, dtype=object)
    return frame if (frame["folder"] != "").any() else frame.drop(columns="folder")


def other_tables(folder: Path) -> list[str]:
    """Names of files right in a folder that seem to be tables."""
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".json"))


def read_class_folders(folder: Path, rows: pd.DataFrame, task: Task, *, to_learn: bool = True) -> SpecimenTable:
    """The photographs of `class_folder_rows` in the columns of a task.

    to_learn: as of `read_table`.
    Raises: UserError for a task with other columns.
    """
    needed = [task.columns.image, *needed_columns(task, to_learn=to_learn)]
    if problems := missing_columns(str(folder), rows.columns, needed):
        raise UserError(f"{problem} (of folders called as classes are)" for problem in problems)
    ordered = [rows[rows["split"] == split] for split in READ_SPLITS]
    images = ImageFiles(tuple(str(folder / name) for part in ordered for name in part["file_name"]))
    return make_table(str(folder), ordered, images, rows["split"].unique(), task)


def _row(path: PurePosixPath) -> dict[str, str] | None:
    around = list(path.parts[:-1])
    named = SPLIT_NAMES.get(around[0].lower()) if len(around) > 1 else None
    if named is not None:
        around = around[1:]
    if not around or named not in (None, *READ_SPLITS):
        return None
    return {
        "file_name": path.as_posix(),
        "label": around[-1],
        "folder": "/".join(around[:-1]),
        "split": named or "train",
    }
