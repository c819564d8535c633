"""The table of a data set of the Hugging Face hub as it is: configurations, splits, features, rows; no photographs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pandas as pd

from trainable.counts import counted
from trainable.data.class_labels import named_classes
from trainable.data.hub_name import hub_parts, not_loaded
from trainable.data.raw_table import RawTable
from trainable.data.specimen_schema import READ_SPLITS, SPLIT_NAMES
from trainable.errors import UserError
from trainable.shown import brief, shown

if TYPE_CHECKING:
    from datasets import IterableDataset

MOST_ROWS = 100_000
"""Of a split that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubTable:
    """table: as `read_raw_table` gives it, each row with its `split`. lines: what the data set is, for people."""

    table: RawTable
    lines: tuple[str, ...]


def read_hub_table(data: str) -> HubTable:
    """The rows of the splits that are read, up to `MOST_ROWS` each, without photographs.

    Of Parquet files the photographs' columns are not fetched; of other files `datasets` has to pass over them.
    Raises: UserError for a data set that `datasets` cannot read, or of several configurations of which none is named.
    """
    import datasets

    name, config = hub_parts(data)
    try:
        configs = datasets.get_dataset_config_names(name)
        if config is None and len(configs) > 1 and "default" not in configs:
            raise UserError(f"{data}:CONFIG must name one of its configurations, which are {_listed(configs)}")
        if config is not None and config not in configs:
            raise UserError(f"{data} must name one of its configurations, which are {_listed(configs)}")
        builder = datasets.load_dataset_builder(name, config)
        loaded = datasets.load_dataset(name, config, streaming=True)
        known = {split: SPLIT_NAMES.get(split.lower(), split) for split in loaded}
        first = next(iter(loaded.values()))
        features = builder.info.features or first.features or dict.fromkeys(next(iter(first)))
        images = tuple(column for column, feature in features.items() if isinstance(feature, datasets.Image))
        plain = [column for column in features if column not in images]
        if hasattr(builder.config, "columns") and plain:  # Parquet: no other column is fetched
            loaded = datasets.load_dataset(name, config, streaming=True, columns=plain)
        rows = [_rows(loaded[split], plain, known[split]) for split in loaded if known[split] in READ_SPLITS]
    except UserError:
        raise
    except Exception as error:  # network, access, format
        raise not_loaded(data, error) from error
    if not rows:
        raise UserError(f"{data} must have a split {' or '.join(READ_SPLITS)}, but has {_listed(loaded)}")
    frame = _with_class_names(pd.concat(rows, ignore_index=True), features)
    lines = tuple(_lines(configs, config, builder.info.splits, known, features))
    classes = tuple(column for column, feature in features.items() if getattr(feature, "names", None) is not None)
    return HubTable(table=RawTable(rows=frame, photographs=images, classes=classes), lines=lines)


def _rows(dataset: "IterableDataset", columns: Sequence[str], split: str) -> pd.DataFrame:
    chosen = dataset.select_columns(list(columns))
    return pd.DataFrame(list(islice(chosen, MOST_ROWS)), columns=list(columns), dtype=object).assign(split=split)


def _with_class_names(rows: pd.DataFrame, features: Mapping[str, object]) -> pd.DataFrame:
    """With names in place of the numbers of a `ClassLabel`."""
    for column, feature in features.items():
        if (names := getattr(feature, "names", None)) is not None and column in rows.columns:
            rows = rows.assign(**{column: named_classes(rows[column], names)})
    return rows


def _lines(
    configs: Sequence[str],
    config: str | None,
    splits: Mapping[str, object] | None,
    known: Mapping[str, str],
    features: Mapping[str, object],
) -> Iterable[str]:
    chosen = config or ("default" if "default" in configs else configs[0])
    others = [name for name in configs if name != chosen]
    yield f"configuration: {shown(chosen)}" + (f"; others: {_listed(others)}" if others else "")
    for split, role in known.items():
        found = (splits or {}).get(split)
        n_rows = getattr(found, "num_examples", 0)
        use = "read" if role in READ_SPLITS else "not read"
        yield f"split {shown(split)}: {use}" + (f", {counted(n_rows, 'row')}" if n_rows else "")
    for column, feature in features.items():
        if (names := getattr(feature, "names", None)) is not None:
            yield f"feature {shown(column)}: ClassLabel of {len(names)}: {_listed(names)}"
        elif type(feature).__name__ == "Image":
            yield f"feature {shown(column)}: Image, not fetched"


def _listed(names: Iterable[object]) -> str:
    found = [shown(name) for name in names]
    return ", ".join(found[:10]) + (f", ... ({len(found)})" if len(found) > 10 else "") or brief("nothing")
