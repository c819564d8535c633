"""Tables as frames of exact values: CSV, JSON lines, and Arrow tables such as Parquet files hold.

One rule each: CSV is UTF-8 with commas, and its cells are text as they stand. JSON lines are objects whose names are
there once. A named level of an index that pandas stored is a column. Integers stay integers, beside missing ones too.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from trainable.plain_values import JsonObject
from trainable.shown import cut, is_well_formed, shown

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_csv(path: Path, wanted: Iterable[str]) -> pd.DataFrame:
    """Every cell as text: a site called NA is no missing value, and 0012 no number; NaN past the end of a short row.

    wanted: columns of which one must be in the header.
    Raises: ValueError for what is not UTF-8 or not separated by commas, begins with a title, or has wanted columns
    twice; OSError.
    """
    text = _text(path)
    if not text.strip():
        raise ValueError("it is empty")
    _check_separator(next(iter(text.splitlines()), ""), set(wanted))
    # the header as a row: pandas would rename a column that is there twice, and take a first one for an index
    rows = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, header=None)
    names = rows.iloc[0].fillna("").astype(str)
    _check_header(names.tolist())
    check_once(names, wanted)
    return rows.iloc[1:].set_axis(names, axis="columns").loc[:, ~names.duplicated().to_numpy()].reset_index(drop=True)


def read_json_lines(path: Path) -> pd.DataFrame:
    """A column for each name; NaN where a line has none of it.

    Raises: ValueError naming the line that is no object, has a name twice, or holds what is no text; OSError.
    """
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line, object_pairs_hook=_object))
                if not isinstance(rows[-1], dict):
                    raise ValueError(f"it is a {type(rows[-1]).__name__}")
                if "\\ud" in line.lower():  # such an escape is half a character, or bytes that were no UTF-8
                    _check_whole(rows[-1])
            except (ValueError, RecursionError) as error:
                raise ValueError(f"line {number} must be a JSON object: {error}") from error
    return pd.DataFrame(rows, dtype=object)


def row_places(path: Path, n_rows: int) -> list[str]:
    """Where each row of a table that was read stands: "line 4" of a file of text, else "row 3", from 0.

    Blank lines are no rows; a row whose cells go over several lines stands where it begins.
    """
    places: list[str] = []
    if path.suffix == ".jsonl":
        places = [f"line {number}" for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
    elif path.suffix == ".csv":
        lines, first = list(io.StringIO(_text(path), newline="")), 0
        for _ in (reader := csv.reader(lines)):
            if "".join(lines[first : reader.line_num]).strip():
                places.append(f"line {first + 1}")
            first = reader.line_num
        del places[:1]  # the header
    if len(places) == n_rows:
        return places
    return [f"row {row}" for row in range(n_rows)]  # also of lines that end in several ways, as pandas counts them


def arrow_frame(table: pa.Table, wanted: Iterable[str]) -> pd.DataFrame:
    """An Arrow table with the index that pandas stored beside it as columns, unless a column has that name.

    Raises: ValueError if wanted columns are there twice.
    """
    check_once(table.column_names, wanted)
    plain = pa.table(
        {
            name: table.column(index).cast(type_.value_type) if pa.types.is_dictionary(type_) else table.column(index)
            for index, (name, type_) in enumerate(zip(table.column_names, table.schema.types, strict=True))
        }
    )
    # integers beside missing ones would become floats, which hold none beyond 2**53
    frame = pd.DataFrame(plain.to_pandas(ignore_metadata=True, integer_object_nulls=True))
    return frame.assign(**{name: np.array(level) for name, level in stored_ranges(table.schema).items()})


def stored_ranges(schema: pa.Schema) -> dict[str, range]:
    """Named levels of a stored index that are kept as a range and not as a column."""
    levels = (schema.pandas_metadata or {}).get("index_columns", [])
    return {
        level["name"]: range(level["start"], level["stop"], level["step"])
        for level in levels
        if isinstance(level, dict) and level.get("name") and level["name"] not in schema.names
    }


def check_once(names: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises: ValueError naming the wanted columns that are there more than once."""
    counts = Counter(names)
    if twice := [f"{name} is there {counts[name]} times" for name in wanted if counts[name] > 1]:
        raise ValueError(f"each column must be there once, but {', '.join(twice)}")


def _text(path: Path) -> str:
    encoded = path.read_bytes()
    if (name := _OTHER_ENCODINGS.get(encoded[:2])) is not None:
        raise ValueError(f"it must be UTF-8, but is {name}; save it as UTF-8")
    try:
        return encoded.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = encoded.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"it must be UTF-8, but line {line} has the byte 0x{encoded[error.start]:02x}; save it as UTF-8"
        ) from error


def _check_separator(header: str, wanted: set[str]) -> None:
    if header.lower().startswith("sep="):
        raise ValueError("its first line must name the columns, but is Excel's `sep=`; remove that line")

    def n_known(separator: str) -> int:
        return len(wanted & {name.strip() for name in next(csv.reader([header], delimiter=separator), [])})

    best = max(_SEPARATORS, key=n_known)
    if n_known(best) > n_known(","):
        raise ValueError(f"its columns must be separated by commas, but are by {_SEPARATORS[best]} ({best!r})")
    if len(next(csv.reader([header]), [])) <= 1 and any(sign in header for sign in _SEPARATORS):
        sign = max(_SEPARATORS, key=header.count)
        raise ValueError(f"its columns must be separated by commas, but seem to be by {_SEPARATORS[sign]} ({sign!r})")


def _check_header(names: Sequence[str]) -> None:
    n_named = sum(bool(name.strip()) for name in names)
    if n_named == 1 and len(names) > 2:
        only = next(name for name in names if name.strip())
        raise ValueError(
            f"its first line must name the columns, but names {only} alone of {len(names)}; remove it if it is a title"
        )


def _check_whole(row: JsonObject) -> None:
    for name, cell in row.items():
        text = json.dumps({name: cell}, ensure_ascii=False)
        if not is_well_formed(text):
            raise ValueError(f"{cut(shown(text), longest=80)} must be text in UTF-8")


def _object(pairs: list[tuple[str, object]]) -> JsonObject:
    counts = Counter(name for name, _ in pairs)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} is there more than once")
    return dict(pairs)
