"""From option classes to the command line and YAML, and back: parsing, and every problem named at once."""

import argparse
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from search_spaces.yaml_source import Document, read_document
from trainable.errors import UserError
from trainable.shown import brief
from tune.command_line.option_values import parse_value
from tune.command_line.options import check_options


def add_options(parser: argparse.ArgumentParser, options_class: type) -> None:
    hints = get_type_hints(options_class)
    if "config" not in hints:  # else the verb's own option, another kind of file
        parser.add_argument("--config", metavar="YAML", help="a file with any of these options, by name")
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
    """What the user gave, parsed: the YAML file's values under those of the command line.

    Raises: UserError with every value that cannot be; those of the file with its line.
    """
    names = {f.name for f in fields(options_class)}
    named = {name: value for name, value in vars(arguments).items() if name in names}
    path = None if "config" in names else arguments.config
    document = None if path is None else _config_file(path)
    keys = {} if document is None else _options_of(document, names)
    raw = {name: document.values[key] for name, key in keys.items()} | named if document else named
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in raw.items():
        try:
            values[name] = parse_value(options_class, name, value)
        except UserError as error:
            in_file = document if name not in named else None
            problems += [p if in_file is None else in_file.problem((keys[name],), p) for p in error.problems]
    if problems:
        raise UserError(problems)
    return Given(options_class, values, from_file=frozenset(set(keys) - set(named)))


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


def _config_file(path: str) -> Document:
    if not path.strip():
        raise UserError(f"`--config` must name a YAML file, but got {path!r}")
    return read_document(Path(path))


def _options_of(document: Document, names: set[str]) -> dict[str, str]:
    """Option -> the key that gives it: `time-budget` as well as `time_budget`."""
    keys: dict[str, str] = {}
    problems = []
    for key in document.values:
        name = key.replace("-", "_")
        if name not in names:
            problems.append(document.problem((key,), f"`{brief(key)[1:-1]}` is not an option{_nearest(name, names)}"))
        elif name in keys:
            problems.append(document.problem((key,), f"`{key}` must stand once, but stands as `{keys[name]}` too"))
        keys[name] = key
    if problems:
        raise UserError(problems)
    return keys


def unknown_options(unknown: list[str], options_class: type | None, verb: str) -> list[str]:
    names = {f.name for f in fields(options_class)} | {"config"} if options_class else set()
    return [f"`{brief(word)[1:-1]}` is not an option of {verb}{_nearest(_name_of(word), names)}" for word in unknown]


def _name_of(word: str) -> str:
    return word.lstrip("-").partition("=")[0].replace("-", "_")


def _nearest(name: str, names: set[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean `{close[0].replace('_', '-')}`?"
    return f"; valid: {', '.join(sorted(n.replace('_', '-') for n in names))}" if names else ""
