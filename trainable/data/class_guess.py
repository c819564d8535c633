"""Which column of a table tells classes, where nobody has said so: by its name, or by its values."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import pandas as pd

from trainable.data.class_list import MOST_CLASSES
from trainable.data.column_facts import ColumnFacts

LEAST_OF_A_CLASS = 2
"""Photographs that a class has on average: where nearly every row has its own, there is nothing to learn."""

LEAST_BY_VALUES = 3
"""The same, where the name does not say that it is a class."""

MOST_BY_VALUES = 100
"""Classes, where the name does not say that they are some."""

_TAXONOMY = ("kingdom", "phylum", "order", "family")
"""Beside which a column `class` is a rank of taxonomy: mammals, birds."""


class ClassGuess:
    """rows: texts, "" where there is no value. columns: facts of all. told: those that the table calls classes."""

    def __init__(self, rows: pd.DataFrame, columns: Mapping[str, ColumnFacts], told: Sequence[str]) -> None:
        self._rows, self._columns, self._told = rows, columns, told

    def named_label(self, among: Sequence[str]) -> str | None:
        """The column that is said to be a class, by the table or by its name."""
        is_taxonomy = any(name.lower() in _TAXONOMY for name in self._columns)
        labels = [
            name for name in among if self._columns[name].is_label and not (is_taxonomy and name.lower() == "class")
        ]
        labels.sort(key=lambda name: self._columns[name].kind != "text")  # names say more than their numbers
        found = [name for name in (*(n for n in among if n in self._told), *labels) if self.has_classes(name)]
        return found[0] if found else None

    def same_classes(self, name: str, among: Sequence[str]) -> list[str]:
        """Columns with another name for each class of this one: they would tell it."""
        return [
            other
            for other in among
            if self._n(other) == self._n(name)
            and determines(self._rows, name, [other])
            and determines(self._rows, other, [name])
        ]

    def named_category(self, among: Sequence[str]) -> str | None:
        """The first that is called as a kind of things is, or one that tells it more finely, as species do a genus."""
        fit = [name for name in among if self._columns[name].is_category and self.has_classes(name)]
        chosen = fit[0] if fit else None
        for name in fit[1:]:
            if chosen is not None and determines(self._rows, name, [chosen]) and self._n(name) > self._n(chosen):
                chosen = name
        return chosen

    def by_values(self, among: Sequence[str]) -> str | None:
        """The first with few values that repeat, those first that no place tells."""
        fit = [name for name in among if self.may_be_classes(name)]
        return next((name for name in fit if not self._is_told_by_a_place(name)), fit[0] if fit else None)

    def has_classes(self, name: str) -> bool:
        """Whether it has as many values as classes may be, each on several photographs."""
        return 2 <= self._n(name) <= min(MOST_CLASSES, len(self._rows) / LEAST_OF_A_CLASS)

    def may_be_classes(self, name: str) -> bool:
        """Whether its values could be classes, though its name does not say so: words, or two whole numbers."""
        facts = self._columns[name]
        if facts.is_place or facts.is_identity or facts.kind not in ("text", "whole numbers"):
            return False
        few = min(MOST_BY_VALUES, len(self._rows) / LEAST_BY_VALUES)
        return 2 <= self._n(name) <= (few if facts.kind == "text" else 2)

    def why_by_values(self, name: str) -> str:
        """The reason of `by_values`, in words."""
        groups = [
            group
            for group, facts in self._columns.items()
            if group != name and facts.may_be_group and (facts.is_place or facts.is_identity) and self._repeats(group)
        ]
        same = next(
            (f", the same within each {group}" for group in groups if determines(self._rows, group, [name])), ""
        )
        what = "words" if self._columns[name].kind == "text" else "whole numbers"
        return f"target: {self._n(name)} classes by its values, few {what} that repeat{same}"

    def one_hot(self, among: Sequence[str]) -> list[str]:
        """Columns of which one is 1 and the others are 0 in every row, three at least; empty where none are so."""
        flags = [name for name in among if set(map(_flag, self._rows[name].unique())) == {0, 1}]
        ones = {name: self._rows[name].map(_flag) for name in flags}
        for size in range(len(flags), 2, -1):
            if len(flags) - size > 2:  # further combinations are too many, and an accident if anything
                break
            for chosen in combinations(flags, size):
                if (pd.DataFrame({name: ones[name] for name in chosen}).sum(axis=1) == 1).all():
                    return list(chosen)
        return []

    def _n(self, name: str) -> int:
        return self._columns[name].n_values

    def _repeats(self, name: str) -> bool:
        return 1 < self._n(name) < len(self._rows)

    def _is_told_by_a_place(self, name: str) -> bool:
        """By the coarsest one, each of whose rows has one value of it: then it may be a trait of the place."""
        places = [
            place for place, facts in self._columns.items() if place != name and facts.is_place and self._repeats(place)
        ]
        coarsest: Callable[[str], int] = self._n
        return bool(places) and determines(self._rows, min(places, key=coarsest), [name])


def _flag(text: str) -> int:
    """1 or 0 as a cell writes it; -1 for anything else."""
    return {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}.get(text.lower(), -1)


def determines(rows: pd.DataFrame, group: str, others: Sequence[str]) -> bool:
    """Whether all rows of a group have the same of each of the others."""
    return bool((rows.groupby(group)[list(others)].nunique(dropna=False) <= 1).all(axis=None))
