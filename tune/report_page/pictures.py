"""Three figures of the report as PNG, for pages that show pictures: MLflow's, a text, slides."""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tune.decisions.rungs import rung_standings
from tune.report_page.importance import LEVEL, Importance, importances
from tune.report_page.view import StudyView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES, DPI = (6.4, 3.6), 110
MOST_BARS = 12
COLOURS = {"completed": "#2563a8", "pruned": "#aab2bd", "failed": "#b42318"}
OTHERS, BEST, MUTED = "#6b7280", "#d9762b", "#6b7280"


def pictures(view: StudyView) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each figure for which there is something to draw."""
    if view.steps:
        yield "best-score.png", _best_score(view)
        yield "learning-curves.png", _learning_curves(view)
    if found := importances(view):
        yield "importance.png", _importance(view, found[:MOST_BARS])


def _best_score(view: StudyView) -> bytes:
    """A dot a trial at its last epoch, and the best score so far."""
    figure, axes = _axes(f"Best score over epochs of {view.name}", "epochs of all trials", "score, lower is better")
    for status, colour in _statuses(view):
        of_status = [t for t in view.drawn() if t.trial_id in view.ends_at and view.status(t) == status]
        ends, scores = [view.ends_at[t.trial_id] for t in of_status], [t.best_score or 0.0 for t in of_status]
        axes.scatter(ends, scores, s=18, color=colour, label=status, linewidth=0)
    steps, scores = [step.n_epochs for step in view.steps], [step.best for step in view.steps]
    axes.step(steps, scores, where="post", color=BEST, linewidth=2, label="best so far")
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def _learning_curves(view: StudyView) -> bytes:
    """A line a trial; dashed: the rungs."""
    figure, axes = _axes(f"Learning curves of {view.name}", "epoch", "score, lower is better")
    colours, best = dict(_statuses(view)), view.standings.best()
    for trial in view.drawn():
        points = [(epoch, score) for epoch, score in trial.scores.items() if math.isfinite(score)]
        colour, width = (BEST, 2.2) if trial is best else (colours[view.status(trial)], 0.9)
        marker = "." if len(points) == 1 else ""
        axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=width, marker=marker)
    for rung in rung_standings(view.standings):
        axes.axvline(rung.epoch, color=MUTED, linewidth=0.7, linestyle="--")
    for label, colour in [("best", BEST), *colours.items()]:
        axes.plot([], [], color=colour, label=label)
    axes.legend(fontsize=8, frameon=False)
    return _png(figure)


def _importance(view: StudyView, found: Sequence[Importance]) -> bytes:
    """A bar a parameter, with the interval over draws of trials."""
    figure, axes = _axes(
        f"Importance of parameters in {view.name}", f"share, with the interval of {LEVEL:.0%} of draws", ""
    )
    shares = [importance.share for importance in found]
    less = [max(0.0, i.share - i.low) for i in found]
    more = [max(0.0, i.high - i.share) for i in found]
    names = [importance.varied.parameter.name for importance in found]
    axes.barh(names, shares, xerr=[less, more], color=COLOURS["completed"], ecolor=MUTED, height=0.6)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    return _png(figure)


def _statuses(view: StudyView) -> list[tuple[str, str]]:
    """Those of trials that are drawn, and their colours."""
    found = dict.fromkeys(view.status(trial) for trial in view.drawn())
    return [(status, COLOURS.get(status, OTHERS)) for status in sorted(found)]


def _axes(title: str, xlabel: str, ylabel: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure  # half a second, at the end of a search alone

    figure = Figure(figsize=INCHES, layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", parse_math=False)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", integer=xlabel.startswith("epoch"))
    axes.tick_params(labelsize=8, color=MUTED)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()
