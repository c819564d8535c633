"""Specimens from tables with embedded images: the Hugging Face hub, or a folder of its parquet shards."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainable.data.class_folders import class_folder_rows, read_class_folders
from trainable.data.class_labels import with_class_names
from trainable.data.folder_walk import check_utf8, find_files
from trainable.data.hub_name import HUB, hub_parts, not_loaded
from trainable.data.image_sources import Chunk, TableImages
from trainable.data.specimen_folder import METADATA, metadata_files, read_image_folder, split_folders
from trainable.data.specimen_schema import (
    READ_SPLITS,
    SPLIT_NAMES,
    SpecimenTable,
    make_table,
    missing_columns,
    needed_columns,
    read_columns,
    unknown_splits,
)
from trainable.data.table_files import arrow_frame, check_once, stored_ranges
from trainable.data.task import Task
from trainable.errors import UserError


def read_table(data: str, *, cache_dir: Path, task: Task, to_learn: bool = True) -> SpecimenTable:
    """Read the columns of a task from `hf://OWNER/NAME` or a folder; images are only located.

    to_learn: whether the task's numbers must be there.

    Raises: UserError for what is not there, cannot be read, lacks columns or has an empty split.
    """
    if data.startswith(HUB):
        return _read_hub(data, cache_dir, task, to_learn=to_learn)
    folder = Path(os.path.expanduser(data))
    if not folder.is_dir():
        raise UserError(f"--data must be `demo`, `hf://OWNER/NAME` or a folder, but there is no folder {data}")
    if any(metadata_files(place) for place in (folder, *split_folders(folder))):
        return read_image_folder(folder, task, to_learn=to_learn)
    shards, left_out = find_files(folder, lambda name: name.endswith(".parquet"))
    line = left_out.line(folder, "parquet file", with_others=False)
    check_utf8(shards)
    if shards:
        return replace(_read_shards(folder, shards, task, to_learn=to_learn), left_out=line)
    if (rows := class_folder_rows(folder)) is not None:
        return read_class_folders(folder, rows, task, to_learn=to_learn)
    raise UserError(
        f"a data folder must hold parquet shards (such as data/train-00000-of-00002.parquet) or images with one of "
        f"{', '.join(METADATA)}, but {folder} has neither{f' ({line})' if line else ''}"
    )


def _read_hub(data: str, cache_dir: Path, task: Task, *, to_learn: bool) -> SpecimenTable:
    """Download through `datasets`, which turns any dataset it can load into Arrow files; they are read from there."""
    import datasets

    name, config = hub_parts(data)
    try:
        # converted tables go to our cache folder, downloads to the hub's own cache, where other tools find them
        loaded = datasets.load_dataset(name, config, cache_dir=str(cache_dir / "datasets"), keep_in_memory=False)
    except Exception as error:  # network, access, format
        raise not_loaded(data, error) from error
    files: dict[str, list[str]] = {}
    for split, dataset in loaded.items():
        files.setdefault(SPLIT_NAMES.get(split, split), []).extend(file["filename"] for file in dataset.cache_files)
    return _read_tables(data, files, _arrow_schema, _arrow_rows, task, to_learn=to_learn, follow_paths=True)


def _read_shards(folder: Path, shards: Sequence[Path], task: Task, *, to_learn: bool) -> SpecimenTable:
    files: dict[str, list[str]] = {}
    named = {path: _split_of(path.relative_to(folder)) for path in shards}
    for path, split in named.items():
        # as in `datasets`: files that name no split are train, if none does
        files.setdefault(split or (path.name if any(named.values()) else "train"), []).append(str(path))
    if problems := _missing_shards(shards):
        raise UserError(problems)
    return _read_tables(str(folder), files, pq.read_schema, _parquet_rows, task, to_learn=to_learn, follow_paths=False)


def _split_of(path: Path) -> str | None:
    """The split that a shard's name (train-00000-of-00029.parquet) or folder (train/0.parquet) tells."""
    for word in (re.split(r"[-_.]", path.name)[0], *reversed(path.parts[:-1])):
        if word.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[word.lower()]
    return None


def _missing_shards(shards: Iterable[Path]) -> list[str]:
    """Gaps in numbered shards: an interrupted download."""
    found: dict[tuple[Path, str, int], set[int]] = {}
    for path in shards:
        if match := re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})(?:-\w+)?\.parquet", path.name):
            found.setdefault((path.parent, match[1], int(match[3])), set()).add(int(match[2]))
    return [
        f"{parent}: all {count} shards of {stem!r} must be there, but number "
        f"{', '.join(map(str, sorted(missing)[:10]))} is not ({len(missing)} missing); finish the download"
        for (parent, stem, count), numbers in found.items()
        if (missing := set(range(count)) - numbers)
    ]


def _read_tables(
    source: str,
    files: dict[str, list[str]],
    read_schema: Callable[[str], pa.Schema],
    read_rows: Callable[[str, list[str]], tuple[pa.Table, list[Chunk]]],
    task: Task,
    *,
    to_learn: bool,
    follow_paths: bool,
) -> SpecimenTable:
    problems, wanted = unknown_splits(source, files), read_columns(task)
    tables, chunks = [], []
    for split in READ_SPLITS:
        for path in files.get(split, []):
            try:
                problems += (found := _schema_problems(path, read_schema(path), task, to_learn=to_learn))
                if not found:
                    rows, parts = read_rows(path, list(wanted))
                    named = with_class_names(arrow_frame(rows, wanted), rows.schema, task)
                    tables.append(named.assign(split=split))
                    chunks += parts
            except (pa.ArrowException, OSError) as error:
                problems.append(
                    f"{path} must be readable, but: {error}; fetch it again (a git-lfs pointer is not the data)"
                )
    if problems:
        raise UserError(problems)
    return make_table(source, tables, TableImages(chunks, task.columns.image, follow_paths=follow_paths), files, task)


def _schema_problems(path: str, schema: pa.Schema, task: Task, *, to_learn: bool) -> list[str]:
    image = task.columns.image
    needed = [image, *needed_columns(task, to_learn=to_learn)]
    problems = missing_columns(path, [*schema.names, *stored_ranges(schema)], needed)
    try:
        check_once(schema.names, [image, *read_columns(task)])
    except ValueError as error:
        return [*problems, f"{path}: {error}"]
    if image in schema.names:
        type_ = schema.field(image).type
        if not (pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0):
            problems.append(f"{path}: column {image} must hold images as struct{{bytes, path}}, but is {type_}")
    return problems


def _parquet_rows(path: str, columns: list[str]) -> tuple[pa.Table, list[Chunk]]:
    with pq.ParquetFile(path) as file:
        groups = file.metadata
        chunks = [Chunk(path, index, groups.row_group(index).num_rows) for index in range(groups.num_row_groups)]
        return file.read(columns=[name for name in columns if name in file.schema_arrow.names]), chunks


def _arrow_schema(path: str) -> pa.Schema:
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        return stream.schema


def _arrow_rows(path: str, columns: list[str]) -> tuple[pa.Table, list[Chunk]]:
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        batches = list(stream)
        table = pa.Table.from_batches(batches, schema=stream.schema)
        chunks = [Chunk(path, index, batch.num_rows) for index, batch in enumerate(batches)]
        return table.select([name for name in columns if name in table.column_names]), chunks
