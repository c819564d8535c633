"""What a search found: one JSON object for programs, one plain-text table for people.

Pure functions of journal entries.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.parameter import in_words
from trainable.counts import counted
from trainable.data.task import Task
from trainable.data.task_words import (
    PART_NAMES,
    figure_words,
    figures_of,
    parts_of,
    score_keys,
    score_words,
    short_names,
)
from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from trainable.shown import well_formed
from tune.decisions.ends import STOPPED_BY_ERROR
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord, finite
from tune.journal.entries import JournalEntry
from tune.journal.study_task import task_of_study
from tune.printed.secrets_left_out import redact

COLUMNS = 120
FLOORS = ("constant", "domain_mean", "species_mean")

_NAME_WIDTH = 19
_LONGEST_LEAF = 18


def result_json(
    entries: Iterable[JournalEntry],
    *,
    study: str,
    tracking_uri: str,
    experiment_id: str | None,
    parent_run_id: str | None,
    seconds: float,
) -> JsonObject:
    """The object that `search --json` prints; no NaN or infinity in it, these are null.

    Variants and floors are given by their `score/all`; a variant without any finite score is null.
    """
    standings = Standings.of(entries)
    result = {
        "study": study,
        "n_trials": len(standings.trials),
        "n_completed": standings.count("completed"),
        "n_pruned": standings.count("pruned"),
        "n_failed": standings.count("failed"),
        "best": _best_entry(standings.best()),
        "variants": {name: trial.best_score for name, trial in standings.variant_trials().items()},
        "floors": {
            name: standings.floors.get(name, {}).get(SCORE)
            for name in FLOORS
            if name in standings.floors or not standings.floors
        },
        "tracking_uri": redact(tracking_uri),
        "experiment_id": experiment_id,
        "parent_run_id": parent_run_id,
        "seconds": round(seconds, 3),
    }
    plain = json_values(result)
    assert isinstance(plain, dict)
    return plain


def json_values(value: object) -> Any:
    """`value` as strict JSON can hold it: tuples as lists, NaN and infinities as None, text as `well_formed`."""
    if isinstance(value, Mapping):
        return {well_formed(str(key)): json_values(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(child) for child in value]
    if isinstance(value, str):
        return well_formed(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def result_table(
    entries: Iterable[JournalEntry],
    *,
    study: str,
    seconds: float,
    confirmation: str = "",
    commands: Sequence[str] = (),
) -> str:
    """At most 120 columns: how the search went, the best trial beside variants and floors, the commands to go on.

    seconds: that this command took, starting up included. confirmation: its own table and verdict, if there is one.
    commands: shown one a line, whole even where they are longer.
    """
    standings = Standings.of(entries)
    lines = [_summary(standings, study, seconds), ""]
    best = standings.best()
    if best is None:
        lines += ["No trial has a score.", ""]
    else:
        lines += [*_best_lines(best), ""]
    rows = _rows(standings, best)
    if rows:
        lines += [metrics_table(rows, task_of_study(standings.header)), ""]
    if confirmation:
        lines += [confirmation]
    if commands:
        lines += ["To go on:", *(f"  {command}" for command in commands)]
    return "\n".join(lines).rstrip() + "\n"


def metrics_table(rows: Iterable[tuple[str, Mapping[str, object]]], task: Task) -> str:
    """Named metrics as rows of scores, and of figures of the task's targets; what is too wide stands below."""
    named, lines = list(rows), []
    for blocks in _side_by_side(list(_blocks(task))):
        lines += [*_heading(blocks), *(_row(name, metrics, blocks) for name, metrics in named), ""]
    note = f"score: {score_words(task)}, lower is better; {figure_words(task)}"
    return "\n".join([*lines, *textwrap.wrap(note, COLUMNS)])


def duration(seconds: float) -> str:
    """`47s`, `1m20s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _best_entry(best: TrialRecord | None) -> JsonObject | None:
    if best is None:
        return None
    return {
        "trial_id": best.trial_id,
        "score": best.best_score,
        "epoch": best.best_epoch,
        "config": best.config,
        "metrics": best.best_metrics,
    }


def _summary(standings: Standings, study: str, seconds: float) -> str:
    counts = ((standings.count(state), state) for state in ("completed", "pruned", "failed", "paused", "running"))
    parts = ", ".join(f"{count} {state}" for count, state in counts if count)
    why = standings.end_reason or ""
    if why.startswith(STOPPED_BY_ERROR):  # which is told behind the result
        why = STOPPED_BY_ERROR
    reason = f" ({why})" if why not in ("", "finished") else ""
    # a script looks for the study and its number of trials: however long the path, they stay on one line
    first = f"{study}: {counted(len(standings.trials), 'trial')}{reason}"
    took = f"this command took {duration(seconds)}"
    if not parts:
        return f"{first}; {took}"
    rest = f"{parts}; {took}"
    return f"{first}: {rest}" if len(first) + len(rest) + 2 <= COLUMNS else f"{first}\n  {rest}"


def _best_lines(best: TrialRecord) -> list[str]:
    at = f"at epoch {best.best_epoch} of {best.max_epochs}"
    first = f"Best trial {_full_name(best)}: score {best.best_score:.4f} {at}"
    settings = "  ".join(f"{key}={_setting(value)}" for key, value in (best.values or {}).items())
    indent = "  "
    return [first, *textwrap.wrap(settings, COLUMNS, initial_indent=indent, subsequent_indent=indent)]


def _full_name(trial: TrialRecord) -> str:
    name = trial.name if len(trial.name) <= 40 else f"{trial.name[:39]}…"
    return trial.trial_id if trial.name == trial.trial_id else f"{trial.trial_id} {name}"


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else in_words(value)


def _rows(standings: Standings, best: TrialRecord | None) -> list[tuple[str, Mapping[str, object]]]:
    """The best trial first, then variants and floors, each group from better to worse."""
    rows: list[tuple[str, Mapping[str, object]]] = []
    if best is not None:
        rows.append((f"best {_full_name(best)}", best.best_metrics))
    others = [(name, t.best_metrics) for name, t in standings.variant_trials().items() if t is not best]
    variants = [] if best is None else others  # without any score there is nothing to compare
    return rows + sorted(variants, key=_rank) + floor_rows(standings.floors)


def floor_rows(floors: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    """Rows for `metrics_table`, from better to worse."""
    return sorted([(f"floor {name}", floors[name]) for name in FLOORS if name in floors], key=_rank)


def _rank(row: tuple[str, Mapping[str, object]]) -> float:
    score = finite(row[1].get(SCORE))
    return math.inf if score is None else score


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Columns under one title. leaves: a metric -> what its column is called. width: of a column."""

    title: str
    leaves: Mapping[str, str]
    width: int
    digits: int

    @property
    def columns(self) -> int:
        return self.width * len(self.leaves)


def _blocks(task: Task) -> Iterator[_Block]:
    """The scores, then the figures of each part, in as many blocks as the targets need to fit."""
    yield _Block(title="score", leaves=score_keys(task), width=7, digits=3)
    short = [name if len(name) < _LONGEST_LEAF else f"{name[: _LONGEST_LEAF - 2]}…" for name in short_names(task.names)]
    parts = [part for part in parts_of(task) if part != "all"] or ["id"]
    titles = {
        f"{kind}{f', {PART_NAMES[part]}' if len(parts) > 1 else ''}": f"{metric}_{part}"
        for kind, metric in figures_of(task).items()
        for part in parts
    }
    width = max(6, 1 + max(map(len, short)), *(-(-len(title) // len(short)) for title in titles))
    most = (COLUMNS - _NAME_WIDTH) // width
    for title, metric in titles.items():
        leaves = [(f"{metric}/{target}", name) for target, name in zip(task.names, short, strict=True)]
        for start in range(0, len(leaves), most):
            yield _Block(title=title, leaves=dict(leaves[start : start + most]), width=width, digits=2)


def _side_by_side(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """The blocks in rows that are not too wide."""
    rows: list[list[_Block]] = [[]]
    for block in blocks:
        if rows[-1] and _NAME_WIDTH + sum(2 + b.columns for b in (*rows[-1], block)) - 2 > COLUMNS:
            rows.append([])
        rows[-1].append(block)
    return rows


def _heading(blocks: Sequence[_Block]) -> list[str]:
    upper = "  ".join(f"{block.title:^{block.columns}}" for block in blocks)
    lower = "  ".join("".join(f"{leaf:>{block.width}}" for leaf in block.leaves.values()) for block in blocks)
    return [f"{'':<{_NAME_WIDTH}}{text}".rstrip() for text in (upper, lower)]


def _row(name: str, metrics: Mapping[str, object], blocks: Sequence[_Block]) -> str:
    shown = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}…"
    cells = "  ".join(
        "".join(_number(metrics.get(key), width=block.width, digits=block.digits) for key in block.leaves)
        for block in blocks
    )
    return f"{shown:<{_NAME_WIDTH}}{cells}"


def _number(value: object, *, width: int, digits: int) -> str:
    number = finite(value)
    if number is None:
        return f"{'-':>{width}}"
    text = f"{number:.{digits}f}"
    return f"{text if len(text) < width else f'{number:.0e}':>{width}}"
