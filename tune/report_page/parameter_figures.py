"""What the searched parameters did: importance, slices, a map of two of them, and all of them side by side."""

import math
from bisect import bisect
from collections.abc import Sequence
from typing import Any

from trainable.shown import shown
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import TrialRecord
from tune.decisions.varied import Varied, shown_value
from tune.report_page.drawing import HEIGHT, WIDTH, Scale, axes, dot, figure, line, scale, score_scale, text
from tune.report_page.importance import LEVEL, MAX_TRIALS, Importance
from tune.report_page.view import MAX_DRAWN, StudyView

_TOP, _BOTTOM = 26.0, HEIGHT - 40
_HALF = 340.0
_CELLS = 22
_BEST_SHARE = 0.1
_REACH = 0.04
_SMOOTHED = 1000
"""The best of so many trials colour the map."""


def importance_figure(view: StudyView, found: Sequence[Importance]) -> str:
    """A bar's length is the share of the whole, its line the interval over draws of trials."""
    height = 50.0 + 20 * len(found)
    x = scale([0.0, *(i.high for i in found), *(i.share for i in found)], 150, WIDTH - 60)
    body = ""
    for number, importance in enumerate(found):
        y, end = 30.0 + 20 * number, x.place(importance.share)
        body += text(142, y + 4, importance.varied.label, anchor="end", kind="name")
        body += f'<rect class="completed" x="150" y="{y - 6:.1f}" width="{end - 150:.1f}" height="12"/>'
        body += line([(x.place(importance.low), y), (x.place(importance.high), y)], "best thick")
        body += text(max(end, x.place(importance.high)) + 6, y + 4, f"{importance.share:.0%}")
    caption = (
        "PED-ANOVA: how unlike the best tenth of trials is to all of them, in each parameter, as a share of the sum. "
        "Trials stopped early count, behind those that ran further; of many, "
        f"{MAX_TRIALS} evenly over the ranking. Lines: {LEVEL:.0%} of draws of other trials."
    )
    return figure(f"Importance of parameters of {view.name}", body, caption=caption, height=height)


def slice_figure(view: StudyView, varied: Varied) -> str:
    """A dot a trial: the parameter's value and the best score."""
    shown_trials = [t for t in view.drawn() if varied.value(t) is not None]
    x = scale([varied.value(t) for t in shown_trials], 50, _HALF - 10, log=varied.is_log)
    y = score_scale([t.best_score for t in shown_trials if t.best_score is not None], _BOTTOM, _TOP)
    dots = [
        dot(x.place(varied.value(t)), y.place(t.best_score), view.status(t), _about(t, varied)) for t in shown_trials
    ]
    body = axes(x, y, xlabel=varied.label, ylabel="score") + "".join(dots)
    return figure(f"Score by {varied.label} of {view.name}", body, caption="", width=_HALF)


def map_figure(view: StudyView, first: Varied, second: Varied) -> str:
    """Where in the plane of two parameters scores are low: trials as dots, their smoothed mean as colour."""
    both = [t for t in view.ranked() if first.value(t) is not None and second.value(t) is not None][::-1]
    x = scale([first.value(t) for t in both], 90, WIDTH - 15, log=first.is_log)
    y = scale([second.value(t) for t in both], _BOTTOM, _TOP, log=second.is_log)
    places = [(x.place(first.value(t)), y.place(second.value(t)), t) for t in both]
    scores = sorted(t.best_score for t in both if t.best_score is not None)
    spans = abs(x.end - x.start), abs(y.end - y.start)
    cells = []
    width, height = spans[0] / _CELLS, spans[1] / _CELLS
    for column in range(_CELLS):
        for row in range(_CELLS):
            at = x.start + (column + 0.5) * width, y.end + (row + 0.5) * height
            mean = _mean_around(at, places, spans)
            if mean is not None:
                shade = 0.05 + 0.6 * (1 - bisect(scores, mean) / len(scores))
                cells.append(
                    f'<rect class="cell" fill-opacity="{shade:.2f}" x="{at[0] - width / 2:.1f}" '
                    f'y="{at[1] - height / 2:.1f}" width="{width + 0.3:.1f}" height="{height + 0.3:.1f}"/>'
                )
    dots = [dot(px, py, "best", _about(t, first, second), radius=1.8) for px, py, t in places[-MAX_DRAWN:]]
    body = "".join(cells) + axes(x, y, xlabel=first.label, ylabel=second.label) + "".join(dots)
    caption = "The darker, the lower the score of the trials around; without colour, no trial is near. A dot a trial."
    return figure(f"Score by {first.label} and {second.label} of {view.name}", body, caption=caption)


def parallel_coordinates(view: StudyView, varied: Sequence[Varied]) -> str:
    """A line a trial through some parameters' values to its score; the best tenth stands out."""
    shown_trials = view.drawn()
    ranked = view.ranked()
    best = {t.trial_id for t in ranked[: max(1, math.ceil(_BEST_SHARE * len(ranked)))]}
    width = max(WIDTH, 90.0 * (len(varied) + 1))
    gap = (width - 90) / max(1, len(varied))
    scales = [scale([v.value(t) for t in shown_trials], _BOTTOM - 20, _TOP, log=v.is_log) for v in varied]
    of_score = score_scale([t.best_score for t in shown_trials if t.best_score is not None], _BOTTOM - 20, _TOP)
    body = "".join(
        line(
            [
                *((45 + gap * i, _place(scales[i], v.value(t))) for i, v in enumerate(varied)),
                (45 + gap * len(varied), of_score.place(t.best_score)),
            ],
            "completed" if t.trial_id in best else "running thin",
        )
        for t in shown_trials
    )
    for i, (label, of) in enumerate(zip([*(v.label for v in varied), "score"], [*scales, of_score], strict=True)):
        at = 45 + gap * i
        body += f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
        body += text(at, _BOTTOM + 16, label if len(label) < 16 else f"{label[:14]}…", anchor="middle", kind="name")
        body += "".join(text(at + 4, place + 4, words) for place, words in of.ticks())
        body += text(at + 4, _BOTTOM + 2, "none") if i < len(varied) else ""
    caption = "A line a trial; blue: the best tenth. At the bottom, none: the parameter has no effect in the trial."
    title = f"Parameters and score of the trials of {view.name}"
    return figure(title, body, caption=caption + view.drawn_note, width=width)


def _place(of: Scale, value: Any) -> float:
    return _BOTTOM if value is None else of.place(value)


def _mean_around(
    at: tuple[float, float], places: Sequence[tuple[float, float, TrialRecord]], spans: tuple[float, float]
) -> float | None:
    """The mean score of the trials around a place, each by its nearness; None where there is no trial."""
    total = weights = 0.0
    for px, py, trial in places[-_SMOOTHED:]:
        distance = ((px - at[0]) / spans[0]) ** 2 + ((py - at[1]) / spans[1]) ** 2
        if distance < _REACH:
            weight = math.exp(-distance / (2 * 0.06**2))
            total += weight * (trial.best_score or 0.0)
            weights += weight
    return total / weights if weights > 0.3 else None


def _about(trial: TrialRecord, *varied: Varied) -> str:
    values = ", ".join(f"{v.label} {shown_value(v.value(trial))}" for v in varied)
    return shown(f"{trial.trial_id} {trial_label(trial)}: {trial.best_score:.4f} at {values}")
