"""The dataset: checked, typed specimens from the Hugging Face hub, a local folder, or the built-in demo.

A *specimen* is one photograph (of a beetle, in the challenge); an *event* is specimens that share their labels (all
that one trap site caught at one date); a *domain* is a region with one or more sites.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.data.class_labels import class_indices, classes_of
from trainable.data.copies import copies_line, first_rows, shared_ids_line
from trainable.data.demo import DEMO_VERSION, N_SPECIMENS, TABLE_VERSION, draw_demo
from trainable.data.image_checks import ImageChecks, check_images, scaled_line
from trainable.data.image_sources import ImageSource, SomeImages
from trainable.data.rare_classes import rare_class_lines
from trainable.data.specimen_checks import (
    Problems,
    note_bad_events,
    note_bad_images,
    note_no_numbers,
    row_names,
    typed_frame,
)
from trainable.data.specimen_schema import SpecimenTable
from trainable.data.specimen_tables import read_table
from trainable.data.task import Task, beetles
from trainable.data.telling_covariate import telling_line
from trainable.errors import UserError
from trainable.shown import brief

__all__ = ["ImageSource", "Specimens", "load_specimens"]


@dataclass(frozen=True, eq=False)
class Specimens:
    """All specimens of a dataset that can be learnt from, train rows first.

    frame: RangeIndex; split ("train" or "validation"), event_id and domain_id (int64, or text where a column has
    words), site_id, species (the covariate), date, specimen_id (text), and the task's targets (float64, within their
    bounds), or "label" (the name of a class), and `number_columns` (float64, NaN where missing). images: encoded, in
    the frame's order.
    fingerprint: hex sha256 of all rows and image bytes, in order: equal data have it equal, wherever they lie.
    images_fingerprint: of the images alone.
    n_dropped: specimens left out for their images. source: what was asked for. n_duplicates: specimens left out since
    an earlier one has the same photograph. digests: hex sha256 of each image's bytes. names: "train row 3" for each,
    as the source counts. notes: what a user must hear of the data, a line each. task: with its classes, if it has any.
    """

    frame: pd.DataFrame
    images: ImageSource
    fingerprint: str
    n_dropped: int
    source: str
    n_duplicates: int = 0
    digests: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    task: Task = field(default_factory=beetles)
    images_fingerprint: str = ""

    @property
    def features_fingerprint(self) -> str:
        """What features of the images are kept under: other labels, or another task, need no other features.

        Those of the challenge are kept under all of their rows, as they always were.
        """
        return self.fingerprint if self.task.is_beetles else self.images_fingerprint

    @property
    def labels(self) -> NDArray[np.float64]:
        """Of every specimen, [n, targets]; of a class its index."""
        if self.task.has_classes:
            return class_indices(self.frame["label"], self.task.classes)
        return self.frame[list(self.task.names)].to_numpy(np.float64)

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """What is known of every specimen when predicting, [n, numbers], NaN where missing; None of a task without."""
        return self.frame[list(self.task.number_columns)].to_numpy(np.float64) if self.task.numbers else None

    def ids(self, column: str) -> NDArray[np.int64] | NDArray[np.str_]:
        """A column of groups or names, [n]: numbers as int64, all else as text."""
        values = self.frame[column]
        if pd.api.types.is_integer_dtype(values):
            return values.to_numpy(np.int64)
        return values.to_numpy(str)


def load_specimens(
    data: str,
    *,
    cache_dir: Path,
    task: Task | None = None,
    skip_bad_images: bool = False,
    drop_duplicates: bool = False,
    to_learn: bool = True,
    n_processes: int,
    progress: Callable[[int, int], None] | None = None,
) -> Specimens:
    """Read and check a dataset with the columns of a task; images stay encoded.

    data: "demo", "demo:N" for N specimens, "demo:N:K" for those of world K (else 0), "hf://OWNER/NAME" (whatever
    `datasets.load_dataset` takes), or a folder of parquet shards as the hub delivers them, or of images with
    metadata.csv, .parquet or .jsonl. Splits named test are not read.
    task: the challenge's, that of imageomics/sentinel-beetles, where none is given.
    cache_dir: for the demo, converted hub tables, and what checking images found.
    skip_bad_images: leave out unreadable images. drop_duplicates: of rows with the same image, byte for byte, keep the
    first. to_learn: whether targets must differ and numbers be there, and what makes them hard to learn is noted.
    n_processes: cores to check images on. progress: called with (images checked, images in all).

    Raises: UserError listing every problem with split, row and value: columns, empty splits, values, events, images.
    """
    task = task or beetles()
    table = read_table(_demo_folder(data, cache_dir) or data, cache_dir=cache_dir, task=task, to_learn=to_learn)
    problems = Problems()
    frame = typed_frame(table.rows, task, problems)
    note_bad_events(frame, task, problems, to_learn=to_learn)
    if to_learn:
        note_no_numbers(frame, task, problems)
    checks = check_images(
        table.images, n_threads=n_processes, cache_dir=cache_dir / "checked-images", progress=progress
    )
    if not skip_bad_images:
        note_bad_images(frame, checks.faults, table.images.where, problems)
    if lines := problems.lines():
        raise UserError(lines)
    return _kept(table, frame, checks, task, source=data, drop_duplicates=drop_duplicates, to_learn=to_learn)


def _demo_folder(data: str, cache_dir: Path) -> str | None:
    """The folder of the demo data, drawn on first use; None for any other data."""
    name, *numbers = data.split(":")
    if name != "demo":
        return None
    if len(numbers) > 2 or not all(number.isdecimal() and len(number) < 10 for number in numbers):
        raise UserError(
            "--data demo:N must name the number of specimens, such as demo:300, and demo:N:K the world that they are "
            f"of, such as demo:300:7, but got {brief(data)}"
        )
    n_specimens, world = (*map(int, numbers), *(N_SPECIMENS, 0)[len(numbers) :])
    folder = cache_dir / f"demo-{DEMO_VERSION}.{TABLE_VERSION}-{n_specimens}-{world}"
    if not os.path.lexists(folder):
        try:
            draw_demo(folder, n_specimens=n_specimens, seed=world)
        except UserError:
            if not os.path.lexists(folder):  # else another process drew the same meanwhile
                raise
    return str(folder)


def _kept(
    table: SpecimenTable,
    frame: pd.DataFrame,
    checks: ImageChecks,
    task: Task,
    *,
    source: str,
    drop_duplicates: bool,
    to_learn: bool,
) -> Specimens:
    readable = [row for row in range(len(frame)) if row not in checks.faults]
    keep = np.array(readable, dtype=np.int64)
    if drop_duplicates:
        keep = keep[first_rows([checks.digests[row] for row in keep]) == np.arange(len(keep))]
    kept = frame.iloc[keep].reset_index(drop=True)
    if emptied := sorted(set(frame["split"]) - set(kept["split"])):
        what = "images that are readable and not in train too" if drop_duplicates else "readable images"
        raise UserError([f"{source}: split {split} must have {what}, but has none" for split in emptied])
    if task.has_classes:
        task = task.with_classes(classes_of(frame["label"]))
    digests = tuple(checks.digests[row] for row in keep)
    all_names = row_names(frame)
    names = tuple(all_names[row] for row in keep)
    scaled = [int(row) in checks.scaled for row in keep]
    # their pixels are others than before values were scaled, and features of then are not theirs
    pixels = [f"{d} scaled" if s else d for d, s in zip(digests, scaled, strict=True)]
    return Specimens(
        frame=kept,
        images=SomeImages(table.images, keep) if len(keep) < len(frame) else table.images,
        fingerprint=_fingerprint(kept, pixels),
        images_fingerprint=hashlib.sha256(json.dumps(pixels).encode()).hexdigest(),
        n_dropped=len(frame) - len(readable),
        source=source,
        n_duplicates=len(readable) - len(keep),
        digests=digests,
        names=names,
        notes=_notes(table, kept, digests, names, task, n_scaled=sum(scaled), to_learn=to_learn),
        task=task,
    )


def _notes(
    table: SpecimenTable,
    frame: pd.DataFrame,
    digests: Sequence[str],
    names: Sequence[str],
    task: Task,
    *,
    n_scaled: int,
    to_learn: bool,
) -> tuple[str, ...]:
    copies, ids = copies_line(frame, digests, names, task.label_columns), shared_ids_line(frame["specimen_id"])
    telling = telling_line(frame, task) if to_learn else None
    absent = [name for name in task.numbers if name not in table.rows.columns]
    lines = (
        table.left_out,
        scaled_line(n_scaled) if n_scaled else None,
        copies and f"warning: {copies}",
        ids and f"warning: {ids}",
        telling and f"warning: {telling}",
        f"the table has no column {', '.join(absent)}: taken for missing" if absent else None,
        *(f"warning: {line}" for line in (rare_class_lines(frame, task) if to_learn else ())),
    )
    return tuple(line for line in lines if line)


def _fingerprint(frame: pd.DataFrame, digests: list[str]) -> str:
    total = hashlib.sha256(json.dumps(list(frame.columns)).encode())
    for row, digest in zip(frame.itertuples(index=False, name=None), digests, strict=True):
        total.update(json.dumps([*row, digest]).encode())
    return total.hexdigest()
