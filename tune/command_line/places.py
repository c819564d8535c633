"""Which files and folders a command line names: what an error of the system is told with."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from trainable.errors import UserError
from tune.command_line.declaration import declarations, flag_of
from tune.command_line.options import MachineOptions
from tune.command_line.parsing import Given

_TEXTS = ("data", "models", "model", "images", "space", "variant", "backbone")
"""Options that may be a path among other things."""


def named_places(given: Given) -> dict[str, str]:
    """Absolute path -> the option or argument that names it, as a user writes it, with the defaults that have one."""
    return {path: option for option, path in _places(given)}


def _places(given: Given) -> Iterator[tuple[str, str]]:
    yield "TMPDIR", _temporary()
    if issubclass(given.options_class, MachineOptions):
        with suppress(UserError):  # whoever needs it says so
            yield "--cache", str(MachineOptions(cache=given.values.get("cache")).cache_folder)
    declared = declarations(given.options_class)
    for name in declared:
        for path in _paths(name, given.values.get(name)):
            yield flag_of(name, declared), os.path.abspath(os.path.expanduser(path))


def _paths(name: str, value: object) -> Iterator[str]:
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, Path):
            yield str(item)
        elif isinstance(item, str) and name in _TEXTS:
            yield item.removeprefix("local-dir:")


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.devnull
