"""A task file, checked: every mistake with its line, what was found and what is allowed, all at once.

    targets:
      length: {real: [0, null], unit: mm, column: "length (mm)"}     # low and high; null where there is no bound

    targets:
      species: {classes: auto}                                       # or a list of names; the only target of its task

Only `columns.image` and one target must be given.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args, get_type_hints

from trainable.data.class_list import list_problems, listed_classes
from trainable.data.task_parts import (
    CLASS_SCORES,
    REAL_SCORES,
    ClassScore,
    ClassTarget,
    Columns,
    RealScore,
    RealTarget,
    Score,
    Target,
)
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.shown import brief, meant
from trainable.yaml_source import Document, Position

FRAME_COLUMNS = ("split", "event_id", "domain_id", "site_id", "species", "date", "specimen_id")
"""Columns of `Specimens.frame` beside the targets', whose names no real target can have."""

MOST_TARGETS, MOST_NUMBERS, LONGEST_NAME = 100, 100, 60

INPUTS = ("image", "domain", "species", "event")
"""What a served model calls what it is given beside the numbers, none of which can be called so."""

_KEYS = ("about", "columns", "covariates", "numbers", "targets", "score")
_COLUMNS = tuple(Columns.__slots__)
_REAL, _CLASSES = ("real", "unit", "column"), ("classes", "column")
_FORECAST = ("mu", "sigma")  # what follows a target's name in tables of forecasts
_NAME = re.compile(r"\w([\w .-]*\w)?")


def read_parts(document: Document) -> JsonObject:
    """The fields of a `Task`. Raises: UserError with all problems."""
    reader = _Reader(document)
    values = document.values
    reader.check_keys((), values, _KEYS)
    parts: JsonObject = {
        "about": reader.text(("about",), values.get("about", "")),
        "columns": reader.columns(values.get("columns")),
        "covariates": reader.covariates(values.get("covariates", [])),
        "numbers": reader.numbers(values.get("numbers", [])),
        "targets": reader.targets(values.get("targets")),
    }
    parts["score"] = reader.score(values.get("score", {}), _kinds(parts["targets"], values.get("targets")))
    if not reader.problems:
        reader.check_columns_once(parts["columns"], parts["covariates"], parts["numbers"], parts["targets"])
    if reader.problems:
        raise UserError(reader.problems)
    return parts


def _kinds(targets: tuple[Target, ...], given: object) -> tuple[RealScore | ClassScore, ...]:
    """Of scores that the targets can have, the usual one first; all while it is not said what a target is."""
    if targets and all(isinstance(target, ClassTarget) for target in targets):
        return CLASS_SCORES
    says = isinstance(given, Mapping) and any(_is_number(spec) for spec in given.values())
    return REAL_SCORES if says else (*REAL_SCORES, *CLASS_SCORES)


def _is_number(spec: object) -> bool:
    return isinstance(spec, Mapping) and "real" in spec and "classes" not in spec


@dataclass(slots=True)
class _Reader:
    document: Document
    problems: list[str] = field(default_factory=list)

    def note(self, position: Position, text: str) -> None:
        self.problems.append(self.document.problem(position, text))

    def check_keys(self, position: Position, given: Mapping[str, object], allowed: tuple[str, ...]) -> None:
        for key in given:
            if key not in allowed:
                near = meant(str(key), allowed)
                self.note((*position, key), f"`{key}` is not a key here{near}; valid: {', '.join(allowed)}")

    def text(self, position: Position, value: object) -> str:
        if isinstance(value, str):
            return " ".join(value.split())
        self.note(position, f"`{position[-1]}` must be a text, but got {brief(value)}")
        return ""

    def mapping(self, position: Position, value: object, such_as: str) -> Mapping[str, object] | None:
        if isinstance(value, Mapping):
            return value
        self.note(position, f"`{position[-1]}` must be a mapping such as {such_as}, but got {brief(value)}")
        return None

    def columns(self, value: object) -> Columns | None:
        given = self.mapping(("columns",), value, "{image: file_name, site: location}")
        if given is None:
            return None
        self.check_keys(("columns",), given, _COLUMNS)
        named = {name: self._column(("columns", name), given[name]) for name in _COLUMNS if name in given}
        if "image" not in given:
            self.note(("columns",), "`columns.image` must name the column of the photographs, but is not given")
        return None if named.get("image") is None else Columns(**named)  # type: ignore[arg-type]

    def _column(self, position: Position, value: object) -> str | None:
        self._check_not_split(position, value)
        if isinstance(value, str) and value.strip():
            return value
        self.note(position, f"`{position[-1]}` must be the name of a column, or be left out, but got {brief(value)}")
        return None

    def _check_not_split(self, position: Position, column: object) -> None:
        if column == "split":
            self.note(position, "a column called split says train or validation, and can have no other meaning")

    def covariates(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
            self.note(("covariates",), f"`covariates` must be a list of columns, but got {brief(value)}")
            return ()
        if len(value) > 1:
            self.note(("covariates",), f"`covariates` must name one column at most so far, but got {', '.join(value)}")
        for name in value:
            self._check_not_split(("covariates",), name)
        return tuple(value)

    def numbers(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
            self.note(("numbers",), f"`numbers` must be a list of columns, but got {brief(value)}")
            return ()
        if len(value) > MOST_NUMBERS:
            self.note(("numbers",), f"`numbers` must name {MOST_NUMBERS} columns at most, but got {len(value)}")
        for name in value:
            self._check_not_split(("numbers",), name)
            if name in INPUTS:
                self.note(("numbers",), f"a number must not be called {', '.join(INPUTS)}, but one is `{name}`")
        return tuple(value)

    def targets(self, value: object) -> tuple[Target, ...]:
        given = self.mapping(("targets",), value, "{length: {real: [0, 50], unit: mm}} or {species: {classes: auto}}")
        if given is None:
            return ()
        if not 1 <= len(given) <= MOST_TARGETS:
            self.note(("targets",), f"`targets` must have 1 to {MOST_TARGETS} entries, but has {len(given)}")
        targets = tuple(self._target(name, spec) for name, spec in given.items())
        for target in targets:
            self._check_name(target, given)
            self._check_not_split(("targets", target.name), target.column)
        of_classes = [target.name for target in targets if isinstance(target, ClassTarget)]
        if of_classes and len(targets) > 1:
            named = ", ".join(f"`{target.name}`" for target in targets)
            rule = "a target of classes must be the only one of its task"
            self.note(("targets", of_classes[0]), f"{rule}, but this has {named}: make a task each")
        return targets

    def _check_name(self, target: Target, names: Mapping[str, object]) -> None:
        name = target.name
        position: Position = ("targets", name)
        if name in FRAME_COLUMNS and _is_number(names[name]):
            self.note(
                position, f"a target of numbers must not be called {', '.join(FRAME_COLUMNS)}, but one is `{name}`"
            )
        if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            self.note(
                position,
                f"a target's name must be letters, digits, blanks and _ . - between them, {LONGEST_NAME} at most, but "
                f"got {brief(name)}; name the column by `column`: {{real: any, column: {brief(name)}}}",
            )
        for kind in _FORECAST:
            if f"{name}_{kind}" in names:
                self.note(position, f"`{name}_{kind}` must be no target beside `{name}`, whose forecast is called so")

    def _target(self, name: str, value: object) -> Target:
        position: Position = ("targets", name)
        spec = self.mapping(position, value, "{real: [0, 50], unit: mm} or {classes: auto}") or {}
        is_class = "classes" in spec and "real" not in spec
        if "classes" in spec and "real" in spec:
            self.note(position, f"`{name}` must have one of `real` and `classes`, but has both")
        is_open = not is_class and "real" not in spec
        if value == spec and is_open:
            self.note(
                position, f"`{name}` must have `real`, its bounds [low, high] or any; or `classes`, auto or a list"
            )
        either = is_open or "classes" in spec
        self.check_keys(position, spec, _CLASSES if is_class else ("classes", *_REAL) if either else _REAL)
        column = (self._column((*position, "column"), spec["column"]) if "column" in spec else None) or name
        if is_class:
            for problem in list_problems(spec["classes"]):
                self.note((*position, "classes"), problem)
            return ClassTarget(name=name, column=column, classes=listed_classes(spec["classes"]))
        low, high = self._bounds((*position, "real"), spec["real"]) if "real" in spec else (None, None)
        unit = self.text((*position, "unit"), spec.get("unit", ""))
        return RealTarget(name=name, column=column, low=low, high=high, unit=unit)

    def _bounds(self, position: Position, value: object) -> tuple[float | None, float | None]:
        if value is None or value == "any":
            return None, None
        if not isinstance(value, list) or len(value) != 2 or not all(map(_is_bound, value)):
            self.note(
                position,
                f"`real` must be [low, high], finite numbers or null for no bound, or any, but got {brief(value)}",
            )
            return None, None
        low, high = (None if bound is None else float(bound) for bound in value)
        if low is not None and high is not None and low >= high:
            self.note(position, f"`low < high` must hold, but got {brief(value)}")
        return low, high

    def score(self, value: object, kinds: tuple[RealScore | ClassScore, ...]) -> Score:
        """kinds: that the targets can have, the usual one first."""
        given = self.mapping(("score",), value, f"{{kind: {kinds[0]}, scale: skill}}")
        if given is None:
            return Score()
        choices: dict[str, tuple[str, ...]] = {"kind": kinds, "scale": get_args(get_type_hints(Score)["scale"])}
        self.check_keys(("score",), given, tuple(choices))
        for key, allowed in choices.items():
            if key in given and given[key] not in allowed:
                near = meant(str(given[key]), allowed)
                of = " for numbers" if allowed == REAL_SCORES else " for classes" if allowed == CLASS_SCORES else ""
                self.note(
                    ("score", key),
                    f"`{key}` must be one of {', '.join(allowed)}{of}, but got {brief(given[key])}{near}",
                )
        kind = next((kind for kind in kinds if kind == given.get("kind")), kinds[0])
        return Score(kind=kind, scale="raw" if given.get("scale", Score().scale) == "raw" else "skill")

    def check_columns_once(
        self,
        columns: Columns,
        covariates: tuple[str, ...],
        numbers: tuple[str, ...],
        targets: tuple[Target, ...],
    ) -> None:
        """A label, say, that is a covariate too would be known when predicting."""
        uses: dict[str, list[tuple[Position, str]]] = {}
        for role in _COLUMNS:
            if (column := getattr(columns, role)) is not None:
                uses.setdefault(column, []).append((("columns", role), f"`columns.{role}`"))
        for column in covariates:
            uses.setdefault(column, []).append((("covariates",), "`covariates`"))
        for column in numbers:
            uses.setdefault(column, []).append((("numbers",), "`numbers`"))
        for target in targets:
            uses.setdefault(target.column, []).append((("targets", target.name), f"target `{target.name}`"))
        for column, places in uses.items():
            if column == "file_name" and columns.image != column:
                self.note(places[0][0], "a column called file_name names photographs, and can have no other meaning")
            if len(places) > 1:
                named = " and ".join(name for _, name in places)
                self.note(places[-1][0], f"a column must have one meaning, but {brief(column)} is {named}")


def _is_bound(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value is None or is_number
