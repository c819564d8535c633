"""What a search found: one JSON object for programs, one plain-text table for people.

Pure functions of journal entries.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainable.config import TARGETS
from trainable.plain_values import JsonObject
from trainable.shown import well_formed
from tune.decisions.standings import Standings
from tune.decisions.trial_record import SCORE, TrialRecord, finite
from tune.journal.entries import JournalEntry
from tune.printed.secrets_left_out import redact

COLUMNS = 120
FLOORS = ("constant", "domain_mean", "species_mean")

_NAME_WIDTH = 19
_SCORES = (SCORE, "score/id", "score/ood")
_GROUPS = (("R2, ID", "r2_id"), ("R2, OOD", "r2_ood"), ("MAE, ID", "mae_id"), ("MAE, OOD", "mae_ood"))


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
        "floors": {name: standings.floors.get(name, {}).get(SCORE) for name in FLOORS},
        "tracking_uri": redact(tracking_uri),
        "experiment_id": experiment_id,
        "parent_run_id": parent_run_id,
        "seconds": round(seconds, 3),
    }
    plain = json_values(result)
    assert isinstance(plain, dict)
    return plain


def json_values(value: Any) -> Any:
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

    confirmation: its own table and verdict, if there is one. commands: shown one a line, whole even where they are
    longer.
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
        lines += [metrics_table(rows), ""]
    if confirmation:
        lines += [confirmation]
    if commands:
        lines += ["To go on:", *(f"  {command}" for command in commands)]
    return "\n".join(lines).rstrip() + "\n"


def metrics_table(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Named metrics as rows of scores, R2 and MAE."""
    lines = [*_heading(), *(_row(name, metrics) for name, metrics in rows), ""]
    return "\n".join(
        [*lines, "score: RMS of CRPS over targets, ID and OOD, lower is better; R2 by event, MAE by image"]
    )


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
    n_trials = len(standings.trials)
    word = "trial" if n_trials == 1 else "trials"
    reason = f" ({standings.end_reason})" if standings.end_reason not in (None, "", "finished") else ""
    return f"{study}: {n_trials} {word} in {duration(seconds)}{reason}{': ' if parts else ''}{parts}"


def _best_lines(best: TrialRecord) -> list[str]:
    at = f"at epoch {best.best_epoch} of {best.max_epochs}"
    first = f"Best trial {_full_name(best)}: score {best.best_score:.4f} {at}"
    settings = "  ".join(f"{key}={_setting(value)}" for key, value in (best.values or {}).items())
    indent = "  "
    return [first, *textwrap.wrap(settings, COLUMNS, initial_indent=indent, subsequent_indent=indent)]


def _full_name(trial: TrialRecord) -> str:
    name = trial.name if len(trial.name) <= 40 else f"{trial.name[:39]}…"
    return trial.trial_id if trial.name == trial.trial_id else f"{trial.trial_id} {name}"


def _setting(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _rows(standings: Standings, best: TrialRecord | None) -> list[tuple[str, Mapping[str, Any]]]:
    """The best trial first, then variants and floors, each group from better to worse."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    if best is not None:
        rows.append((f"best {_full_name(best)}", best.best_metrics))
    variants = [(name, trial.best_metrics) for name, trial in standings.variant_trials().items()]
    floors = [(f"floor {name}", standings.floors[name]) for name in FLOORS if name in standings.floors]
    return rows + sorted(variants, key=_rank) + sorted(floors, key=_rank)


def _rank(row: tuple[str, Mapping[str, Any]]) -> float:
    score = finite(row[1].get(SCORE))
    return math.inf if score is None else score


def _heading() -> list[str]:
    targets = [target.removeprefix("SPEI_") for target in TARGETS]
    upper = " " * _NAME_WIDTH + f"{'score':^21}" + "".join(f"  {title:^18}" for title, _ in _GROUPS)
    scores = "".join(f"{title:>7}" for title in ("all", "ID", "OOD"))
    leaves = "".join(f"{target:>6}" for target in targets)
    lower = " " * _NAME_WIDTH + scores + f"  {leaves}" * len(_GROUPS)
    return [upper.rstrip(), lower]


def _row(name: str, metrics: Mapping[str, Any]) -> str:
    shown = name if len(name) < _NAME_WIDTH else f"{name[: _NAME_WIDTH - 2]}…"
    scores = "".join(_number(metrics.get(key), width=7, digits=3) for key in _SCORES)
    groups = (
        "".join(_number(metrics.get(f"{group}/{target}"), width=6, digits=2) for target in TARGETS)
        for _, group in _GROUPS
    )
    return f"{shown:<{_NAME_WIDTH}}{scores}" + "".join(f"  {group}" for group in groups)


def _number(value: Any, *, width: int, digits: int) -> str:
    number = finite(value)
    if number is None:
        return f"{'-':>{width}}"
    text = f"{number:.{digits}f}"
    return f"{text if len(text) < width else f'{number:.0e}':>{width}}"
