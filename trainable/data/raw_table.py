"""A folder's table as it is, whatever its columns are called: for who has no task yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.data.class_folders import class_folder_rows, other_tables
from trainable.data.class_labels import class_features, named_classes
from trainable.data.folder_walk import find_files
from trainable.data.specimen_folder import METADATA, metadata_files, split_folders
from trainable.data.table_files import arrow_frame, read_csv, read_json_lines
from trainable.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """rows: of all files, without encoded photographs. photographs: columns that hold such. classes: `ClassLabel`s."""

    rows: pd.DataFrame
    photographs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def read_raw_table(folder: Path) -> RawTable:
    """The rows of a folder's metadata files, or else of its parquet files, or else of its folders called as classes.

    Raises: UserError for a folder that is not there, has neither, or cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"DATA must be a folder, but there is no folder {folder}")
    files = [file for place in (folder, *split_folders(folder)) for file in metadata_files(place)]
    is_metadata = bool(files)
    if not files:
        files, _ = find_files(folder, lambda name: name.endswith(".parquet"))
    if not files and (rows := class_folder_rows(folder)) is not None:
        return RawTable(rows=rows)
    if not files:
        tables = other_tables(folder)
        there = f"; rename {tables[0]}, if it is the table" if tables else ""
        raise UserError(f"DATA must hold {', '.join(METADATA)} or parquet files, but {folder} has none{there}")
    try:
        parts = [_read(file) for file in files]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"the tables of {folder} must be readable, but: {error}") from error
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    photographs = () if is_metadata else tuple(dict.fromkeys(name for part in parts for name in part.photographs))
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    return RawTable(rows=rows, photographs=photographs, classes=classes)


def _read(file: Path) -> RawTable:
    if file.suffix == ".csv":
        return RawTable(rows=read_csv(file, ()))
    if file.suffix == ".jsonl":
        return RawTable(rows=read_json_lines(file))
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        plain = [name for name, type_ in zip(schema.names, schema.types, strict=True) if not pa.types.is_nested(type_)]
        rows = arrow_frame(parquet.read(columns=plain), ())
    features = class_features(schema)
    rows = rows.assign(**{name: named_classes(rows[name], features[name]) for name in features if name in rows.columns})
    return RawTable(rows=rows, photographs=tuple(_encoded(schema)), classes=tuple(features))


def _encoded(schema: pa.Schema) -> Iterable[str]:
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
            yield name
