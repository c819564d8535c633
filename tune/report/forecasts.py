"""Forecasts of images and their events, as a table, a CSV file and plain values."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from trainable.counts import counted
from trainable.plain_values import JsonObject
from trainable.shown import shown, spreadsheet_cell
from trainable.whole_file import whole_file
from tune.command_line.outputs import wrote
from tune.report.class_forecasts import ClassForecasts

CSV_COLUMNS = ("level", "event", "image", "domain", "n_specimens")
"""With which every CSV file of forecasts begins."""

SHOWN_SPECIMENS = 40
"""More of them are left to --csv and --json."""


@dataclass(frozen=True)
class Forecasts:
    """What was predicted: files, their events, values [n, targets], and event -> "mu" and "sigma", one a target."""

    files: tuple[Path, ...]
    event_of_file: tuple[str, ...]
    values: list[list[float]]
    events: dict[str, dict[str, list[float]]]
    targets: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[Path, str, list[float]]]:
        """File, event and values of each specimen."""
        return list(zip(self.files, self.event_of_file, self.values, strict=True))

    @property
    def columns(self) -> list[str]:
        """Of a CSV file; only events have a sigma."""
        return [*self.targets, *(f"{target}_sigma" for target in self.targets)]

    def specimen_cells(self) -> list[list[object]]:
        """A row a specimen, in the order of `columns`."""
        return [[*values, *("" for _ in self.targets)] for values in self.values]

    def event_cells(self) -> list[list[object]]:
        """A row an event, in the order of `columns`."""
        return [[*forecast["mu"], *forecast["sigma"]] for forecast in self.events.values()]

    @property
    def title(self) -> str:
        """Above the words of a table."""
        return "".join(f"{target:>18}" for target in self.targets)

    def specimen_words(self) -> list[str]:
        """A line a specimen."""
        return ["".join(f"{value:>18.3f}" for value in values) for values in self.values]

    def event_words(self) -> list[str]:
        """A line an event."""
        pairs = [zip(forecast["mu"], forecast["sigma"], strict=True) for forecast in self.events.values()]
        return ["".join(f"{f'{mu:.3f} ± {sigma:.3f}':>18}" for mu, sigma in of_event) for of_event in pairs]

    def to_dict(self) -> JsonObject:
        """`specimens` and `events` of `predict --json`."""
        n_of_event = Counter(self.event_of_file)
        return {
            "specimens": [
                {"image": str(image), "event": event, **dict(zip(self.targets, values, strict=True))}
                for image, event, values in self.rows
            ],
            "events": [
                {
                    "event": event,
                    "n_specimens": n_of_event[event],
                    **{
                        target: {"mu": mu, "sigma": sigma}
                        for target, mu, sigma in zip(self.targets, forecast["mu"], forecast["sigma"], strict=True)
                    },
                }
                for event, forecast in self.events.items()
            ],
        }


def write_csv(path: Path, forecasts: Forecasts | ClassForecasts, *, domain: int | str | None) -> None:
    """A row a specimen, then a row an event, whole or not at all.

    Names are shown as a spreadsheet can take them: without control characters, with a ' before what would be a formula.
    """
    n_of_event = Counter(forecasts.event_of_file)
    shown_domain = spreadsheet_cell(domain) if isinstance(domain, str) else domain
    specimens = zip(forecasts.files, forecasts.event_of_file, forecasts.specimen_cells(), strict=True)
    with whole_file(path, in_place=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*CSV_COLUMNS, *forecasts.columns])
        for image, event, cells in specimens:
            writer.writerow(["specimen", spreadsheet_cell(event), spreadsheet_cell(image), shown_domain, 1, *cells])
        for event, cells in zip(forecasts.events, forecasts.event_cells(), strict=True):
            writer.writerow(["event", spreadsheet_cell(event), "", shown_domain, n_of_event[event], *cells])


def forecast_table(forecasts: Forecasts | ClassForecasts, csv_file: Path | None) -> str:
    """A line a specimen unless there are many, then a line an event; last the CSV file, if there is one."""
    n_of_event = Counter(forecasts.event_of_file)
    lines = [f"{'':<44}{forecasts.title}"]
    if len(forecasts.files) <= SHOWN_SPECIMENS:
        for image, words in zip(forecasts.files, forecasts.specimen_words(), strict=True):
            lines.append(f"{_short(shown(image)):<44}{words}")
    else:
        lines.append(f"{counted(len(forecasts.files), 'specimen')} are left to --csv and --json")
    for event, words in zip(forecasts.events, forecasts.event_words(), strict=True):
        name = _short(f"event {shown(event)} ({n_of_event[event]})")
        lines.append(f"{name:<44}{words}")
    return "\n".join([*lines, *([wrote(csv_file)] if csv_file else [])])


def _short(name: str, width: int = 43) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"
