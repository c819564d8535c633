"""All trials of a study, a row a trial: as a table, a CSV file and plain values."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainable.counts import counted
from trainable.data.task_words import score_keys
from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from trainable.shown import shown, spreadsheet_cell
from trainable.whole_file import whole_file
from tune.decisions.standings import Standings
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import TrialRecord, finite
from tune.decisions.varied import Varied, shown_value, varied_parameters
from tune.journal.study_task import task_of_study
from tune.report.results import duration

NOTHING = "-"

FIRST_COLUMNS = ("trial", "name", "status", "rung", "epochs")
"""With which every CSV file of trials begins."""

_SCORES = {"score": SCORE, "score_id": "score/id", "score_ood": "score/ood"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTable:
    """columns: names. rows: plain values in their order, None for what there is not; in order of asking.

    Scores are those of the best epoch. seconds: that a trial's epochs took together.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def to_dicts(self) -> list[JsonObject]:
        """A row as column -> value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def trial_table(standings: Standings, *, is_running: bool) -> TrialTable:
    """is_running: whether a process works on the study; else what was not told is interrupted."""
    varied, told = varied_parameters(standings), score_keys(task_of_study(standings.header))
    scores = {name: key for name, key in _SCORES.items() if key in told}
    return TrialTable(
        columns=(*FIRST_COLUMNS, *scores, "best_epoch", *(v.label for v in varied), "seconds"),
        rows=[
            tuple(_values(trial, scores.values(), varied, is_running=is_running)) for trial in standings.trials.values()
        ],
    )


def status_of(trial: TrialRecord, *, is_running: bool) -> str:
    """How a trial stands, as a user would say it."""
    return trial.state if trial.is_told or (is_running and trial.state == "running") else "interrupted"


def write_trials_csv(path: Path, table: TrialTable) -> None:
    """Whole or not at all; numbers are exact, what there is not is empty. Raises: OSError."""
    with whole_file(path, in_place=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(_cell, table.columns))
        writer.writerows(map(_cell, row) for row in table.rows)


def trial_text(table: TrialTable) -> str:
    """A line a trial, as wide as its parameters ask for."""
    is_text = [all(isinstance(v, str | None) for v in column) for column in zip(*table.rows, strict=True)]
    lines = [list(map(shown, table.columns)), *(_words(row, table.columns) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        "  ".join(
            f"{word:<{width}}" if left else f"{word:>{width}}"
            for word, width, left in zip(line, widths, is_text or [True] * len(widths), strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*aligned, counted(len(table.rows), "trial")])


def _values(trial: TrialRecord, scores: Iterable[str], varied: Sequence[Varied], *, is_running: bool) -> Iterator[Any]:
    yield from (trial.trial_id, trial_label(trial), status_of(trial, is_running=is_running), trial.rung, trial.epoch)
    yield from (finite(trial.best_metrics.get(key)) for key in scores)
    yield trial.best_epoch
    yield from (v.value(trial) for v in varied)
    yield round(trial.seconds, 3)


def _words(row: Sequence[Any], columns: Sequence[str]) -> list[str]:
    return [_word(value, column) for value, column in zip(row, columns, strict=True)]


def _word(value: Any, column: str) -> str:
    if value is None:
        return NOTHING
    if column == "seconds":
        return duration(value)
    if column in _SCORES:
        return f"{value:.4f}"
    return shown(shown_value(value))


def _cell(value: object) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return spreadsheet_cell(value) if isinstance(value, str) else value
