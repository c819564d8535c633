"""From option classes to the command line and YAML, and back: parsing, and every problem named at once."""

import argparse
import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainable.errors import UserError
from trainable.storage.place import Place, place_of
from trainable.storage.remote_folder import RemoteFolder
from tune.command_line.options import check_options

DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def add_options(parser: argparse.ArgumentParser, options_class: type) -> None:
    hints = get_type_hints(options_class)
    if "config" not in hints:  # else the verb's own option, another kind of file
        parser.add_argument("--config", type=Path, metavar="YAML", help="a file with any of these options, by name")
    for f in fields(options_class):
        flag, text, default = f"--{f.name.replace('_', '-')}", f.metadata["help"], f.default
        if f.metadata.get("positional"):
            several: dict[str, Any] = {"nargs": "+"} if get_origin(hints[f.name]) is tuple else {}
            parser.add_argument(f.name, metavar=f.name.upper(), help=text, **several)
            continue
        if hints[f.name] is bool:
            parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        if get_origin(hints[f.name]) is tuple:
            parser.add_argument(
                flag, nargs="+", action="extend", default=argparse.SUPPRESS, metavar=f.name.upper(), help=text
            )
            continue
        choices = get_args(hints[f.name]) if get_origin(hints[f.name]) is not None and isinstance(default, str) else ()
        shown = f" ({', '.join(choices)})" if choices and all(isinstance(c, str) for c in choices) else ""
        ending = "" if default is None else f" [{default}]"
        parser.add_argument(
            flag, default=argparse.SUPPRESS, metavar=f.name.upper(), help=f"{text}{shown}{ending}".replace("%", "%%")
        )


def given_options(arguments: argparse.Namespace, options_class: type) -> "Given":
    """What the user gave, parsed: the YAML file's values under those of the command line."""
    names = {f.name for f in fields(options_class)}
    named = {name: value for name, value in vars(arguments).items() if name in names}
    file = None if "config" in names else arguments.config
    raw = (_config_file(file, names) if file else {}) | named
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in raw.items():
        try:
            values[name] = parse_value(options_class, name, value)
        except UserError as error:
            problems.extend(error.problems)
    if problems:
        raise UserError(problems)
    return Given(options_class, values, from_file=frozenset(set(raw) - set(named)))


@dataclass(frozen=True, slots=True)
class Given:
    """The options that were given, and the class that they belong to.

    from_file: names of those that stand in the `--config` file alone. command: the words of the command that a verb
    such as `submit` runs elsewhere, its own verb first.
    """

    options_class: type
    values: dict[str, Any]
    from_file: frozenset[str] = frozenset()
    command: tuple[str, ...] = ()

    def options(self, **underneath: Any) -> Any:
        """The complete, checked options; `underneath` replaces defaults that were not given."""
        options = self.options_class(**{**underneath, **self.values})
        check_options(options)
        return options


def split_command(words: Sequence[str], verbs: Collection[str]) -> tuple[list[str], tuple[str, ...]]:
    """`--follow -- search --trials 3` -> (`--follow`,) and (`search`, `--trials`, `3`).

    The command begins behind the first `--`, or without one at the first word that is a verb.
    """
    if "--" in words:
        at = list(words).index("--")
        return list(words[:at]), tuple(words[at + 1 :])
    at = next((i for i, word in enumerate(words) if word in verbs), len(words))
    return list(words[:at]), tuple(words[at:])


def _config_file(path: Path, names: set[str]) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"`--config` must be a readable file, but {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"`--config` must be YAML, but {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"`--config` must hold option names and values, but {path} holds {type(content).__name__}")
    values = {str(name).replace("-", "_"): value for name, value in content.items()}
    if unknown := sorted(set(values) - names):
        raise UserError([f"{path}: `{name}` is not an option{_nearest(name, names)}" for name in unknown])
    return values


def unknown_options(unknown: list[str], options_class: type | None, verb: str) -> list[str]:
    names = {f.name for f in fields(options_class)} | {"config"} if options_class else set()
    return [
        f"`{word}` is not an option of {verb}{_nearest(word.lstrip('-').split('=')[0].replace('-', '_'), names)}"
        for word in unknown
    ]


def _nearest(name: str, names: set[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean `{close[0].replace('_', '-')}`?"
    return f"; valid: {', '.join(sorted(n.replace('_', '-') for n in names))}" if names else ""


def parse_value(options_class: type, name: str, value: Any) -> Any:
    """One option's value, from the text of the command line or a YAML scalar.

    Raises: UserError naming the option, the value and what is allowed.
    """
    flag = f"--{name.replace('_', '-')}"
    metadata = next(f.metadata for f in fields(options_class) if f.name == name)
    if metadata.get("parse") == "duration":
        return parse_duration(flag, value)
    if metadata.get("parse") == "share" and value is not None:
        return value if value == "auto" else _convert(flag, float, value, what="a number or auto")
    hint = get_type_hints(options_class)[name]
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UserError(f"`{flag}` must be one of {', '.join(get_args(hint))}, but got {value!r}")
        return value
    if get_origin(hint) is tuple:
        return _several(flag, get_args(hint)[0], value)
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if value is None and type(None) in get_args(hint):
        return None
    return _convert(flag, Place if Path in kinds and RemoteFolder in kinds else kinds[0], value)


def _several(flag: str, kind: Any, value: Any) -> tuple[Any, ...]:
    """Values of one option: repeated, side by side, with commas between, or a YAML list."""
    items = value if isinstance(value, list | tuple) else [value]
    parts = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
    return tuple(_convert(flag, kind, part.strip() if isinstance(part, str) else part) for part in parts if part != "")


def _convert(flag: str, kind: Any, value: Any, *, what: str = "") -> Any:
    words = {
        int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path",
        Place: "a path or URI",
    }  # fmt: skip
    try:
        if kind == Place and isinstance(value, str | Path | RemoteFolder):
            return place_of(value, what=flag)
        if kind is RemoteFolder:
            return value if isinstance(value, RemoteFolder) else RemoteFolder.parse(str(value), what=flag)
        if kind is bool:
            if isinstance(value, bool):
                return value
            raise ValueError
        if (
            isinstance(value, bool)
            or (kind is int and isinstance(value, float))
            or not isinstance(value, str | int | float | Path)
        ):
            raise ValueError
        return kind(value)
    except ValueError:
        raise UserError(f"`{flag}` must be {what or words[kind]}, but got {value!r}") from None


def parse_duration(flag: str, value: Any) -> float | None:
    """Seconds from "90s", "30m", "1h30m", or a plain number of seconds."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = DURATION.fullmatch(str(value).strip())
    if not match or not any(match.groups()):
        raise UserError(f"`{flag}` must be a length of time such as 90s, 30m or 1h30m, but got {value!r}")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
