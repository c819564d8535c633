"""How the best score came down over epochs and over time, and every trial's learning curve."""

import math
from collections.abc import Sequence
from itertools import pairwise

from tune.decisions.rungs import rung_standings
from tune.decisions.trial_label import trial_label
from tune.report_page.drawing import HEIGHT, WIDTH, axes, dot, figure, line, scale, score_scale, text
from tune.report_page.view import StudyView

_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, WIDTH - 15, 26.0, HEIGHT - 40
_KINDS = ("completed", "pruned", "failed", "running", "interrupted")
_LINES = ("best", "completed", "pruned", "failed", "running")


def best_over_epochs(view: StudyView) -> str:
    """The best score after so many epochs of all trials together; a dot a trial, larger the further up the rungs."""
    rungs = [rung.epoch for rung in rung_standings(view.standings)]
    shown = [t for t in view.drawn() if t.trial_id in view.ends_at]
    x = scale([0, view.standings.n_reports], _LEFT, _RIGHT)
    y = score_scale([t.best_score for t in shown if t.best_score is not None], _BOTTOM, _TOP)
    dots = [
        dot(
            x.place(view.ends_at[t.trial_id]),
            y.place(t.best_score),
            view.status(t),
            f"{t.trial_id} {trial_label(t)}: {t.best_score:.4f}, {view.status(t)}",
            radius=2 + sum(t.epoch >= epoch for epoch in rungs),
        )
        for t in shown
    ]
    body = axes(x, y, xlabel="epochs of all trials", ylabel="score") + "".join(dots)
    body += line(_stairs([(x.place(s.n_epochs), y.place(s.best)) for s in view.steps]), "best thick") + _legend()
    caption = "Line: the best score so far; lower is better. A dot a trial, at its last epoch, larger with every rung."
    return figure(f"Best score over epochs of {view.name}", body, caption=caption + view.drawn_note)


def best_over_time(views: Sequence[StudyView]) -> str:
    """A line a study, by the hours since its first epoch."""
    steps = [s for view in views for s in view.steps]
    x = scale([0.0, *(s.seconds / 3600 for s in steps)], _LEFT, _RIGHT)
    y = scale([s.best for s in steps], _BOTTOM, _TOP)
    body = axes(x, y, xlabel="hours since the first epoch, pauses included", ylabel="best score")
    for number, (view, kind) in enumerate(zip(views, _cycled(len(views)), strict=True)):
        body += line(_stairs([(x.place(s.seconds / 3600), y.place(s.best)) for s in view.steps]), f"{kind} thick")
        body += text(_RIGHT, _TOP + 14 * number, view.name, anchor="end", kind=kind) if len(views) > 1 else ""
    return figure(
        f"Best score over time of {', '.join(v.name for v in views)}", body, caption="The best score so far, by time."
    )


def learning_curves(view: StudyView) -> str:
    """Every trial's score by epoch, coloured by how it ended; rungs are dashed."""
    shown = view.drawn()
    scores = [s for t in shown for s in t.scores.values() if math.isfinite(s)]
    x = scale([1, *(t.epoch for t in shown)], _LEFT, _RIGHT)
    y = score_scale(scores, _BOTTOM, _TOP)
    body = axes(x, y, xlabel="epoch", ylabel="score")
    for rung in rung_standings(view.standings):
        if x.low <= rung.epoch <= x.high:
            at = x.place(rung.epoch)
            body += f'<line class="rung" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_BOTTOM}"/>'
    best = view.standings.best()
    for trial in shown:
        kind = "best thick" if trial is best else f"{view.status(trial)} thin"
        points = [(x.place(epoch), y.place(s)) for epoch, s in trial.scores.items() if math.isfinite(s)]
        body += line(points, kind)
    caption = "A line a trial, the best one thick; dashed: the rungs, at which trials are stopped early."
    return figure(f"Learning curves of {view.name}", body + _legend(), caption=caption + view.drawn_note)


def _stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Level until the next point."""
    found = points[:1]
    for before, after in pairwise(points):
        found += [(after[0], before[1]), after]
    return found


def _legend() -> str:
    return "".join(text(_LEFT + 70 + 75 * i, _TOP - 8, f"● {kind}", kind=kind) for i, kind in enumerate(_KINDS))


def _cycled(n: int) -> list[str]:
    return [_LINES[i % len(_LINES)] for i in range(n)]
