"""What the sampler knows of trials: a row a trial in order of their beginning, a column a parameter.

Optuna's sampler filters, sorts and reads all trials anew for every parameter of every proposal. Here a trial is written
into one matrix when it begins and ranked when it ends, so a proposal costs one split of the rows.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from trainable.plain_values import JsonObject

Rows = NDArray[np.intp]

_RUNNING, _COMPLETE, _PRUNED, _LAST, _UNKNOWN = range(5)
_STEP, _VALUE = 0, 1
_FIRST_CAPACITY = 64


@dataclass(slots=True)
class Observations:
    """Trials as numbers; grows by `begin`, is ranked by `end`.

    n: trials. n_ended: those that have ended and count. parameters: name -> one number a trial, as the parameter's
    distribution represents it (a choice by its place), NaN where a trial does not have it.
    """

    n: int = 0
    n_ended: int = 0
    _columns: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _states: NDArray[np.int8] = field(default_factory=lambda: np.zeros(_FIRST_CAPACITY, dtype=np.int8))
    _keys: NDArray[np.float64] = field(default_factory=lambda: np.zeros((_FIRST_CAPACITY, 2)))
    _ranking: Rows | None = None

    def begin(self, values: JsonObject, distributions: dict[str, BaseDistribution]) -> int:
        """A trial runs with these values; returns its row."""
        row = self.n
        self._make_room(row + 1)
        for name, value in values.items():
            if name not in self._columns:
                self._columns[name] = np.full(len(self._states), np.nan)
            self._columns[name][row] = distributions[name].to_internal_repr(value)
        self._states[row] = _RUNNING
        self.n += 1
        return row

    def complete(self, row: int, value: float) -> None:
        """A trial came to its end; ranked by its value, before all that were stopped."""
        self._end(row, _COMPLETE, 0.0, value)

    def prune(self, row: int, scores: dict[int, float]) -> None:
        """A trial was stopped early: ranked by how far it came, then by its last score; without any, behind the rest.

        scores: epoch -> finite score.
        """
        if not scores:
            self._end(row, _LAST, 0.0, 0.0)
            return
        epoch, score = max(scores.items())
        self._end(row, _PRUNED, -epoch, score)

    def fail(self, row: int, *, ranks_last: bool) -> None:
        """A trial failed: it ranks behind all others, or is as if it had never been."""
        self._end(row, _LAST if ranks_last else _UNKNOWN, 0.0, 0.0, counts=ranks_last)

    def split(self, n_better: int) -> tuple[Rows, Rows]:
        """Rows of the better and of all other trials, each in order of beginning; running ones are with the others."""
        ranking = self._ranked()
        better = np.sort(ranking[:n_better])
        is_other = self._states[: self.n] != _UNKNOWN
        is_other[better] = False
        return better, np.flatnonzero(is_other)

    def column(self, name: str, rows: Rows) -> NDArray[np.float64]:
        """A parameter's numbers in those of the rows that have it, in their order."""
        if name not in self._columns:
            return np.empty(0)
        values = self._columns[name][rows]
        found: NDArray[np.float64] = values[~np.isnan(values)]
        return found

    def _ranked(self) -> Rows:
        if self._ranking is None:
            states = self._states[: self.n]
            ended = np.flatnonzero((states != _RUNNING) & (states != _UNKNOWN))
            keys = self._keys[ended]
            self._ranking = ended[np.lexsort((keys[:, _VALUE], keys[:, _STEP], states[ended]))]  # stable
        return self._ranking

    def _end(self, row: int, state: int, step: float, value: float, *, counts: bool = True) -> None:
        self._states[row] = state
        self._keys[row] = step, math.inf if math.isnan(value) else value
        self.n_ended += counts
        self._ranking = None

    def _make_room(self, n: int) -> None:
        if n <= len(self._states):
            return
        capacity = 2 * len(self._states)
        self._states = np.resize(self._states, capacity)
        self._keys = np.resize(self._keys, (capacity, 2))
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.full(capacity - len(column), np.nan)])
