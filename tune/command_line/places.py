"""Which files and folders a command line names: what an error of the system is told with."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainable.errors import UserError
from tune.command_line.options import MachineOptions
from tune.command_line.parsing import Given

_TEXTS = ("data", "models", "model", "images", "space", "variant", "backbone")
"""Options that may be a path among other things."""


def named_places(given: Given | argparse.Namespace) -> dict[str, str]:
    """Absolute path -> the option or argument that names it, as a user writes it, with the defaults that have one."""
    return {path: option for option, path in _places(given)}


def _places(given: Given | argparse.Namespace) -> Iterator[tuple[str, str]]:
    if isinstance(given, argparse.Namespace):
        if isinstance(path := getattr(given, "path", None), Path):
            yield "PATH", os.path.abspath(path)
        return
    yield "TMPDIR", _temporary()
    if issubclass(given.options_class, MachineOptions):
        with suppress(UserError):  # whoever needs it says so
            yield "--cache", str(MachineOptions(cache=given.values.get("cache")).cache_folder)
    for f in fields(given.options_class):
        flag = f.name.upper() if f.metadata.get("positional") else f"--{f.name.replace('_', '-')}"
        for path in _paths(f.name, given.values.get(f.name)):
            yield flag, os.path.abspath(os.path.expanduser(path))


def _paths(name: str, value: Any) -> Iterator[str]:
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
