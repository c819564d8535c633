"""Every key of a trial's configuration: type, default, what it may be, and what it means."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from docs.site.markdown import code, page, plain, table
from search_spaces.parameter import in_words
from search_spaces.space import SearchSpace, load_variant
from trainable.config import PROJECTIONS, TrialConfig

ABOUT = """\
A trial is trained by one complete configuration. These are its keys, as they stand in a variant's YAML file, in
`config.yaml` of a run in MLflow, and on a report's page; a search space varies any of them but `epochs`. What a file
leaves out has the default. The built-in variant called `default`, from which a search starts, has values of its own,
and the space [`full`](spaces.md#full) varies most keys.

An unknown key, a value of another type and one out of its range are refused, all at once, each with what is allowed."""

TYPES = {int: "whole number", float: "number", bool: "`true` or `false`"}


def configuration_page() -> str:
    """The page."""
    hints, started = get_type_hints(TrialConfig), load_variant("default").flat()
    varied = {parameter.key: parameter.range_text() for parameter in SearchSpace.load("full").parameters}
    groups = {f.name: hints[f.name] for f in fields(TrialConfig) if is_dataclass(hints[f.name])}
    alone = [f for f in fields(TrialConfig) if f.name not in groups]
    lines = [
        "## " + ", ".join(f.name for f in alone),
        "",
        *_meaning(TrialConfig, {f.name: f for f in alone}),
        "",
        "`epochs` must be given, as a whole number of at least 1.",
        "",
    ]
    rows = (_row(f.name, hints[f.name], f, started, varied) for f in alone if f.default is not MISSING)
    lines += table(("key", "may be", "default", "the variant `default`", "the space `full`"), rows)
    for name, group in groups.items():
        lines += ["", f"## {name}", "", *_meaning(group, {f.name: f for f in fields(group)})]
        group_hints = get_type_hints(group)
        rows = (_row(f"{name}.{f.name}", group_hints[f.name], f, started, varied) for f in fields(group))
        lines += table(("key", "may be", "default", "the variant `default`", "the space `full`"), rows)
    return page("Configuration of a trial", ABOUT, lines)


def _row(
    key: str, hint: Any, of: "Field[Any]", started: Mapping[str, Any], varied: Mapping[str, str]
) -> tuple[str, ...]:
    assert of.default is not MISSING
    return code(key), _allowed(hint, of.metadata), _shown(of.default), _shown(started[key]), plain(varied.get(key, ""))


def _shown(value: Any) -> str:
    return "all six" if value == PROJECTIONS else code(in_words(value))


def _allowed(hint: Any, limits: Mapping[str, Any]) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(map(code, get_args(hint)))
    if get_origin(hint) is tuple:
        return "a list of " + ", ".join(map(code, PROJECTIONS))
    if "low" not in limits:
        return TYPES[hint]
    low = f"above {limits['low']:g}" if limits["open_low"] else f"from {limits['low']:g}"
    high = f"below {limits['high']:g}" if limits["open_high"] else f"to {limits['high']:g}"
    return f"{TYPES[hint]} {low} {high}"


def _meaning(of: type, names: Mapping[str, Any]) -> Iterator[str]:
    """A class's docstring: its first paragraph, then a line for each key, or keys together, that it explains."""
    first, _, rest = (inspect.getdoc(of) or "").partition("\n\n")
    yield plain(first)
    parts = re.split(rf"(?:^|\s)((?:{'|'.join(names)})(?:, (?:{'|'.join(names)}))*): ", " " + rest) if names else []
    yield ""
    for keys, text in zip(parts[1::2], parts[2::2], strict=True):
        yield f"* {', '.join(map(code, keys.split(', ')))}: {plain(text)}"
