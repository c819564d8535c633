"""A task's columns as all readers deliver them: column names, split names, rows with their images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from trainable.data.image_sources import ImageFiles, TableImages
from trainable.data.task import Task
from trainable.errors import UserError

MAX_LINES = 20
"""Problems of one kind that are listed; the rest is counted."""

SPLIT_NAMES = {
    # the names that `datasets` knows (data_files.py); a test split is no part of a search, and stays unread
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
READ_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class SpecimenTable:
    """Rows as delivered: `split` ("train" or "validation"), the task's columns, and the images in the same order.

    Train rows come first. A row's number is its place in its split, from 0, as the hub's viewer counts. left_out: what
    of a folder was not read, in words.
    """

    rows: pd.DataFrame
    images: ImageFiles | TableImages
    left_out: str | None = None


def read_columns(task: Task) -> tuple[str, ...]:
    """What is read of a table beside the images: what must be there, and an id where there is one."""
    optional = () if task.columns.id is None else (task.columns.id,)
    return (*task.required_columns, *task.numbers, *optional)


def image_columns(task: Task) -> tuple[str, ...]:
    """What may hold the paths of photographs in a table of files, the first that is there."""
    return tuple(dict.fromkeys(("file_name", task.columns.image)))


def needed_columns(task: Task, *, to_learn: bool) -> tuple[str, ...]:
    """What must be there of a table beside the images; a model does without numbers that it has learnt to read."""
    return (*task.required_columns, *(task.numbers if to_learn else ()))


def make_table(
    source: str, tables: Sequence[pd.DataFrame], images: ImageFiles | TableImages, splits: Iterable[str], task: Task
) -> SpecimenTable:
    """Join the tables of all splits, train first; splits: those that the source claims to have.

    Raises: UserError for a split without rows.
    """
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"split": []})
    present = [split for split in READ_SPLITS if split in set(splits)]
    empty = [split for split in present or ["train"] if not (rows["split"] == split).any()]
    if empty:
        raise UserError([f"{source}: split {split} must have specimens, but is empty" for split in empty])
    return SpecimenTable(
        rows=rows[[name for name in ("split", *read_columns(task)) if name in rows.columns]], images=images
    )


def missing_columns(where: str, found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """The problem of columns that are not there, if any."""
    found = list(found)
    missing = [name for name in wanted if name not in found]
    return [f"{where}: column {', '.join(missing)} must be there, but has {', '.join(found)}"] if missing else []


def unknown_splits(source: str, splits: Iterable[str]) -> list[str]:
    """The problem of splits that are neither read nor known to be left unread, if any."""
    unknown = sorted(str(s) for s in splits if s not in SPLIT_NAMES.values())
    return [f"{source}: a split must be train, validation or test, but found {', '.join(unknown)}"] if unknown else []
