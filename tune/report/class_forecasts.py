"""Forecasts of classes of images and their events: the most probable ones for reading, all of them for files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainable.plain_values import JsonObject
from trainable.shown import shown, spreadsheet_cell

SHOWN_CLASSES = 3
"""More of them are left to --csv and --json."""

_LONGEST_NAME = 18  # so that a line of three keeps to 120 columns


@dataclass(frozen=True, kw_only=True)
class ClassForecasts:
    """What was predicted: files, their events, a probability a class of each file, and of each event.

    specimens: [n, classes]. events: name -> [classes]. target: the one target's name.
    """

    files: tuple[Path, ...]
    event_of_file: tuple[str, ...]
    specimens: list[list[float]]
    events: dict[str, list[float]]
    target: str
    classes: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Of a CSV file: the most probable class, its probability, then each class's."""
        names = [self.target, f"{self.target}_probability", *(f"{self.target}: {name}" for name in self.classes)]
        return [spreadsheet_cell(name) for name in names]

    def specimen_cells(self) -> list[list[object]]:
        """A row a specimen, in the order of `columns`."""
        return [self._cells(found) for found in self.specimens]

    def event_cells(self) -> list[list[object]]:
        """A row an event, in the order of `columns`."""
        return [self._cells(found) for found in self.events.values()]

    @property
    def title(self) -> str:
        """Above the words of a table."""
        if len(self.classes) <= SHOWN_CLASSES:
            return f"{shown(self.target)}: probabilities"
        return f"{shown(self.target)}: the {SHOWN_CLASSES} most probable of {len(self.classes)} classes"

    def specimen_words(self) -> list[str]:
        """A line a specimen."""
        return [self._words(found) for found in self.specimens]

    def event_words(self) -> list[str]:
        """A line an event."""
        return [self._words(found) for found in self.events.values()]

    def to_dict(self) -> JsonObject:
        """`specimens` and `events` of `predict --json`, with all classes."""
        n_of_event = Counter(self.event_of_file)
        rows = zip(self.files, self.event_of_file, self.specimens, strict=True)
        return {
            "specimens": [
                {"image": str(image), "event": event, self.target: self._values(found)} for image, event, found in rows
            ],
            "events": [
                {"event": event, "n_specimens": n_of_event[event], self.target: self._values(found)}
                for event, found in self.events.items()
            ],
        }

    def _best(self, found: Sequence[float]) -> list[int]:
        """Classes, the most probable first."""
        return sorted(range(len(found)), key=lambda place: -found[place])

    def _cells(self, found: Sequence[float]) -> list[object]:
        best = self._best(found)[0]
        return [spreadsheet_cell(self.classes[best]), found[best], *found]

    def _words(self, found: Sequence[float]) -> str:
        told = [f"{_cut(self.classes[c])} {found[c]:.2f}" for c in self._best(found)[:SHOWN_CLASSES]]
        return "  ".join(f"{words:<{_LONGEST_NAME + 5}}" for words in told).rstrip()

    def _values(self, found: Sequence[float]) -> JsonObject:
        best = self._best(found)[0]
        by_name = dict(zip(self.classes, found, strict=True))
        return {"class": self.classes[best], "probability": found[best], "probabilities": by_name}


def _cut(name: str) -> str:
    plain = shown(name)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 1]}…"
