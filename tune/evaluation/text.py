"""An evaluation as plain text, at most 120 columns."""

import textwrap
from collections.abc import Iterator

from trainable.counts import counted
from trainable.data.task_words import short_names
from trainable.scoring.class_evaluation import ClassEvaluation
from tune.evaluation.reports import CLASS_KINDS, Comparison, ModelReport, ScoredData, shown_groups
from tune.report.results import COLUMNS

_NAME = 22
_SCORE, _INTERVAL = 12, 16
_DASH = "-"


def report_text(report: ModelReport) -> str:
    """Scores with intervals, the floors, a line a target and part."""
    classes = report.evaluation.classes
    figures = _target_lines(report) if classes is None else _class_lines(report, classes)
    note = textwrap.wrap(report.leak.note or "", COLUMNS)
    return "\n".join([*_title(report.name, report.data), *note, "", *_score_lines(report), "", *figures]) + "\n"


def comparison_text(comparison: Comparison) -> str:
    """A line a model: scores, difference to the first with its interval, R2; below, whether it differs beyond noise."""
    width = max(_NAME, *(len(_short(name)) + 2 for name in comparison.evaluations))
    targets = comparison.evaluations[comparison.first].targets
    short = ", ".join(short_names(targets))
    parts = comparison.part_names if comparison.evaluations[comparison.first].domains else {"all": ""}
    widths = {part: max(8, len(name) + 2) for part, name in parts.items()}
    heads = "".join(f"{name:>{widths[part]}}" for part, name in parts.items() if part != "all")
    lines = [*_title("Side by side", comparison.data), ""]
    kinds = ("r2",) if comparison.evaluations[comparison.first].classes is None else ("accuracy", "macro_f1")
    title = f"R2: {short}" if len(kinds) == 1 else "accuracy, F1"
    lines.append(f"{'':<{width}}{'score':>7}{heads}   {'difference':<27}  {title:<18}")
    for name, evaluation in comparison.evaluations.items():
        of = evaluation.groups
        scores = "".join(_number(of[p].score if p in of else None, width=width) for p, width in widths.items())
        gap = _DASH
        if name in comparison.differences:
            d = comparison.differences[name]["score/all"]
            gap = f"{d.mean:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
        everything = evaluation.groups["all"]
        r2 = "".join(_number(everything.figure(t, k), width=6, digits=2) for k in kinds for t in targets)
        lines.append(f"{_short(name):<{width}}{scores[1:]}   {gap:<27} {r2}"[:COLUMNS].rstrip())
    words = f"difference: score minus that of {_short(comparison.first)} on the same events, below 0 is better"
    verdicts = (f"{_short(name)}: {comparison.verdict(name)}" for name in comparison.differences)
    return "\n".join([*lines, "", *textwrap.wrap(words, COLUMNS), *verdicts]) + "\n"


def _title(name: str, data: ScoredData) -> list[str]:
    sizes = f"{counted(data.n_events, 'event')}, {counted(data.n_specimens, 'specimen')}"
    return textwrap.wrap(f"{name}: {sizes} of {data.source}: {data.about}", COLUMNS)


def _score_lines(report: ModelReport) -> Iterator[str]:
    evaluation = report.evaluation
    names = shown_groups(evaluation)
    level = f"{evaluation.level:.0%} interval"
    titles = {name: f"score, {report.part_names[name]}" for name in names}
    widths = {name: max(_SCORE, len(title) + 2) for name, title in titles.items()}
    heads = "".join(f"  {title:<{widths[name]}}{level:<{_INTERVAL}}" for name, title in titles.items())
    yield f"{'':<{_NAME}}{heads}".rstrip()
    shown = ""
    for name, width in widths.items():
        low, high = evaluation.intervals[f"score/{name}"]
        shown += f"  {evaluation.groups[name].score:<{width}.4f}{f'[{low:.3f}, {high:.3f}]':<{_INTERVAL}}"
    yield f"{_short(report.name):<{_NAME}}" + shown.rstrip()
    for floor, metrics in (report.floors or {}).items():
        scores = {name: metrics[f"score/{name}"] for name in names if f"score/{name}" in metrics}
        cells = "".join(f"  {score:<{widths[name] + _INTERVAL}.4f}" for name, score in scores.items())
        yield f"{'floor ' + floor:<{_NAME}}" + cells.rstrip()
    if report.floors is None:
        yield from textwrap.wrap(f"no floors: {report.floors_missing}", COLUMNS)


def _target_lines(report: ModelReport) -> Iterator[str]:
    evaluation = report.evaluation
    yield f"{'':<{_NAME}}{'events':>8}{'CRPS':>8}{'R2':>8}{'MAE':>8}{'RMSE':>8}{'bias':>8}{'in 50 %':>10}{'in 90 %':>9}"
    for name in shown_groups(evaluation):
        group = evaluation.groups[name]
        for target in group.targets:
            inside = {point.nominal: point.observed for point in evaluation.coverage[name][target]}
            kinds = ("crps", "r2", "mae", "rmse", "bias")
            numbers = "".join(_number(group.figure(target, kind), width=8) for kind in kinds)
            covered = f"{inside[0.5]:>9.0%} {inside[0.9]:>8.0%} "
            yield f"{f'{target}, {report.part_names[name]}':<{_NAME}}{group.n_events:>8}{numbers}{covered}".rstrip()
    yield "CRPS, R2, RMSE, bias by event, MAE by image; in 50 %: labels inside the forecast's 50 % interval"


def _class_lines(report: ModelReport, classes: ClassEvaluation) -> Iterator[str]:
    """A line a figure, with its interval for each group, as scores have theirs."""
    evaluation = report.evaluation
    names, level = shown_groups(evaluation), f"{evaluation.level:.0%} interval"
    (target,) = evaluation.targets
    heads = "".join(f"  {report.part_names[name]:<{_SCORE}}{level:<{_INTERVAL}}" for name in names)
    yield f"{_short(target):<{_NAME}}{heads}".rstrip()
    yield f"{'events':<{_NAME}}" + "".join(f"  {evaluation.groups[name].n_events:<28}" for name in names).rstrip()
    for kind, title in CLASS_KINDS.items():
        cells = ""
        for name in names:
            low, high = classes.intervals[name][kind]
            cells += f"  {evaluation.groups[name].figure(target, kind):<12.3f}{f'[{low:.3f}, {high:.3f}]':<16}"
        yield f"{title:<{_NAME}}" + cells.rstrip()
    occur = [outcome for outcome in classes.outcomes if outcome.n_events]
    yield from textwrap.wrap(
        f"by event; {len(occur)} of {counted(len(classes.outcomes), 'class')} occur here; ECE: how far the "
        "most probable class's probability is from how often it is right",
        COLUMNS,
    )


def _number(value: float | None, *, width: int = 8, digits: int = 3) -> str:
    return f"{_DASH:>{width}}" if value is None else f"{value:>{width}.{digits}f}"


def _short(name: str) -> str:
    return name if len(name) < 30 else f"{name[:28]}…"
