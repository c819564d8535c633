"""Every command with its arguments and options, as the classes of options declare them."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from docs.site.markdown import code, page, plain, sentence, table
from trainable.storage.remote_folder import RemoteFolder
from tune.cli import VERBS, Verb
from tune.command_line.declaration import Declaration, declarations, flag_of
from tune.command_line.option_values import kinds_of, words_of
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import options_by_title

ABOUT = f"""\
`sentinel-tune VERB [OPTIONS]`, the same as `python -m tune VERB [OPTIONS]`: all {len(VERBS)} verbs, each with its
options. Every verb takes `--help`; those with options take `--config YAML`, a file with any of them by name, with
hyphens or underscores, under what the command line gives. From Python the same names, with underscores, are [keyword
arguments](../python.md).

The exit status is 0 when a command is done, 2 when something that was given cannot be (a line for each problem,
before anything is computed), 130 when it was interrupted, 141 when the reader of its output has gone, 1 when it
failed.

How long a *study* keeps an option of `search`, over its resumes: *for life*, it must stay what it was; *as the study
had it*, it holds, given or not, until it is given anew, and may then name another place if what is there is the same;
*until given anew*, it holds if it was given, else today's default does; *for one session*, it says how one process
works."""

OF_THE_MACHINE = {"workers": "the CPUs that this process may use"}
"""Defaults that differ from machine to machine."""

KINDS = {int: "whole number", float: "number", str: "text", Path: "path", RemoteFolder: "URI"}


def commands_page() -> str:
    """The page."""
    lines = table(("verb", "what it does"), [(f"[`{v.name}`](#{v.name})", plain(v.about)) for v in VERBS])
    return page("Commands", ABOUT, [*lines, *(line for verb in VERBS for line in _section(verb))])


def _section(verb: Verb) -> Iterator[str]:
    yield from (f"## {verb.name}", "", sentence(verb.about), "", "```text", _usage(verb), "```", "")
    first = next(other for other in VERBS if other.options is verb.options)
    if first is not verb and first.options is SearchOptions:
        yield f"It takes the options of [`{first.name}`](#{first.name})."
        return
    declared = declarations(verb.options)
    if arguments := [name for name, declaration in declared.items() if declaration.positional]:
        yield from table(("argument", "what it is"), [(code(n.upper()), plain(declared[n].text)) for n in arguments])
    keeps = verb.options is SearchOptions
    for title, names in options_by_title(verb.options).items():
        if title:
            yield f"**{title.capitalize()}**"
        head = ("option", "value", "default", "what it does", *(["a study keeps it"] if keeps else []))
        yield from table(head, [_row(verb, name, declared[name], keeps=keeps) for name in names])


def _usage(verb: Verb) -> str:
    words = ["sentinel-tune", verb.name, "[OPTIONS]"]
    hints, declared = get_type_hints(verb.options), declarations(verb.options)
    for f in fields(verb.options):
        if declared[f.name].positional:
            name = f.name.upper() + (" ..." if get_origin(hints[f.name]) is tuple else "")
            words.append(name if f.default is MISSING else f"[{name}]")
    return " ".join([*words, *(["-- {" + ",".join(verb.commands) + "} ..."] if verb.commands else [])])


def _row(verb: Verb, name: str, declaration: Declaration, *, keeps: bool) -> tuple[str, ...]:
    default = next(f.default for f in fields(verb.options) if f.name == name)
    text, _, bracket = declaration.text.rstrip("]").partition(" [") if declaration.text.endswith("]") else (
        declaration.text, "", ""
    )  # fmt: skip
    shown = OF_THE_MACHINE.get(name) or plain(bracket) or _default(default)
    value = _value(get_type_hints(verb.options)[name], declaration)
    kept = (declaration.kept,) if keeps else ()
    return code(flag_of(name, {name: declaration})), value, shown, plain(text), *kept


def _default(default: object) -> str:
    return "" if any(default is nothing for nothing in (None, (), False, MISSING)) else code(default)


def _value(hint: object, declaration: Declaration) -> str:
    """What may be given, in words."""
    if hint is bool:
        return ""
    if declaration.duration:
        return "time, such as `90s`, `30m`, `1h30m`"
    several = get_origin(hint) is tuple
    inner = get_args(hint)[0] if several else hint
    kinds = kinds_of(inner)
    words = [" or ".join(dict.fromkeys(KINDS[kind] for kind in kinds)) + _bounds(declaration)] if kinds else []
    return ", ".join([*words, *map(code, words_of(inner))]) + (" ..." if several else "")


def _bounds(declaration: Declaration) -> str:
    signs = ((declaration.at_least, "≥"), (declaration.above, "above"), (declaration.below, "below"))
    return "".join(f" {sign} {bound:g}" for bound, sign in signs if bound is not None)
