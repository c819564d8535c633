"""A *task*: what is predicted from what, what shares its labels, what is held out, and how it is scored.

Of the data themselves it says only which columns mean what; numbers that depend on them are `scoring/targets.py`'s.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Self

from trainable.data.task_parts import ClassTarget, Columns, Score, Target
from trainable.data.task_source import read_parts
from trainable.plain_values import JsonObject, flattened
from trainable.yaml_source import Document, find_file, read_document

FOLDER = Path(__file__).parent / "tasks"
"""The built-in tasks, a file each."""

TASK_FILE = "task.yaml"
"""What a task is called beside the data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, checked. covariates: columns of categories that are known when predicting; numbers: those of numbers
    that are."""

    about: str
    columns: Columns
    covariates: tuple[str, ...]
    targets: tuple[Target, ...]
    score: Score
    numbers: tuple[str, ...] = ()

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """A built-in task by name, or a YAML file.

        Raises: UserError with file, line, allowed values; all problems at once.
        """
        return cls._read(read_document(find_file(name_or_path, FOLDER, "a task")))

    @classmethod
    def from_dict(cls, values: JsonObject, *, label: str = "task") -> Self:
        """The inverse of `to_dict`, for studies and models that outlive their task's file.

        label: what messages call it.
        Raises: UserError.
        """
        return cls._read(Document(label, values))

    @classmethod
    def _read(cls, document: Document) -> Self:
        return cls(**read_parts(document))

    def to_dict(self) -> JsonObject:
        """Plain values as a task file has them; what is absent or says nothing is left out."""
        columns = {name: getattr(self.columns, name) for name in Columns.__slots__}
        values: JsonObject = {"about": self.about} if self.about else {}
        values["columns"] = {name: column for name, column in columns.items() if column is not None}
        if self.covariates:
            values["covariates"] = list(self.covariates)
        if self.numbers:
            values["numbers"] = list(self.numbers)
        values["targets"] = {target.name: _target_dict(target) for target in self.targets}
        values["score"] = {"kind": self.score.kind, "scale": self.score.scale}
        return values

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of all that has an effect: not of `about`."""
        values = {name: value for name, value in self.to_dict().items() if name != "about"}
        values["targets"] = list(values["targets"].items())  # their order is that of every array
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def names(self) -> tuple[str, ...]:
        """The targets' names, in the order of every `[..., targets]` array."""
        return tuple(target.name for target in self.targets)

    @property
    def has_classes(self) -> bool:
        """Whether its one target is a class, and not a number."""
        return isinstance(self.targets[0], ClassTarget)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of every `[..., outputs]` array; none of real targets.

        Raises: ValueError while they are whatever the data will have.
        """
        (first, *_) = self.targets
        if not isinstance(first, ClassTarget):
            return ()
        if first.classes is None:
            raise ValueError(f"the classes of {first.name} are known once data are read, but none were")
        return first.classes

    @property
    def n_outputs(self) -> int:
        """Numbers that are forecast of a specimen: one a real target, or one a class."""
        return len(self.classes) or len(self.targets)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of `Specimens.frame` with the labels: a class may be called like any other column."""
        return ("label",) if self.has_classes else self.names

    @property
    def number_columns(self) -> tuple[str, ...]:
        """Columns of `Specimens.frame` with the numbers: a target may be called like one."""
        return tuple(f"number:{name}" for name in self.numbers)

    def with_classes(self, names: Sequence[str]) -> Self:
        """The same with these classes, if its target is one of whatever classes the data have."""
        (first, *_) = self.targets
        if not isinstance(first, ClassTarget) or first.classes is not None:
            return self
        return replace(self, targets=(replace(first, classes=tuple(names)),))

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Columns that a table must have beside the images, but for `numbers` where nothing is learnt from it."""
        groups = (self.columns.event, self.columns.domain, self.columns.site)
        named = (*(target.column for target in self.targets), *groups, *self.covariates, self.columns.date)
        return tuple(name for name in named if name is not None)

    @property
    def groups(self) -> tuple[str, ...]:
        """Of "event", "site" and "domain" those that its data have a column for, the small ones first."""
        return tuple(name for name in ("event", "site", "domain") if getattr(self.columns, name) is not None)

    @property
    def shown_targets(self) -> tuple[str, ...]:
        """Each target's name, with its unit where it has one: what forecasts must share to be compared."""
        if self.has_classes:
            return (f"{self.names[0]} (classes)",)
        return tuple(f"{target.name} ({target.unit})" if target.unit else target.name for target in self.targets)

    @property
    def summary(self) -> str:
        """One line: what it is about, and its targets with their units, or how many classes there are."""
        named = f"{self.names[0]} ({self.n_outputs} classes)" if self.has_classes else ", ".join(self.shown_targets)
        return f"{self.about}: {named}" if self.about else named

    def differences(self, other: "Task") -> tuple[str, ...]:
        """What has an effect and is another in `other`, as "targets.mass.unit: mine, other's".

        Where the other has whatever classes its data have, mine are no difference.
        """
        if self.has_classes and other.has_classes:
            other = other.with_classes(self.classes)
        mine, theirs = (flattened({k: v for k, v in task.to_dict().items() if k != "about"}) for task in (self, other))
        found = [
            f"{key}: {mine.get(key, 'absent')}, {theirs.get(key, 'absent')}"
            for key in dict.fromkeys([*mine, *theirs])
            if mine.get(key) != theirs.get(key)
        ]
        if not found and self.names != other.names:
            found = [f"the order of the targets: {', '.join(self.names)}; {', '.join(other.names)}"]
        return tuple(found)

    @property
    def is_beetles(self) -> bool:
        """Whether it is the built-in one, which files of before tasks are of and which is written nowhere."""
        return self.fingerprint == beetles().fingerprint


@cache
def beetles() -> Task:
    """The built-in task of whatever names no other."""
    return Task.load("beetles")


def _target_dict(target: Target) -> JsonObject:
    if isinstance(target, ClassTarget):
        values: JsonObject = {"classes": "auto" if target.classes is None else list(target.classes)}
    else:
        bounds = None if target.low is target.high is None else [target.low, target.high]
        values = {"real": "any" if bounds is None else bounds}
    if target.column != target.name:
        values["column"] = target.column
    return values | ({"unit": target.unit} if target.unit else {})
