"""One option's value: from the text of the command line, or a YAML scalar, to what its class declares.

What no option can mean is refused here: empty text, control characters, numbers that are not finite.
"""

import math
import os
import re
import unicodedata
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainable.errors import UserError
from trainable.shown import brief
from trainable.storage.place import Place, place_of
from trainable.storage.remote_folder import RemoteFolder
from tune.command_line.declaration import Declaration, Options, declarations, flag_of

DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")

LONGEST_TEXT = 4096
"""Characters; systems take no longer path."""

LONGEST_DURATION = 1e9
"""Seconds, some thirty years: beyond it no date can be computed."""


def parse_value(options_class: type[Options], name: str, value: object) -> Any:
    """One option's value, from the text of the command line or a YAML scalar.

    Raises: UserError naming the option, the value and what is allowed.
    """
    declared = declarations(options_class)
    flag, declaration = flag_of(name, declared), declared[name]
    if declaration.duration:
        return parse_duration(flag, value)
    hint = get_type_hints(options_class)[name]
    if get_origin(hint) is tuple:
        return _several(flag, get_args(hint)[0], value, declaration)
    words, kinds = words_of(hint), kinds_of(hint)
    if value in words or (value is None and type(None) in get_args(hint)):
        return value
    if not kinds:
        raise UserError(f"`{flag}` must be one of {', '.join(words)}, but got {brief(value)}")
    kind = Place if Path in kinds and RemoteFolder in kinds else kinds[0]
    return _convert(flag, kind, value, declaration, also=words)


def words_of(hint: object) -> tuple[str, ...]:
    """The words that an option of this type may be, besides values of its `kinds_of`."""
    literals = [kind for kind in (hint, *get_args(hint)) if get_origin(kind) is Literal]
    return get_args(literals[0]) if literals else ()


def kinds_of(hint: object) -> list[type]:
    """The types that are no words, such as [float] of `float | Literal["auto"] | None`."""
    kinds = (hint,) if get_origin(hint) in (None, Literal) else get_args(hint)
    return [kind for kind in kinds if kind is not type(None) and get_origin(kind) is not Literal]


def _several(flag: str, kind: Any, value: object, declaration: Declaration) -> tuple[object, ...]:
    """Values of one option: repeated, side by side, with commas between, or a YAML list; of arguments, one a word."""
    items = value if isinstance(value, list | tuple) else [value]
    parts: list[object] = []
    for item in items:
        if isinstance(item, str) and item.strip() and not declaration.positional:
            parts += [part.strip() for part in item.split(",") if part.strip()]
        else:
            parts.append(item)
    return tuple(_convert(flag, kind, part, declaration) for part in parts)


def _convert(flag: str, kind: Any, value: object, declaration: Declaration, *, also: tuple[str, ...] = ()) -> Any:
    words = {
        int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path",
        Place: "a path or URI",
    }  # fmt: skip
    try:
        converted = _converted(flag, kind, value, declaration)
    except ValueError:
        raise UserError(f"`{flag}` must be {' or '.join((words[kind], *also))}, but got {brief(value)}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"`{flag}` must be a finite number, but got {brief(value)}")
    return converted


def _converted(flag: str, kind: Any, value: Any, declaration: Declaration) -> Any:
    """Raises: ValueError for a value of another kind; UserError for a text that no option can be."""
    if isinstance(value, str):
        if (problem := _text_problem(value, declaration)) is not None:
            raise UserError(f"`{flag}` {problem}, but got {brief(value)}")
    elif kind in (Path, Place) and not isinstance(value, Path | RemoteFolder):
        raise ValueError
    if kind == Place:
        return place_of(value, what=flag)
    if kind is RemoteFolder:
        return value if isinstance(value, RemoteFolder) else RemoteFolder.parse(str(value), what=flag)
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError
    is_plain = isinstance(value, str | int | float | Path) and not isinstance(value, bool)
    if not is_plain or (kind is int and isinstance(value, float)):
        raise ValueError
    return kind(value)


def _text_problem(text: str, declaration: Declaration) -> str | None:
    if not text.strip():
        return "must not be empty"
    if "\0" in text:
        return "must not hold the character NUL"
    if len(text) > LONGEST_TEXT:
        return f"must have at most {LONGEST_TEXT} characters"
    if declaration.file_names:
        return None
    if not _is_unicode(text):
        return "must be text in UTF-8"
    if declaration.lines:
        text = text.replace("\n", " ").replace("\t", " ")
    if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in text):
        return "must be one line without control characters"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that the system's calls could not decode, in a locale that may not be of UTF-8
        try:
            os.fsencode(text).decode()
        except UnicodeError:
            return False
    return True


def parse_duration(flag: str, value: object) -> float | None:
    """Seconds from "90s", "30m", "1h30m", or a plain number of seconds."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = DURATION.fullmatch(str(value).strip())
        if not match or not any(match.groups()):
            raise UserError(f"`{flag}` must be a length of time such as 90s, 30m or 1h30m, but got {brief(value)}")
        hours, minutes, rest = (float(part or 0) for part in match.groups())
        seconds = 3600 * hours + 60 * minutes + rest
    if not 0 <= seconds <= LONGEST_DURATION:
        raise UserError(f"`0 <= {flag} <= {LONGEST_DURATION:g}` seconds must hold, but got {brief(value)}")
    return seconds
