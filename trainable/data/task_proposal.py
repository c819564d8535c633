"""A task proposed for a table that nobody has described: what its columns hold, and a reason for each guess."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from trainable.data.class_folders import SUFFIXES
from trainable.data.class_list import MOST_CLASSES
from trainable.data.odd_cells import NO_VALUE, odd_cells
from trainable.data.task import Task
from trainable.data.task_source import FRAME_COLUMNS, LONGEST_NAME
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.shown import brief

FEW_VALUES = 10
"""Whole numbers of no more different values look like a code."""

LEAST_OF_A_CLASS = 2
"""Photographs that a class has on average: where nearly every row has its own, there is nothing to learn."""

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?")
_IDENTITY = re.compile(r"(^|_)(id|uuid|index|key)$|(?<=[a-z])(ID|Id)$")
_COORDINATE = re.compile(
    r"(decimal)?_?(lat|lon|lng|latitude|longitude|x|y|elevation|altitude|year|month|day|hour)", re.I
)
_PLACE = re.compile(
    r"site|place|plot|location|station|camera|hospital|patient|subject|region|country|domain|block|farm|event|trap|slide",
    re.IGNORECASE,
)
_CATEGORY = re.compile(r"species|genus|family|taxon|scientific|variety|cultivar|breed|sex|stage|scanner|device", re.I)
_LABEL = re.compile(r"(class|cls|label|target|category|y)(_?name|_?id)?", re.IGNORECASE)
_UNIT = re.compile(r"(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]+)[)\]]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column. kind: "photographs", "numbers", "whole numbers", "dates", "text", "lists", or "nothing"."""

    name: str
    kind: str
    n_values: int
    n_missing: int
    examples: tuple[str, ...]

    @property
    def is_identity(self) -> bool:
        """Whether its name says that it tells rows, or groups of them, apart."""
        return _IDENTITY.search(self.name) is not None

    @property
    def may_be_group(self) -> bool:
        """Whether rows may belong together by it: words, or numbers whose name says so."""
        is_place = self.kind == "whole numbers" and _PLACE.search(self.name) is not None
        return self.kind == "text" or self.is_identity or is_place


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


def column_facts(rows: pd.DataFrame, photographs: Sequence[str] = ()) -> dict[str, ColumnFacts]:
    """What each column holds; photographs: those that hold encoded images, which `rows` lacks."""
    encoded = {
        name: ColumnFacts(name=name, kind="photographs", n_values=len(rows), n_missing=0, examples=())
        for name in photographs
    }
    return encoded | {str(name): _facts(str(name), rows[name]) for name in rows.columns if name != "split"}


def propose(rows: pd.DataFrame, columns: Mapping[str, ColumnFacts], *, class_columns: Sequence[str] = ()) -> Proposal:
    """A task for rows of these columns; class_columns: those that the table itself calls classes.

    Raises: UserError where there are no photographs, or nothing to forecast.
    """
    draft = _Draft(rows)
    for facts in columns.values():
        draft.reasons[facts.name] = draft.first_look(facts)
    if not draft.targets:  # there is nothing else to forecast
        draft.add_classes(columns, class_columns)
    for name in draft.codes if not draft.targets else ():
        draft.reasons[name] = draft.add_target(columns[name])
    problems = []
    if "image" not in draft.columns:
        problems.append(f"a column must hold photographs or their names ({', '.join(SUFFIXES)}), but none does")
    if not draft.targets:
        problems.append(
            "a column must hold what is to be forecast, numbers or classes, but none can be told from an identity or a "
            "group by its name and values; write the task by hand and name it there: targets: {COLUMN: {classes: auto}}"
        )
    if problems:
        shown = "; ".join(f"{name}: {reason}" for name, reason in draft.reasons.items())
        raise UserError([*(f"{problem} (columns: {shown})" for problem in problems), *draft.doubts(columns)])
    draft.name_groups()
    covariates: JsonObject = {"covariates": draft.covariates} if draft.covariates else {}
    values = {"columns": draft.columns, **covariates, "targets": draft.targets}
    return Proposal(values, draft.reasons, draft.doubts(columns))


def _facts(name: str, values: pd.Series) -> ColumnFacts:
    text = values.map(_text)
    given = text[text != ""]
    if _kind(given) == "text" and "numbers" in _kind(without := given[~given.str.fullmatch(NO_VALUE)]):
        given = without
    return ColumnFacts(
        name=name,
        kind="lists" if values.map(lambda value: isinstance(value, list | dict)).any() else _kind(given),
        n_values=given.nunique(),
        n_missing=len(values) - len(given),
        examples=tuple(brief(value) for value in given.unique()[:3]),
    )


def _text(value: object) -> str:
    """A cell as it is read: "" for none; of lists and mappings what they look like."""
    return "" if value is None or value != value else str(value).strip()


def _kind(given: pd.Series) -> str:
    if given.empty:
        return "nothing"
    if given.str.lower().str.endswith(SUFFIXES).all():
        return "photographs"
    if given.map(lambda value: _DATE.fullmatch(value) is not None).all():
        return "dates"
    numbers = pd.to_numeric(given, errors="coerce")
    if numbers.notna().all() and not given.str.fullmatch(r"0\d+").any():  # 0012 is a name
        return "whole numbers" if given.str.fullmatch(r"[+-]?\d+(\.0+)?").all() else "numbers"
    return "text"


class _Draft:
    """A proposal while column after column is looked at; columns, covariates, targets: as a task file has them."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows.map(_text)
        self.columns: JsonObject = {}
        self.covariates: list[str] = []
        self.targets: JsonObject = {}
        self.reasons: dict[str, str] = {}
        self.codes: list[str] = []
        self._groups: list[str] = []
        self._with_gaps: list[str] = []

    def first_look(self, facts: ColumnFacts) -> str:
        """What a column is by itself, in words; those that may be groups are told of by `name_groups`."""
        n, n_rows, name = facts.n_values, len(self._rows), facts.name
        if facts.kind == "photographs":
            return self._first_of("image", name, "it holds the photographs")
        if n < 2:
            return "left out: it has one value alone" if n else "left out: it is empty"
        if facts.kind == "lists":
            return "left out: its values are no plain ones"
        if facts.n_missing and facts.kind == "text" and not _PLACE.search(name):
            self._with_gaps.append(name)
            return f"left out: {facts.n_missing} of {n_rows} rows have no value, and a target must have one in each"
        if facts.n_missing:
            return f"left out: {facts.n_missing} of {n_rows} rows have no value, and every row needs one"
        if facts.kind == "dates":
            return self._first_of("date", name, "its values are dates")
        if n == n_rows and (facts.kind == "text" or facts.is_identity):
            return self._first_of("id", name, "each row has its own")
        if _COORDINATE.fullmatch(name.lower()):
            return "left out: it tells place or time, which a photograph's group stands for"
        if facts.may_be_group:
            self._groups.append(name)
            return "left out"
        if facts.kind == "whole numbers" and n <= FEW_VALUES:
            self.codes.append(name)
            return f"left out: {n} whole numbers look like a code; name it as a target if they are quantities"
        return self.add_target(facts)

    def doubts(self, columns: Mapping[str, ColumnFacts]) -> tuple[str, ...]:
        """What looks like a mistake in the table."""
        words = [name for name, facts in columns.items() if facts.kind == "text" or name in self.codes]
        shown = [name for name, facts in columns.items() if name in self._rows.columns and facts.kind != "photographs"]
        return tuple(odd_cells(self._rows[shown], words))

    def _first_of(self, role: str, name: str, reason: str) -> str:
        is_first = self.columns.setdefault(role, name) == name
        return f"{role}: {reason}" if is_first else f"left out: {reason}, as in {self.columns[role]}"

    def add_target(self, facts: ColumnFacts) -> str:
        """Under a name that a target may have; a unit in brackets behind the column's name is its unit."""
        found = _UNIT.fullmatch(facts.name)
        name = _target_name(facts.name if found is None else found["name"])
        if not name or name in self.targets or name in FRAME_COLUMNS:
            name = f"target {len(self.targets) + 1}"
        unit: JsonObject = {} if found is None else {"unit": found["unit"]}
        column: JsonObject = {} if name == facts.name else {"column": facts.name}
        self.targets[name] = {"real": "any"} | unit | column
        return f"target: it holds numbers, {facts.n_values} different ones"

    def add_classes(self, columns: Mapping[str, ColumnFacts], told: Sequence[str]) -> None:
        """The column that looks most like classes, if any does: one told to be, a label by its name, a category."""
        for looks_so in (told.__contains__, _LABEL.fullmatch, _CATEGORY.search):
            for name in [*self._groups, *self.codes]:
                n = columns[name].n_values
                if looks_so(name) and 2 <= n <= min(MOST_CLASSES, len(self._rows) / LEAST_OF_A_CLASS):
                    target = _target_name(name) or "class"
                    self.targets[target] = {"classes": "auto"} | ({} if target == name else {"column": name})
                    self.reasons[name] = f"target: {n} classes; list them in the file to fix their order"
                    (self._groups if name in self._groups else self.codes).remove(name)
                    return

    def name_groups(self) -> None:
        """Event, site, domain and covariate among the columns with words: by what lies within what."""
        rows, targets = self._rows, [of.get("column", name) for name, of in self.targets.items()]
        categories = [name for name in self._groups if _CATEGORY.search(name)]
        chain: list[str] = []
        for name in sorted((g for g in self._groups if g not in categories), key=lambda g: -rows[g].nunique()):
            if not chain or _determines(rows, chain[-1], [name]):
                chain.append(name)
            else:
                categories.append(name)
        if chain and _determines(rows, chain[0], targets):
            self.columns["event"] = chain.pop(0)
            self.reasons[self.columns["event"]] = "event: all of its photographs have the same labels"
        reasons = {"site": "held out as a whole, so that no place is on two sides", "domain": "each site lies in one"}
        for (role, why), name in zip(reasons.items(), chain, strict=False):
            self.columns[role] = name
            self.reasons[name] = f"{role}: {rows[name].nunique()} groups, {why}"
        for name in chain[2:]:
            self.reasons[name] = f"left out: it is coarser than {chain[1]}"
        for name in [*categories, *self._with_gaps]:
            if self.covariates:
                self.reasons[name] = "left out: a further category, of which one may be a covariate"
                continue
            self.covariates = [name]
            self.reasons[name] = "covariate: a category beside the groups; leave it out if no forecast will know it"


def _target_name(text: str) -> str:
    """As a target may be called; "" where nothing of it is left."""
    return re.sub(r"[^\w .-]+", " ", text).strip(" .-")[:LONGEST_NAME].strip(" .-")


def _determines(rows: pd.DataFrame, group: str, others: Sequence[str]) -> bool:
    """Whether all rows of a group have the same of each of the others."""
    return bool((rows.groupby(group)[list(others)].nunique(dropna=False) <= 1).all(axis=None))
