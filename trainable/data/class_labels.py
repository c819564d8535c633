"""Labels that name a class: as they stand in a table, as text, and as the index that every array holds."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from trainable.data.class_list import MOST_CLASSES
from trainable.data.odd_cells import NO_VALUE
from trainable.data.task import Task
from trainable.data.task_parts import ClassTarget, class_name
from trainable.plain_values import parse_json
from trainable.shown import brief, cut, meant

if TYPE_CHECKING:
    from trainable.data.specimen_checks import Problems

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_LONGEST_LIST = 200  # characters of it in a message


def class_labels(values: pd.Series, target: ClassTarget, names: Sequence[str], problems: "Problems") -> pd.Series:
    """Each label as text; None where it is missing, or none of those that the task lists, which is noted.

    names: of the rows, for messages.
    """
    found = pd.Series([_text(value) for value in values], index=values.index, dtype=object)
    listed = target.classes
    for row, label in enumerate(found):
        if label is None:
            line = f"{names[row]}: {target.column} must be given, but is {brief(values.iloc[row])}"
            problems.add(f"{target.column} missing", line)
        elif listed is not None and label not in listed:
            shown = cut(", ".join(listed), longest=_LONGEST_LIST)
            line = f"{names[row]}: {target.column} must be one of {shown}, but is {brief(label)}{meant(label, listed)}"
            problems.add(f"{target.column} of no listed class", line)
    return found if listed is None else found.where(found.isin(listed), None)


def classes_of(labels: pd.Series) -> tuple[str, ...]:
    """Those that there are, ascending: whole numbers by size, all else as text."""
    found = {str(label) for label in labels.dropna()}
    if all(map(_WHOLE.fullmatch, found)):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def note_bad_classes(labels: pd.Series, target: ClassTarget, problems: "Problems", *, to_learn: bool) -> None:
    """Note labels that no classifier can be made of: all the same where it is to learn them, or too many."""
    found = classes_of(labels)
    if to_learn and labels.notna().all() and len(found) == 1:
        problems.add(
            "one value", f"`{target.name}` must have two classes at least, but is {brief(found[0])} everywhere"
        )
    if target.classes is None and (like := [name for name in found if NO_VALUE.fullmatch(name)]):
        rule = f"`{target.name}` must be given in every row, but is {', '.join(map(brief, like))} in some"
        problems.add("no label", f"{rule}; leave those rows out, or list the classes in the task if that is one")
    if len(found) > MOST_CLASSES:
        examples = ", ".join(map(brief, found[:3]))
        rule = f"`{target.name}` must have {MOST_CLASSES} classes at most, but has {len(found)}: {examples}, ..."
        problems.add("many classes", f"{rule}; name a coarser column, or list fewer and leave out the rest")


def class_indices(labels: pd.Series, classes: Sequence[str]) -> NDArray[np.float64]:
    """Each label's place among the classes, [n, 1], as exact as any whole number below 2**24 is in float32."""
    place = {name: float(index) for index, name in enumerate(classes)}
    return np.array([[place[label]] for label in labels], dtype=np.float64).reshape(-1, 1)


def with_class_names(rows: pd.DataFrame, schema: pa.Schema, task: Task) -> pd.DataFrame:
    """The same with names in place of the numbers that `datasets` keeps for a `ClassLabel` feature."""
    features = class_features(schema)
    for target in task.targets:
        if isinstance(target, ClassTarget) and target.column in rows.columns and target.column in features:
            rows = rows.assign(**{target.column: named_classes(rows[target.column], features[target.column])})
    return rows


def class_features(schema: pa.Schema) -> dict[str, list[object]]:
    """Columns that `datasets` keeps as a `ClassLabel` feature, and the names that their numbers stand for."""
    found = {name: feature for name, feature in _features(schema).items() if isinstance(feature, dict)}
    return {
        name: feature["names"]
        for name, feature in found.items()
        if feature.get("_type") == "ClassLabel" and feature.get("names")
    }


def named_classes(values: pd.Series, names: Sequence[object]) -> pd.Series:
    """Names in place of the numbers that stand for them; nothing for a number that stands for none."""
    return pd.Series([_name_of(value, names) for value in values], index=values.index, dtype=object)


def _features(schema: pa.Schema) -> dict[str, object]:
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        found = parse_json(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError):  # of another program, or another version: the numbers stay
        return {}
    return found if isinstance(found, dict) else {}


def _name_of(value: object, known: Sequence[object]) -> object:
    """Of a number that names no class, such as the -1 of a label that nobody knows: nothing."""
    if isinstance(value, int | np.integer | float) and float(value).is_integer():
        return known[int(value)] if 0 <= int(value) < len(known) else None
    return value


def _text(value: object) -> str | None:
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is None or plain is pd.NA or plain is pd.NaT or (isinstance(plain, float) and plain != plain):
        return None
    return class_name(plain) or None
