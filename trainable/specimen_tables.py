"""Where specimens come from: the Hugging Face hub, a folder of parquet shards, or a folder of images with metadata.

Each reader gives the rows as they stand, in the hub's column names; `specimen_checks.py` types and checks them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.config import TARGETS
from trainable.errors import UserError
from trainable.image_sources import Chunk, ImageFiles, TableImages

IMAGE_COLUMN = "file_path"
REQUIRED = (*TARGETS, "eventID", "domainID", "siteID", "scientificName", "collectDate")
OPTIONAL = ("public_id",)

_SPLITS = {
    # the names that `datasets` knows (data_files.py); a test split has no labels to learn from or to score, and stays unread
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_READ_SPLITS = ("train", "validation")
_METADATA = ("metadata.csv", "metadata.parquet", "metadata.jsonl")
_HF = "hf://"


@dataclass(frozen=True)
class SpecimenTable:
    """Rows as delivered: `split` ("train" or "validation"), the hub's columns, and the images in the same order.

    Train rows come first. A row's number is its place in its split, from 0, as the hub's viewer counts.
    """

    rows: pd.DataFrame
    images: ImageFiles | TableImages


def read_table(data: str, *, cache_dir: Path) -> SpecimenTable:
    """Read the metadata of `hf://OWNER/NAME` or a folder; images are only located.

    Raises: UserError for what is not there, cannot be read, lacks columns or has an empty split.
    """
    if data.startswith(_HF):
        return _read_hub(data, cache_dir)
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"--data must be `demo`, `hf://OWNER/NAME` or a folder, but there is no folder {data}"
        )
    if any(_metadata_files(place) for place in (folder, *_split_folders(folder))):
        return _read_image_folder(folder)
    if shards := sorted(p for p in folder.rglob("*.parquet") if not _is_hidden(p.relative_to(folder))):
        return _read_shards(folder, shards)
    raise UserError(
        f"a data folder must hold parquet shards (such as data/train-00000-of-00002.parquet) or images with one of "
        f"{', '.join(_METADATA)}, but {folder} has neither"
    )


# --- tables with embedded images ------------------------------------------------------------------------------------------


def _read_hub(data: str, cache_dir: Path) -> SpecimenTable:
    """Download through `datasets`, which turns any dataset it can load into Arrow files; they are read from there."""
    import datasets

    name = data.removeprefix(_HF)
    try:
        # converted tables go to our cache folder, downloads to the hub's own cache, where other tools find them
        loaded = datasets.load_dataset(name, cache_dir=str(cache_dir / "datasets"), keep_in_memory=False)
    except Exception as error:  # network, access, format: `datasets` raises many types, all with the reason in the text
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{data} must be a dataset that `datasets.load_dataset` can load, but it failed: {reason}; check the name, the "
            "network and, for a private dataset, `hf auth login`"
        ) from error
    files: dict[str, list[str]] = {}
    for split, dataset in loaded.items():
        files.setdefault(_SPLITS.get(split, split), []).extend(file["filename"] for file in dataset.cache_files)
    return _read_tables(data, files, _arrow_schema, _arrow_rows, follow_paths=True)


def _read_shards(folder: Path, shards: Sequence[Path]) -> SpecimenTable:
    files: dict[str, list[str]] = {}
    named = {path: _split_of(path.relative_to(folder)) for path in shards}
    for path, split in named.items():
        # as in `datasets`: files that name no split are train, if none does
        files.setdefault(split or (path.name if any(named.values()) else "train"), []).append(str(path))
    if problems := _missing_shards(shards):
        raise UserError(problems)
    return _read_tables(str(folder), files, pq.read_schema, _parquet_rows, follow_paths=False)


def _split_of(path: Path) -> str | None:
    """The split that a shard's name (train-00000-of-00029.parquet) or folder (train/0.parquet) tells."""
    for word in (re.split(r"[-_.]", path.name)[0], *reversed(path.parts[:-1])):
        if word.lower() in _SPLITS:
            return _SPLITS[word.lower()]
    return None


def _missing_shards(shards: Iterable[Path]) -> list[str]:
    """Gaps in numbered shards: an interrupted download."""
    found: dict[tuple[Path, str, int], set[int]] = {}
    for path in shards:
        if match := re.fullmatch(r"(.+)-(\d{5})-of-(\d{5})(?:-\w+)?\.parquet", path.name):
            found.setdefault((path.parent, match[1], int(match[3])), set()).add(int(match[2]))
    return [
        f"{parent}: all {count} shards of {stem!r} must be there, but number {', '.join(map(str, sorted(missing)[:10]))} is "
        f"not ({len(missing)} missing); finish the download"
        for (parent, stem, count), numbers in found.items()
        if (missing := set(range(count)) - numbers)
    ]


def _read_tables(
    source: str,
    files: dict[str, list[str]],
    read_schema: Callable[[str], Any],
    read_rows: Callable[[str, list[str]], tuple[Any, list[Chunk]]],
    *,
    follow_paths: bool,
) -> SpecimenTable:
    problems = _unknown_splits(source, files)
    tables, chunks = [], []
    for split in _READ_SPLITS:
        for path in files.get(split, []):
            try:
                problems += (found := _schema_problems(path, read_schema(path)))
                if not found:
                    rows, parts = read_rows(path, [*REQUIRED, *OPTIONAL])
                    tables.append(rows.to_pandas().assign(split=split))
                    chunks += parts
            except (pa.ArrowException, OSError) as error:
                problems.append(f"{path} must be readable, but: {error}; fetch it again (a git-lfs pointer is not the data)")
    if problems:
        raise UserError(problems)
    return _table(source, tables, TableImages(chunks, IMAGE_COLUMN, follow_paths=follow_paths), files)


def _schema_problems(path: str, schema: Any) -> list[str]:
    problems = _missing_columns(path, schema.names, [IMAGE_COLUMN, *REQUIRED])
    if IMAGE_COLUMN in schema.names:
        type_ = schema.field(IMAGE_COLUMN).type
        if not (pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0):
            problems.append(f"{path}: column {IMAGE_COLUMN} must hold images as struct{{bytes, path}}, but is {type_}")
    return problems


def _parquet_rows(path: str, columns: list[str]) -> tuple[Any, list[Chunk]]:
    with pq.ParquetFile(path) as file:
        groups = file.metadata
        chunks = [Chunk(path, index, groups.row_group(index).num_rows) for index in range(groups.num_row_groups)]
        return file.read(columns=[name for name in columns if name in file.schema_arrow.names]), chunks


def _arrow_schema(path: str) -> Any:
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        return stream.schema


def _arrow_rows(path: str, columns: list[str]) -> tuple[Any, list[Chunk]]:
    with pa.memory_map(path) as file, pa.ipc.open_stream(file) as stream:
        batches = list(stream)
        table = pa.Table.from_batches(batches, schema=stream.schema)
        chunks = [Chunk(path, index, batch.num_rows) for index, batch in enumerate(batches)]
        return table.select([name for name in columns if name in table.column_names]), chunks


# --- single images with a metadata file -----------------------------------------------------------------------------------


def _read_image_folder(folder: Path) -> SpecimenTable:
    """Rows of metadata files in the folder or in its split folders, with paths relative to the metadata file."""
    tables: list[pd.DataFrame] = []
    problems: list[str] = []
    for place in (folder, *_split_folders(folder)):
        found = _metadata_files(place)
        if len(found) > 1:
            problems.append(f"{place} must have one metadata file, but has {', '.join(p.name for p in found)}")
        for path in found[:1]:
            try:
                tables.append(_located(_read_metadata(path), path, folder))
            except UserError as error:
                problems += error.problems
    if problems:
        raise UserError(problems)
    rows = pd.concat(tables, ignore_index=True)
    if unknown := _unknown_splits(str(folder), rows["split"].unique()):
        raise UserError(unknown)
    ordered = [rows[rows["split"] == split] for split in _READ_SPLITS]
    images = ImageFiles(tuple(str(path) for part in ordered for path in part["_image"]))
    own = [_SPLITS[place.name.lower()] for place in _split_folders(folder) if _metadata_files(place)]
    return _table(str(folder), ordered, images, [*own, *rows["split"].unique()])


def _split_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and _SPLITS.get(p.name.lower()) in _READ_SPLITS)


def _metadata_files(folder: Path) -> list[Path]:
    return [folder / name for name in _METADATA if (folder / name).is_file()]


def _read_metadata(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pandas()
        if path.suffix == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()])
        # text throughout: a site called NA is no missing value, and 0012 no number
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} must be readable, but: {error}") from error


def _located(rows: pd.DataFrame, metadata: Path, folder: Path) -> pd.DataFrame:
    """Add each row's split and the path of its image."""
    image_column = next((name for name in ("file_name", IMAGE_COLUMN) if name in rows.columns), None)
    problems = _missing_columns(str(metadata), rows.columns, REQUIRED)
    if image_column is None:
        problems.append(f"{metadata}: column file_name or {IMAGE_COLUMN} must be there, but has {', '.join(rows.columns)}")
        raise UserError(problems)
    names = rows[image_column].astype(str)
    root = folder.resolve()
    for row, name in enumerate(names):
        # resolved, so that neither .. nor a link leads out
        if not name or not (metadata.parent / name).resolve().is_relative_to(root):
            problems.append(f"{metadata}: row {row}: {image_column} must be a path inside {folder}, but is {name!r}")
    if len(problems) > 20:
        problems = [*problems[:20], f"and {len(problems) - 20} more"]
    if problems:
        raise UserError(problems)
    if "split" in rows.columns:
        split = rows["split"].astype(str).map(lambda s: _SPLITS.get(s.lower(), s))
    elif metadata.parent != folder:
        split = pd.Series(_SPLITS[metadata.parent.name.lower()], index=rows.index)
    else:  # as in `datasets`: the image's folder tells
        split = names.map(lambda name: _SPLITS.get(PurePosixPath(name).parts[0].lower(), "train"))
    return rows.assign(split=split, _image=[str(metadata.parent / name) for name in names])


# --- shared ---------------------------------------------------------------------------------------------------------------


def _table(source: str, tables: Sequence[pd.DataFrame], images: ImageFiles | TableImages, splits: Iterable[str]) -> SpecimenTable:
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"split": []})
    present = [split for split in _READ_SPLITS if split in set(splits)]
    empty = [split for split in present or ["train"] if not (rows["split"] == split).any()]
    if empty:
        raise UserError([f"{source}: split {split} must have specimens, but is empty" for split in empty])
    return SpecimenTable(rows=rows[[c for c in ("split", *REQUIRED, *OPTIONAL) if c in rows.columns]], images=images)


def _missing_columns(where: str, found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    found = list(found)
    missing = [name for name in wanted if name not in found]
    return [f"{where}: column {', '.join(missing)} must be there, but has {', '.join(found)}"] if missing else []


def _unknown_splits(source: str, splits: Iterable[str]) -> list[str]:
    unknown = sorted(str(s) for s in splits if s not in _SPLITS.values())
    return [f"{source}: a split must be train, validation or test, but found {', '.join(unknown)}"] if unknown else []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)  # such as the .cache folder of `hf download`
