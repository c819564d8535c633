"""What searches came to, kept as they end: a line of JSON each."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

RESULTS = Path(__file__).with_name("results.jsonl")

VERSION = 1
"""Raise it with any change to a problem or to the simulator: no line of another version is shown or reused."""

BUDGETS = (24.0, 64.0, 100.0)
LOOKS = (2.0, 4.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 32.0, 40.0, 48.0, 56.0, 64.0, 76.0, 88.0, 100.0)
"""When a search is looked at, in full lengths: what the training of a random configuration takes, on average."""

DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One search of one instance.

    basis: what the problem was made from, where that may change. looks: in full lengths. trials: begun until then.
    chosen: way of choosing -> true value of what would be shipped, at each look. tried: of the best that was begun.
    median, best: true values of random configurations, best also the known optimum where there is one.
    """

    problem: str
    instance: int
    method: str
    basis: str
    looks: tuple[float, ...]
    trials: tuple[int, ...]
    chosen: Mapping[str, tuple[float, ...]]
    tried: tuple[float, ...]
    median: float
    best: float
    version: int = VERSION

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What tells one search from another, its budget apart."""
        return self.problem, self.basis, self.instance, self.method

    def to_line(self) -> str:
        """One line of JSON, true values to five digits."""
        values = asdict(self) | {"looks": self.looks[-1]}
        values |= {name: _rounded(values[name]) for name in ("tried", "median", "best")}
        values["chosen"] = {name: _rounded(truths) for name, truths in self.chosen.items()}
        return json.dumps(values, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Inverse of `to_line`."""
        values = json.loads(line)
        values |= {"looks": looks_until(values["looks"])} | {name: tuple(values[name]) for name in ("trials", "tried")}
        values["chosen"] = {name: tuple(truths) for name, truths in values["chosen"].items()}
        return cls(**values)


def _rounded(values: float | Iterable[float]) -> float | list[float]:
    if isinstance(values, float):
        return round(values, DIGITS)
    return [round(value, DIGITS) for value in values]


class Results:
    """The file; of searches of the same instance by the same method the longest counts."""

    def __init__(self, path: Path = RESULTS) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):  # what a kill cut off
            os.truncate(path, sum(len(line.encode()) for line in whole))
        self._found: dict[tuple[str, str, int, str], Found] = {}
        for found in map(Found.from_line, whole):
            if found.version == VERSION:
                self._keep(found)

    def __iter__(self) -> Iterator[Found]:
        return iter(self._found.values())

    def reaches(self, key: tuple[str, str, int, str]) -> float:
        """Full lengths to which a search was made; 0 if it was not."""
        return self._found[key].looks[-1] if key in self._found else 0.0

    def add(self, found: Found) -> None:
        """Append it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(found.to_line())
        self._keep(found)

    def _keep(self, found: Found) -> None:
        if found.looks[-1] >= self.reaches(found.key):
            self._found[found.key] = found


def looks_until(lengths: float) -> tuple[float, ...]:
    """Those of `LOOKS` that a budget covers, and its end."""
    return tuple(dict.fromkeys([*(look for look in LOOKS if look < lengths), lengths]))
