"""Commands that are printed to be run: complete, and quoted for a shell."""

from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from tune.printed.secrets_left_out import redact
from tune.printed.shell_words import quoted

PROGRAM = "sentinel-tune"

OWN = frozenset({"json", "out", "submission", "study", "resume", "accept_change", "force"})
"""Options that say what one command does; the next one has its own."""


def next_command(verb: str, *places: object, command: Sequence[str] = (), **options: Any) -> str:
    """`sentinel-tune VERB PLACES --OPTION VALUE ...`, to be copied into a shell.

    places: what the verb takes without an option's name. options: by name; None, False and () are left out. command:
    the words of the command that `verb` runs elsewhere.
    """
    return quoted([PROGRAM, *words(verb, *places, **options), *(["--", *command] if command else [])])


def words(verb: str, *places: object, **options: Any) -> list[str]:
    """The words of a command behind the program's name, not quoted; as `next_command`."""
    return [verb, *(_place(str(place)) for place in places), *option_words(**options)]


def option_words(**options: Any) -> list[str]:
    """`--NAME VALUE ...` of options by their names; None, False and () are left out, passwords are shown as ***."""
    return [word for name, value in options.items() for word in _option(name, value)]


def carried(options: Any, into: type, *, leave: Iterable[str] = ()) -> dict[str, Any]:
    """The options that the verb with the options class `into` has too, where they are not at their defaults.

    leave: names of those that are not to be carried, besides what each command says for itself.
    """
    defaults = {f.name: f.default for f in fields(into) if f.default is not MISSING}
    return {
        f.name: value
        for f in fields(options)
        if f.name in defaults
        and f.name not in {*OWN, *leave}
        and (value := getattr(options, f.name)) not in (f.default, defaults[f.name])
    }


def _place(word: str) -> str:
    return f"./{word}" if word.startswith("-") else word  # else it is taken for an option


def _option(name: str, value: object) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is False or value == ():
        return []
    if value is True:
        return [flag]
    first, *more = [_text(item) for item in (value if isinstance(value, list | tuple) else [value])]
    return [f"{flag}={first}", *more] if first.startswith("-") else [flag, first, *more]


def _text(value: object) -> str:
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return redact(str(value))
