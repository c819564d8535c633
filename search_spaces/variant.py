"""Variants: named, complete, fixed configurations: the four published ones and our default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces.parameter import in_words
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.shown import brief
from trainable.yaml_source import Document, Position, file_names, find_file, read_document

HERE = Path(__file__).parent
FOLDER = HERE / "variants"

_KEYS = ("about", "epochs", "config", "mended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A named configuration.

    config: complete; its `epochs` is the published length. mended: in which ways it is better than what was published.
    """

    name: str
    about: str
    config: TrialConfig
    mended: tuple[str, ...]

    def text(self) -> str:
        """For a terminal: what it is, its values by dotted key, what was mended."""
        width = max(map(len, self.config.flat()))
        lines = [f"{self.name}: {self.about}", ""]
        for key, value in self.config.flat().items():
            shown = ", ".join(value) if isinstance(value, tuple) else in_words(value)
            lines.append(f"  {key:<{width}}  {shown}")
        if self.mended:
            lines += ["", "Mended:", *(f"  * {item}" for item in self.mended)]
        return "\n".join(lines)


def list_variants() -> dict[str, str]:
    """Built-in variants: name -> what it is."""
    return {name: read_variant(name).about for name in file_names(FOLDER)}


USUAL_EPOCHS = 20
"""Of a training of a built-in variant: published lengths are those of another budget."""


def trained_variant(name_or_path: str | Path, epochs: int | None) -> TrialConfig:
    """What a training without a search runs: over so many epochs, or those that a user's file names, or the usual ones.

    Raises: UserError as `load_variant`.
    """
    if epochs is None and str(name_or_path) in file_names(FOLDER):
        epochs = USUAL_EPOCHS
    return load_variant(name_or_path, epochs=epochs)


def load_variant(name_or_path: str | Path, *, epochs: int | None = None) -> TrialConfig:
    """The configuration of a built-in variant or of a file, laid out over `epochs`; the published length by default.

    Raises: UserError with file, line and allowed values.
    """
    config = read_variant(name_or_path).config
    return config if epochs is None else config.with_values({"epochs": epochs})


def variant_file(config: Mapping[str, Any], about: str) -> str:
    """YAML of a variant's file that holds a configuration: nested values and, at the top, its `epochs`."""
    values = {name: value for name, value in config.items() if name != "epochs"}
    text = {"about": about, "epochs": config["epochs"], "config": values}
    return yaml.safe_dump(text, sort_keys=False, allow_unicode=True)


def read_variant(name_or_path: str | Path) -> Variant:
    """A built-in variant or a file: `about`, `epochs`, `config` (nested; what it leaves out has the default value),
    `mended`.

    Raises: UserError with file, line and allowed values.
    """
    path = find_file(name_or_path, FOLDER, "a variant")
    document = read_document(path)
    values = document.values
    problems = document.unknown_keys((), values, _KEYS)
    for key, kind in (("about", str), ("epochs", int), ("config", dict)):
        if key not in values:
            problems.append(document.problem((), f"`{key}` must be given"))
        elif not isinstance(values[key], kind):
            wanted = {str: "a text", int: "a whole number", dict: "a mapping of keys"}[kind]
            problems.append(document.problem((key,), f"`{key}` must be {wanted}, but got {brief(values[key])}"))
    mended = values.get("mended", [])
    if not isinstance(mended, list) or not all(isinstance(item, str) for item in mended):
        problems.append(document.problem(("mended",), f"`mended` must be a list of texts, but got {brief(mended)}"))
    config = None
    if isinstance(values.get("config"), dict):
        if "epochs" in values["config"]:
            problems.append(document.problem(("config", "epochs"), "`epochs` must stand beside `config`, not in it"))
        try:
            config = TrialConfig.from_dict({**values["config"], "epochs": values.get("epochs", 1)})
        except UserError as error:
            problems += [locate(document, ("config",), problem) for problem in error.problems]
    if problems or config is None:
        raise UserError(dict.fromkeys(problems))
    return Variant(name=path.stem, about=values["about"].strip(), config=config, mended=tuple(mended))


def locate(document: Document, position: Position, problem: str) -> str:
    """Put file and line before a configuration's problem, which begins with the dotted key it is about."""
    found = re.match(r"`([\w.]+)", problem)
    key = found.group(1) if found else ""
    nested = (*position, *key.split("."))
    known = (place for place in ((*position, key), nested, (key,)) if place in document.lines)
    return document.problem(next(known, nested), problem)


def configuration_of(document: Document, position: Position, item: Any, base: TrialConfig) -> tuple[str, TrialConfig]:
    """Name and configuration of a variant's name or path, or of a mapping of dotted keys over `base` (and a `name`).

    Raises: UserError with file and line.
    """
    if isinstance(item, Mapping):
        given = {key: value for key, value in item.items() if key != "name"}
        try:
            return str(item.get("name", f"point-{position[-1]}")), base.with_values(given)
        except UserError as error:
            raise UserError(locate(document, position, problem) for problem in error.problems) from error
    if not isinstance(item, str):
        raise UserError(document.problem(position, f"must be a variant's name or a mapping, but got {brief(item)}"))
    built_in = item in file_names(FOLDER)
    files = [] if built_in else [path for path in (document.folder / item, HERE / item) if path.is_file()]
    try:
        variant = read_variant(files[0] if files else item)
    except UserError as error:
        raise UserError(document.problem(position, problem) for problem in error.problems) from error
    return variant.name, variant.config
