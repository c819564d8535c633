"""What a model was trained on, as digests: they tell which of other data it has seen, and name none of its own.

Whoever has a photograph, or knows what an event is called, can tell whether it was trained on; names and places of rare
species cannot be read from them. A digest has 64 bits: two of a million photographs share one once in 37 million times.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from trainable.errors import UserError
from trainable.plain_values import JsonObject, misfits

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens

RECORD = "training_data.json"

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_DIGITS = 16
_LABEL_DIGITS = 6  # significant ones: a table that was saved in float32 has them still


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Seen:
    """Of every specimen of other data, [n]: whether its photograph, event and site were trained on."""

    photographs: Mask
    events: Mask
    sites: Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """Digests of what a model was trained on, ascending.

    photographs: of their bytes. events: of site, event and labels together, so that the same numbers elsewhere are no
    match; empty where each photograph is its own event. sites: of their names; empty where there is no column of sites.
    """

    photographs: tuple[str, ...]
    events: tuple[str, ...]
    sites: tuple[str, ...]

    @classmethod
    def of(cls, specimens: "Specimens", rows: Ints) -> Self:
        """Of the specimens of the dataset that were trained on."""
        return cls(
            photographs=_ascending(specimens.digests[row][:_DIGITS] for row in rows),
            events=_ascending(_events(specimens, rows)),
            sites=_ascending(_sites(specimens, rows)),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises: UserError naming everything that is missing or of another type."""
        if problems := list(misfits(values, cls, RECORD)):
            raise UserError(problems)
        return cls(**{f.name: tuple(values[f.name]) for f in fields(cls)})

    def to_dict(self) -> JsonObject:
        """Plain values."""
        return {f.name: list(getattr(self, f.name)) for f in fields(self)}

    def seen(self, specimens: "Specimens") -> Seen:
        """Which specimens of any data were trained on; with one photograph of an event all of the event is seen."""
        rows, names = np.arange(len(specimens.frame)), specimens.frame["event_id"]
        photographs = _among([digest[:_DIGITS] for digest in specimens.digests], self.photographs)
        events = _among(list(_events(specimens, rows)), self.events)
        events = events if len(events) else np.zeros(len(rows), dtype=bool)
        sites = _among(list(_sites(specimens, rows)), self.sites)
        return Seen(
            photographs=photographs,
            events=events | names.isin(names[photographs]).to_numpy(),
            sites=sites if len(sites) else np.zeros(len(rows), dtype=bool),
        )


def _ascending(digests: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(digests)))


def _among(digests: list[str], known: tuple[str, ...]) -> Mask:
    return np.isin(np.array(digests, dtype=f"U{_DIGITS}"), np.array(known, dtype=f"U{_DIGITS}"))


def _events(specimens: "Specimens", rows: Ints) -> Iterator[str]:
    """A digest a row; none where the data have no column of events."""
    if specimens.task.columns.event is not None:
        frame = specimens.frame.iloc[rows]
        labels = frame[list(specimens.task.label_columns)].itertuples(index=False, name=None)
        for site, event, of_event in zip(frame["site_id"], frame["event_id"], labels, strict=True):
            yield _digest(str(site), str(event), *map(_label, of_event))


def _sites(specimens: "Specimens", rows: Ints) -> Iterator[str]:
    """A digest a row; none where the data have no column of sites."""
    if specimens.task.columns.site is not None:
        yield from map(_digest, specimens.frame["site_id"].iloc[rows].astype(str))


def _label(value: object) -> str:
    return f"{value:.{_LABEL_DIGITS}g}" if isinstance(value, float) else str(value)


def _digest(*words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:_DIGITS]
