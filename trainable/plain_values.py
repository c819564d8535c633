"""What values out of a JSON file must be, leaf by leaf: a disk, an editor or another program may have altered it."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints, is_typeddict

from trainable.shown import brief

JsonObject: TypeAlias = dict[str, Any]
"""An object as JSON has it. Of what type a value under a name is, `misfits` sees where it comes from a file."""

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number that any other program can hold."""

_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a text",
    NoneType: "null",
    dict: "an object",
}


def parse_json(text: str | bytes, *, object_hook: Callable[[JsonObject], object] | None = None) -> Any:
    """`json.loads`, for which a text that is nested too deep is a wrong one like any other. Raises: ValueError."""
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def flattened(values: Mapping[str, Any], prefix: str = "") -> JsonObject:
    """Dotted name -> value of nested plain values; an empty mapping leaves nothing."""
    flat: JsonObject = {}
    for name, value in values.items():
        flat |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def misfits(value: object, hint: Any, name: str) -> Iterator[str]:
    """Where a value is not of the type `hint`, as JSON has it: "`name.key` must be a text, but is 3", a line each.

    hint: of plain values (lists count as tuples; floats may be whole numbers and are finite), of dataclasses and
    typed dicts (objects with all fields that have no default; further keys are passed over), and of lists, unions and
    mappings of these.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if hint in (Any, object):
        return
    if (is_dataclass(kind) or is_typeddict(kind)) and isinstance(value, Mapping):
        yield from _field_misfits(value, kind, name)
    elif kind is dict and inner and isinstance(value, Mapping):
        for key, child in value.items():
            yield from misfits(child, inner[1], f"{name}.{key}")
    elif kind is tuple and isinstance(value, list | tuple) and _has_length(value, inner):
        for index, child in enumerate(value):
            yield from misfits(child, inner[0 if inner[-1] is ... else index], f"{name}[{index}]")
    elif kind in (UnionType, Union):
        if not any(not list(misfits(value, one, name)) for one in inner):
            yield _line(value, hint, name)
    elif not _is(value, kind, inner):
        yield _line(value, hint, name)


def _field_misfits(values: Mapping[str, object], kind: Any, name: str) -> Iterator[str]:
    given = () if is_typeddict(kind) else fields(kind)
    has_default = {f.name for f in given if f.default is not MISSING or f.default_factory is not MISSING}
    for key, hint in get_type_hints(kind).items():
        if key in values:
            yield from misfits(values[key], hint, f"{name}.{key}")
        elif key not in has_default:
            yield f"`{name}.{key}` must be given, but is not"


def _has_length(value: list[object] | tuple[object, ...], inner: tuple[object, ...]) -> bool:
    return inner[-1] is ... or len(value) == len(inner)


def _is(value: object, kind: object, inner: tuple[object, ...]) -> bool:
    if kind is Literal:
        return value in inner
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _line(value: object, hint: object, name: str) -> str:
    return f"`{name}` must be {_words(hint)}, but is {brief(value)}"


def _words(hint: object) -> str:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (UnionType, Union):
        return " or ".join(map(_words, inner))
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is tuple:
        many = inner[-1] is ...
        return f"a list, each {_words(inner[0])}" if many else f"a list of {len(inner)}, each {_words(inner[0])}"
    return _WORDS.get(kind, "an object")
