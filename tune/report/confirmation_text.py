"""A confirmation as text: the table of candidates beside the default, and the verdict."""

import textwrap

from trainable.counts import counted
from trainable.data.task import Task
from tune.confirming.outcome import Confirmed, ConfirmedConfiguration
from tune.report.results import COLUMNS, floor_rows, metrics_table

_NAME_WIDTH = 19


def confirmation_text(confirmed: Confirmed, task: Task) -> str:
    """Scores beside the floors and with intervals, differences to the default, the verdict; at most 120 columns."""
    folds, seeds = counted(len(confirmed.folds), "held-out fold"), counted(len(confirmed.seeds), "seed")
    lines = [f"Confirmed on {folds} x {seeds}, at most {counted(confirmed.epochs, 'epoch')}:", ""]
    rows = [(candidate.name, candidate.metrics) for candidate in confirmed.candidates]
    lines += [metrics_table([*rows, *floor_rows(confirmed.floors)], task), ""]
    levels = {candidate.difference.level for candidate in confirmed.candidates if candidate.difference is not None}
    of_all = f", {_percent(confirmed.level)} interval" if len(levels) < 2 else ", interval of"
    lines.append(f"{'':<{_NAME_WIDTH}}  score and {confirmed.interval_level:.0%} interval   gain on default{of_all}")
    lines += [_candidate_line(candidate, with_level=len(levels) > 1) for candidate in confirmed.candidates]
    for candidate in confirmed.candidates:
        if candidate.members:
            lines += textwrap.wrap(candidate.mixture, COLUMNS, subsequent_indent="  ")
    if (first := confirmed.asked_first) is not None:
        lines.append(f"asked first: {first}; others win only where it does")
    for line in confirmed.not_compared:
        lines += textwrap.wrap(line, COLUMNS, subsequent_indent="  ")
    if confirmed.scored_by_search:
        shown = ", ".join(map(str, confirmed.scored_by_search))
        lines.append(f"warning: fold {shown} is the one that the search chose by: it favours its trials")
    if confirmed.n_left_out:
        lines.append(
            f"left out of all this: {counted(confirmed.n_left_out, 'held-out event')} that the search chose by"
        )
    if confirmed.n_seen:
        lines.append(
            f"warning: among it are {counted(confirmed.n_seen, 'event')} that the search chose by, since no other is "
            "held out: they favour its trials"
        )
    lines += ["", *textwrap.wrap(f"Verdict: {confirmed.verdict}", COLUMNS)]
    return "\n".join(lines) + "\n"


def _candidate_line(candidate: ConfirmedConfiguration, *, with_level: bool) -> str:
    low, high = candidate.intervals["score/all"]
    score = f"{candidate.metrics['score/all']:.3f} [{low:.3f}, {high:.3f}]"
    gain = ""
    if (difference := candidate.difference) is not None:
        gain = f"{-difference.mean:+.3f} [{-difference.high:+.3f}, {-difference.low:+.3f}]"
        gain += f" {_percent(difference.level)}" if with_level else ""
    return f"{candidate.name:<{_NAME_WIDTH}}  {score:<27}  {gain or '-'}"


def _percent(level: float) -> str:
    return f"{100 * level:.3g}%"
