"""A task proposed for a table that nobody has described: what its columns are for, and a reason for each guess."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from trainable.data.cell_forms import NOT_READ
from trainable.data.class_folders import SUFFIXES
from trainable.data.class_guess import ClassGuess
from trainable.data.column_facts import ColumnFacts, cell_text
from trainable.data.near_photographs import near_photographs
from trainable.data.odd_cells import odd_cells
from trainable.data.task import Task
from trainable.data.task_groups import TaskGroups
from trainable.data.task_source import FRAME_COLUMNS, LONGEST_NAME
from trainable.errors import UserError
from trainable.plain_values import JsonObject

FEW_VALUES = 10
"""Whole numbers of no more different values look like a code."""

_UNNAMED = re.compile(r"(Unnamed: .*)?")  # as pandas saves an index, and reads it

_UNIT = re.compile(r"(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]+)[)\]]")


@dataclass(slots=True)
class Proposal:
    """values: as a task file has them. reasons: column -> why it is what it is, or left out. doubts: of `odd_cells`."""

    values: JsonObject
    reasons: dict[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The task that is proposed."""
        return Task.from_dict(self.values, label="the proposed task")


def propose(rows: pd.DataFrame, columns: Mapping[str, ColumnFacts], *, class_columns: Sequence[str] = ()) -> Proposal:
    """A task for rows of these columns; class_columns: those that the table itself calls classes.

    Raises: UserError where there are no photographs, or nothing to forecast.
    """
    draft = _Draft(rows, columns, class_columns)
    for facts in columns.values():
        draft.reasons[facts.name] = draft.first_look(facts)
    draft.choose_target()
    problems = []
    if "image" not in draft.columns:
        near = near_photographs(draft.rows, columns)
        problems.append(f"a column must hold photographs or their names ({', '.join(SUFFIXES)}), but none does{near}")
    if not draft.targets:
        problems.append(draft.nothing_to_forecast)
    if problems:
        shown = "; ".join(f"{name}: {reason}" for name, reason in draft.reasons.items())
        raise UserError([*(f"{problem} (columns: {shown})" for problem in problems), *draft.doubts()])
    draft.name_groups()
    draft.name_alternatives()
    covariates: JsonObject = {"covariates": draft.covariates} if draft.covariates else {}
    values = {"columns": draft.columns, **covariates, "targets": draft.targets}
    return Proposal(values, draft.reasons, draft.doubts())


class _Draft:
    """A proposal while column after column is looked at; columns, covariates, targets: as a task file has them."""

    def __init__(self, rows: pd.DataFrame, facts: Mapping[str, ColumnFacts], told: Sequence[str]) -> None:
        self.rows, self._facts = rows.map(cell_text), facts
        self._guess = ClassGuess(self.rows, facts, told)
        self.columns: JsonObject = {}
        self.covariates: list[str] = []
        self.targets: JsonObject = {}
        self.reasons: dict[str, str] = {}
        self.nothing_to_forecast = (
            "a column must hold what is to be forecast, numbers or classes, but none can be told from an identity or a "
            "group by its name and values; write the task by hand and name it there: targets: {COLUMN: {classes: auto}}"
        )
        self._codes: list[str] = []
        self._groups: list[str] = []
        self._with_gaps: list[str] = []

    def first_look(self, facts: ColumnFacts) -> str:
        """What a column is by itself, in words; those that may be groups are told of by `name_groups`."""
        n, n_rows, name = facts.n_values, len(self.rows), facts.name
        if _UNNAMED.fullmatch(name):
            return "left out: it has no name"
        if facts.kind == "photographs":
            return self._first_of("image", name, "it holds the photographs")
        if n == 1 and (facts.is_label or facts.is_category):
            self.nothing_to_forecast = f"`{name}` must have two classes at least, but is {facts.examples[0]} everywhere"
        if n < 2:
            only = "" if not n else f": {facts.examples[0]}"
            return f"left out: it has one value alone{only}" if n else "left out: it is empty"
        if facts.kind in NOT_READ:
            return f"left out: {NOT_READ[facts.kind]}"
        if facts.n_missing and facts.kind == "text" and not facts.is_place:
            self._with_gaps.append(name)
            return f"left out: {facts.n_missing} of {n_rows} rows have no value, and a target must have one in each"
        if facts.n_missing:
            return f"left out: {facts.n_missing} of {n_rows} rows have no value, and every row needs one{_known(facts)}"
        if facts.kind == "dates":
            return self._first_of("date", name, "its values are dates")
        if facts.counts_rows:
            return "left out: it counts the rows"
        if n == n_rows and (facts.kind == "text" or facts.is_identity):
            return self._first_of("id", name, "each row has its own")
        if facts.is_coordinate and not self._is_y_alone(facts):
            return f"left out: it tells place or time, which a photograph's group stands for{_known(facts)}"
        if facts.may_be_group:
            self._groups.append(name)
            return "left out: rows may belong together by it"
        if facts.kind == "whole numbers" and (n <= FEW_VALUES or (facts.is_label and self._guess.has_classes(name))):
            self._codes.append(name)
            return f"left out: {n} whole numbers look like a code; name it as a target if they are quantities"
        return self._add_number(facts)

    def choose_target(self) -> None:
        """A class where the table says so; else the numbers; else the column that looks most like classes, or codes."""
        if (label := self._guess.named_label([*self._groups, *self._codes])) is not None:
            for name, of in self.targets.items():
                self.reasons[of.get("column", name)] = (
                    f"left out: it holds numbers; a class, here {label}, is the only target of its task: forecast "
                    "numbers by a task of their own"
                )
            self.targets = {}
            self._add_classes(label, f"target: {self._facts[label].n_values} classes")
        elif not self.targets:
            self._choose_classes()
        for name in self._codes if not self.targets else ():
            classes = self._guess.has_classes(name)
            alternative = "; if they stand for classes, {classes: auto} instead of {real: any}" if classes else ""
            self.reasons[name] = f"{self._add_number(self._facts[name])}{alternative}"

    def _choose_classes(self) -> None:
        written = [name for name, facts in self._facts.items() if facts.kind == "written numbers"]
        if hot := self._guess.one_hot(self._codes + self._groups):
            for name in hot:
                others = ", ".join(other for other in hot if other != name)
                self.reasons[name] = f"left out: of it and {others}, one is 1 in each row"
            self._codes, self._groups = ([n for n in of if n not in hot] for of in (self._codes, self._groups))
        among = [*self._groups, *self._codes]
        if (category := self._guess.named_category(among)) is not None:
            self._add_classes(category, f"target: {self._facts[category].n_values} classes")
        elif hot:
            self._codes = []  # they would be forecast instead of the class that is there
            self.nothing_to_forecast = (
                f"what is to be forecast must be in one column, but {', '.join(hot)} tell a class together: in each "
                "row one of them is 1; write a column with the name of that one"
            )
        elif written:  # they would be forecast if they could be read
            self.nothing_to_forecast = (
                f"what is to be forecast must be plain numbers, but {written[0]} holds "
                f"{self._facts[written[0]].examples[0]}: write a point for a comma, and no unit"
            )
        elif (repeated := self._guess.by_values(among)) is not None:
            self._add_classes(repeated, self._guess.why_by_values(repeated))

    def _add_classes(self, name: str, reason: str) -> None:
        target = _target_name(name) or "class"
        self.targets[target] = {"classes": "auto"} | ({} if target == name else {"column": name})
        self.reasons[name] = f"{reason}; list them in the file to fix their order"
        (self._groups if name in self._groups else self._codes).remove(name)
        for other in self._guess.same_classes(name, [*self._groups, *self._codes]):
            self.reasons[other] = f"left out: it has the classes of {name} under other names"
            (self._groups if other in self._groups else self._codes).remove(other)

    def _add_number(self, facts: ColumnFacts) -> str:
        """Under a name that a target may have; a unit in brackets behind the column's name is its unit."""
        found = _UNIT.fullmatch(facts.name)
        name = _target_name(facts.name if found is None else found["name"])
        if not name or name in self.targets or name in FRAME_COLUMNS:
            name = f"target {len(self.targets) + 1}"
        unit: JsonObject = {} if found is None else {"unit": found["unit"]}
        column: JsonObject = {} if name == facts.name else {"column": facts.name}
        self.targets[name] = {"real": "any"} | unit | column
        return f"target: it holds numbers, {facts.n_values} different ones"

    def name_groups(self) -> None:
        """Event, site, domain and covariate among the columns with words."""
        found = TaskGroups(rows=self.rows, facts=self._facts, guess=self._guess, names=self._groups)
        targets = [of.get("column", name) for name, of in self.targets.items()]
        found.find(with_gaps=self._with_gaps, targets=targets)
        self.columns |= found.columns
        self.covariates = found.covariates
        self.reasons |= found.reasons

    def name_alternatives(self) -> None:
        """Of columns that are no target, but could be classes: how they would be forecast."""
        targets = [of.get("column", name) for name, of in self.targets.items()]
        named = any(self._facts[name].is_label or self._facts[name].is_category for name in targets)
        for name in [*self._groups, *self._codes]:
            facts = self._facts[name]
            is_kind = (facts.is_category or facts.is_label) and self._guess.has_classes(name)
            by_values = not named and name != self.columns.get("event") and self._guess.may_be_classes(name)
            if name not in targets and (is_kind or by_values):
                self.reasons[name] += "; to forecast it instead, make it the only target, {classes: auto}"

    def doubts(self) -> tuple[str, ...]:
        """What looks like a mistake in the table."""
        words = [name for name, facts in self._facts.items() if facts.kind == "text" or name in self._codes]
        known = self.rows.columns
        shown = [name for name, facts in self._facts.items() if name in known and facts.kind != "photographs"]
        return tuple(odd_cells(self.rows[shown], words))

    def _first_of(self, role: str, name: str, reason: str) -> str:
        is_first = self.columns.setdefault(role, name) == name
        return f"{role}: {reason}" if is_first else f"left out: {reason}, as in {self.columns[role]}"

    def _is_y_alone(self, facts: ColumnFacts) -> bool:
        """Whether it is the y that is told by an image x, and no height."""
        numbers = [f.name.lower() for f in self._facts.values() if "numbers" in f.kind]
        return facts.name.lower() == "y" and "x" not in numbers


def _known(facts: ColumnFacts) -> str:
    """How what is no target may still be of use, where it holds quantities."""
    is_quantity = facts.kind in ("numbers", "whole numbers") and not (facts.is_identity or facts.is_place)
    return "; if it is known when you forecast, `numbers` may name it" if is_quantity else ""


def _target_name(text: str) -> str:
    """As a target may be called; "" where nothing of it is left."""
    return re.sub(r"[^\w .-]+", " ", text).strip(" .-")[:LONGEST_NAME].strip(" .-")
