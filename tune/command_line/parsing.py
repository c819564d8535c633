"""From option classes to the command line and YAML, and back: parsing, and every problem named at once."""

import argparse
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from trainable.errors import UserError
from trainable.shown import brief, meant, nearest
from trainable.yaml_source import Document, read_document
from tune.command_line.declaration import Options, OptionValues, declarations, flag_of
from tune.command_line.option_values import kinds_of, parse_value, words_of

MOST_USED = "most used"

SAID_OF_FLAGS = frozenset({"true", "false", "yes", "no", "on", "off"})
"""Words behind an option that takes none."""


def add_options(parser: argparse.ArgumentParser, options_class: type[Options]) -> None:
    """Give the parser a class's options, in groups: those used most, then those of each title, its own ones first."""
    hints, declared = get_type_hints(options_class), declarations(options_class)
    arguments = [f for f in fields(options_class) if declared[f.name].positional]
    if len(arguments) < len(declared) and "config" not in hints:  # else the verb's own option, another kind of file
        parser.add_argument("--config", metavar="YAML", help="a file with any of these options, by name")
    usage = "%(prog)s [OPTIONS]"
    for f in arguments:
        several: dict[str, Any] = {"nargs": "+"} if get_origin(hints[f.name]) is tuple else {}
        if f.default is not MISSING:
            several = {"nargs": "?", "default": argparse.SUPPRESS}
        action = parser.add_argument(f.name, metavar=f.name.upper(), help=declared[f.name].text, **several)
        usage += {"+": f" {action.metavar} ...", "?": f" [{action.metavar}]"}.get(
            str(action.nargs), f" {action.metavar}"
        )
    parser.usage = usage
    defaults = {f.name: f.default for f in fields(options_class)}
    for title, names in options_by_title(options_class).items():
        group = parser.add_argument_group(title) if title else parser
        for name in names:
            _add_option(group, flag_of(name, declared), hints[name], declared[name].text, defaults[name])


def options_by_title(options_class: type[Options]) -> dict[str, list[str]]:
    """Title -> its options; "" for those without one."""
    declared = declarations(options_class)
    left = {name for name, declaration in declared.items() if not declaration.positional}
    titles: dict[str, list[str]] = {"": [], MOST_USED: []}
    for owner in (c for c in options_class.__mro__ if issubclass(c, Options)):
        for name in [name for name in vars(owner).get("__annotations__", {}) if name in left]:
            left.remove(name)
            titles.setdefault(MOST_USED if declared[name].often else owner.title, []).append(name)
    return {title: names for title, names in titles.items() if names}


def _add_option(group: Any, flag: str, hint: object, text: str, default: object) -> None:
    shown: dict[str, Any] = {"metavar": flag[2:].upper().replace("-", "_")}
    if hint is bool:
        shown = {"action": "store_true"}
    elif get_origin(hint) is tuple:
        shown |= {"nargs": "+", "action": "extend"}
    elif not kinds_of(hint):
        shown["metavar"] = f"{{{','.join(words_of(hint))}}}"
    if hint is not bool and default not in (None, ()):
        text = f"{text} [{default}]"
    action = group.add_argument(flag, default=argparse.SUPPRESS, help=text.replace("%", "%%"), **shown)
    if words_of(hint):
        action.completer = lambda **_: words_of(hint)  # what a shell offers; `choices` would refuse values one by one


def given_options(arguments: argparse.Namespace, options_class: type[Options]) -> "Given":
    """What the user gave, parsed: the YAML file's values under those of the command line.

    Raises: UserError with every value that cannot be; those of the file with its line, also where the command line
    gives another.
    """
    names = {f.name for f in fields(options_class)}
    named = {name: value for name, value in vars(arguments).items() if name in names}
    path = None if "config" in names else getattr(arguments, "config", None)
    document = Document("", {}) if path is None else _config_file(path)
    keys, problems = _options_of(document, names, options_class)
    in_file, wrong_in_file = _parsed(options_class, {name: document.values[key] for name, key in keys.items()})
    values, wrong = _parsed(options_class, named)
    for name, of_value in (wrong_in_file | _beyond_bounds(options_class, in_file)).items():
        problems += [document.problem((keys[name],), problem) for problem in of_value]
    problems += [problem for of_value in wrong.values() for problem in of_value]
    if problems:
        beyond = _beyond_bounds(options_class, values)
        raise UserError([*problems, *(problem for of_value in beyond.values() for problem in of_value)])
    return Given(options_class, in_file | values, from_file=frozenset(set(keys) - set(named)))


def given_values(options_class: type[Options], named: Mapping[str, object]) -> "Given":
    """What a program gives: Python's values by option, or the texts that the command line takes.

    Raises: UserError with every name that is no option, and every value that cannot be.
    """
    names = {f.name for f in fields(options_class)} - {"json"}
    unknown = [name for name in named if name not in names]
    problems = [f"`{brief(name)[1:-1]}` is not an option{_nearest(name, names, options_class)}" for name in unknown]
    raw = {name: _plain(value) for name, value in named.items() if name in names}
    values, wrong = _parsed(options_class, raw)
    problems += [problem for of_value in wrong.values() for problem in of_value]
    if problems:
        raise UserError(problems)
    return Given(options_class, values)


def _plain(value: object) -> object:
    """A path as the text that names it, also in a list."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _parsed(options_class: type[Options], raw: Mapping[str, object]) -> tuple[OptionValues, dict[str, tuple[str, ...]]]:
    """Values that can be, and of each other one what is wrong with it."""
    values: OptionValues = {}
    wrong: dict[str, tuple[str, ...]] = {}
    for name, value in raw.items():
        try:
            values[name] = parse_value(options_class, name, value)
        except UserError as error:
            wrong[name] = error.problems
    return values, wrong


def _beyond_bounds(options_class: type[Options], values: OptionValues) -> dict[str, tuple[str, ...]]:
    """Of each value that its option cannot have what is wrong with it."""
    declared = declarations(options_class)
    found = {name: tuple(declared[name].problems(flag_of(name, declared), value)) for name, value in values.items()}
    return {name: problems for name, problems in found.items() if problems}


@dataclass(frozen=True, slots=True)
class Given:
    """The options that were given, and the class that they belong to.

    from_file: names of those that stand in the `--config` file alone. command: the words of the command that a verb
    such as `submit` runs elsewhere, its own verb first.
    """

    options_class: type[Options]
    values: OptionValues
    from_file: frozenset[str] = frozenset()
    command: tuple[str, ...] = ()

    def options(self, **underneath: object) -> Any:
        """The complete, checked options; `underneath` replaces defaults that were not given."""
        options = self.options_class(**{**underneath, **self.values})
        options.check()
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


def _options_of(document: Document, names: set[str], options_class: type[Options]) -> tuple[dict[str, str], list[str]]:
    """Option -> the key that gives it, `time-budget` as well as `time_budget`; and the problems of all other keys."""
    keys: dict[str, str] = {}
    problems: list[str] = []
    for key in document.values:
        name = key.replace("-", "_")
        if name not in names:
            hint = _nearest(name, names, options_class)
            problems.append(document.problem((key,), f"`{brief(key)[1:-1]}` is not an option{hint}"))
        elif name in keys:
            problems.append(document.problem((key,), f"`{key}` must stand once, but stands as `{keys[name]}` too"))
        else:
            keys[name] = key
    return keys, problems


def unknown_options(unknown: list[str], options_class: type[Options], verb: str) -> list[str]:
    """What is said of words that a verb does not take, a line each; the value of an unknown option needs none."""
    told = [
        word
        for before, word in zip(["", *unknown], unknown, strict=False)
        if word.startswith("--") or not before.startswith("--") or "=" in before
    ]
    return [
        f"`{brief(word)[1:-1]}` is not an option of {verb}{_nearest_flag(word, options_class, verb)}" for word in told
    ]


def _nearest_flag(word: str, options_class: type[Options], verb: str) -> str:
    """As `_nearest`, but with dashes, or in capitals what is given without an option's name."""
    declared = declarations(options_class)
    if (flag := _opposite(_name_of(word), options_class)) is not None:
        return f"; that is so unless `{flag_of(flag, declared)}` is given"
    if word.lower() in SAID_OF_FLAGS:
        return "; an option that is on or off takes no value: give it, or leave it out"
    flags = {name.replace("_", "-"): flag_of(name, declared) for name in declared} | {"config": "--config"}
    close = nearest(_name_of(word).replace("_", "-"), flags)
    if close is None:
        return f"; valid: {', '.join(sorted(flags.values()))}"
    if flags[close].startswith("--"):
        return f"; did you mean `{flags[close]}`?"
    return f"; did you mean {flags[close]}, which has no dashes: `sentinel-tune {verb} {flags[close]}`?"


def _name_of(word: str) -> str:
    return word.lstrip("-").partition("=")[0].replace("-", "_")


def _opposite(name: str, options_class: type[Options]) -> str | None:
    """The option, on or off, that `name` says no to, such as `local` for `no_local`; None where there is none."""
    other = name.removeprefix("no_") if name.startswith("no_") else f"no_{name}"
    return other if get_type_hints(options_class).get(other) is bool else None


def _nearest(name: str, names: Collection[str], options_class: type[Options]) -> str:
    """The end of a line about a name that there is not: the one that was meant, else all that there are."""
    if (flag := _opposite(name.replace("-", "_"), options_class)) is not None:
        return f"; that is so unless `{flag}` is true"
    valid = sorted(n.replace("_", "-") for n in names)
    return meant(name.replace("_", "-"), valid) or (f"; valid: {', '.join(valid)}" if valid else "")
