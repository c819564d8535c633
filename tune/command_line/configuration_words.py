"""A configuration's values as words of a command line: `optim.lr=3e-4 adapter.targets=q_proj+v_proj`."""

from collections.abc import Sequence
from typing import get_origin

from trainable.config import config_fields
from trainable.plain_values import JsonObject
from trainable.shown import brief, meant


def values_of_words(words: Sequence[str]) -> tuple[JsonObject, list[str]]:
    """Dotted key -> value of each word KEY=VALUE, and what is wrong with the others."""
    hints = config_fields()
    values: JsonObject = {}
    problems: list[str] = []
    for word in words:
        key, _, text = word.partition("=")
        if key not in hints or key == "epochs":
            names = sorted(hints.keys() - {"epochs"})
            problems.append(f"`{brief(key)[1:-1]}` is not a configuration key{_nearest(key, names)}")
        elif key in values:
            problems.append(f"`{key}` must be given once, but got {values[key]!r} and {text!r}")
        else:
            values[key] = _parsed(text, hints[key])
    return values, problems


def _parsed(text: str, hint: object) -> object:
    """A value of the key's kind; a text that is none stays one, which the configuration refuses in its own words."""
    if get_origin(hint) is tuple:
        return text.split("+")
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    for kind in (int, float):
        if hint in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _nearest(key: str, names: Sequence[str]) -> str:
    return meant(key, names) or f"; valid: {', '.join(names)}"
