"""A folder's table as it is, whatever its columns are called: for who has no task yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trainable.data.class_folders import class_folder_rows, other_tables
from trainable.data.class_labels import class_features, named_classes
from trainable.data.folder_walk import check_utf8, find_files
from trainable.data.specimen_folder import METADATA, metadata_files, split_folders
from trainable.data.table_files import arrow_frame, read_csv, read_json_lines
from trainable.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """rows: of all files, without encoded photographs. photographs: columns that hold such. classes: `ClassLabel`s.

    bare: columns of bytes that nothing says to be photographs.
    """

    rows: pd.DataFrame
    photographs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()


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
        raise UserError(f"DATA must hold {', '.join(METADATA)} or parquet files, but {folder} has none{_there(folder)}")
    check_utf8(files)
    try:
        parts = [_read(file) for file in files]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"the tables of {folder} must be readable, but: {error}") from error
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    photographs = () if is_metadata else tuple(dict.fromkeys(name for part in parts for name in part.photographs))
    classes, bare = (tuple(dict.fromkeys(chain(*of))) for of in zip(*((p.classes, p.bare) for p in parts), strict=True))
    return RawTable(rows=rows, photographs=photographs, classes=classes, bare=bare)


def _there(folder: Path) -> str:
    """What to do with a table of another form or name, if there is one."""
    tables = other_tables(folder)
    if not tables:
        return ""
    name, suffix = tables[0], Path(tables[0]).suffix.lower()
    if suffix in (".csv", ".jsonl"):
        return f"; rename {name} to metadata{suffix}, if it is the table"
    form = "JSON is read a row a line" if suffix == ".json" else "tables are separated by commas"
    return f"; {form}: save {name}, if it is the table, as metadata.csv with a row a photograph and its columns"


def _read(file: Path) -> RawTable:
    if file.suffix == ".csv":
        return RawTable(rows=read_csv(file, ()))
    if file.suffix == ".jsonl":
        return RawTable(rows=read_json_lines(file))
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        types = dict(zip(schema.names, schema.types, strict=True))
        bare = tuple(name for name, of in types.items() if pa.types.is_binary(of) or pa.types.is_large_binary(of))
        plain = [name for name, type_ in types.items() if not pa.types.is_nested(type_) and name not in bare]
        rows = arrow_frame(parquet.read(columns=plain), ())
    features = class_features(schema)
    rows = rows.assign(**{name: named_classes(rows[name], features[name]) for name in features if name in rows.columns})
    return RawTable(rows=rows, photographs=tuple(_encoded(schema)), classes=tuple(features), bare=bare)


def _encoded(schema: pa.Schema) -> Iterable[str]:
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
            yield name
