"""The pictures of an evaluation, drawn without pyplot's global state; PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from trainable.counts import counted
from trainable.data.task_words import PART_NAMES, groups_of
from trainable.plain_values import JsonObject
from trainable.scoring.evaluation import Coverage, ModelForecasts
from trainable.scoring.targets import Targets
from trainable.shown import shown
from tune.evaluation.look import COLOURS, LONGEST_LEVEL, MARKERS, MOST_GROUPS, MUTED, dress, legend, png
from tune.evaluation.worst_class_event import WorstClassEvent
from tune.evaluation.worst_events import WorstEvent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OFFSETS = (-0.22, 0.0, 0.22)  # of a model's three lines: all, ID, OOD


def predicted_against_observed(forecasts: ModelForecasts, *, part_names: Mapping[str, str] = PART_NAMES) -> bytes:
    """A panel a target; a dot an event; the bands hold 68 % of events where sigma is right."""
    names = forecasts.targets.names
    figure, panels = _panels("forecast mean", names, height=4.6, of_one_scale=_are_of_one_scale(forecasts.targets))
    for i, (target, axes) in enumerate(zip(names, panels, strict=True)):
        low, high = _limits(forecasts, i)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8)
        for part, mask in forecasts.parts().items():
            sigma = float(forecasts.sigma[mask, i].mean())
            of_part = f"{part_names[part]}, " if forecasts.has_domains else ""
            axes.fill_between(
                [low, high],
                [low - sigma, high - sigma],
                [low + sigma, high + sigma],
                color=COLOURS[part],
                alpha=0.10,
                linewidth=0,
            )
            axes.scatter(
                forecasts.labels[mask, i],
                forecasts.mu[mask, i],
                s=14,
                alpha=0.65,
                linewidth=0,
                color=COLOURS[part],
                marker=MARKERS[part],
                label=f"{of_part}{counted(int(mask.sum()), 'event')}, σ {sigma:.2f}",
            )
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="observed")
        axes.set_aspect("equal")
        dress(axes, target)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    return png(figure)


def residuals_by_group(forecasts: ModelForecasts) -> bytes:
    """A panel a target: forecast minus observed by domain, the known ones first; by site where there are no domains."""
    of_events = forecasts.domains if forecasts.has_domains else forecasts.sites
    known = {d: bool(k) for d, k in zip(of_events.tolist(), forecasts.is_known, strict=True)}
    groups = sorted(known, key=lambda d: (not known[d], d))[:MOST_GROUPS]
    names, width = forecasts.targets.names, 4.0 + 0.12 * max(0, len(groups) - 10)
    of_one_scale = _are_of_one_scale(forecasts.targets)
    figure, panels = _panels("forecast − observed", names, width=width, of_one_scale=of_one_scale)
    upright: JsonObject = {"rotation": 90} if any(len(str(group)) > LONGEST_LEVEL for group in groups) else {}
    rng = np.random.default_rng(0)  # of the dots' places beside one another
    for i, (target, axes) in enumerate(zip(names, panels, strict=True)):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for place, group in enumerate(groups):
            mask = of_events == group
            colour = COLOURS["id" if known[group] else "ood"]
            errors = forecasts.mu[mask, i] - forecasts.labels[mask, i]
            axes.scatter(
                place + rng.uniform(-0.22, 0.22, len(errors)), errors, s=8, alpha=0.45, linewidth=0, color=colour
            )
            line = {"color": colour}
            axes.boxplot(
                [errors],
                positions=[place],
                widths=0.62,
                showfliers=False,
                manage_ticks=False,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
                medianprops=line,
            )
        axes.set_xticks(range(len(groups)), [shown(str(group)) for group in groups], fontsize=8, **upright)
        axes.set_xlabel(groups_of(forecasts.targets.task)[0])
        dress(axes, target)
    return png(figure)


def calibration_curves(
    coverage: Mapping[str, Mapping[str, Sequence[Coverage]]],
    *,
    has_domains: bool = True,
    part_names: Mapping[str, str] = PART_NAMES,
) -> bytes:
    """A panel a target: how many labels lie in central intervals of a probability; on the line, sigma is right."""
    names = tuple(next(iter(coverage.values())))
    figure, panels = _panels("labels inside", names, height=4.6)
    for target, axes in zip(names, panels, strict=True):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        for part in (part for part in COLOURS if part in coverage):
            points = coverage[part][target]
            nominal = [point.nominal for point in points]
            marked = [k for k, point in enumerate(points) if point.nominal in (0.5, 0.9)]
            axes.fill_between(
                nominal, [p.low for p in points], [p.high for p in points], color=COLOURS[part], alpha=0.13, linewidth=0
            )
            axes.plot(
                nominal,
                [p.observed for p in points],
                color=COLOURS[part],
                linewidth=1.4,
                marker=MARKERS[part],
                markevery=marked,
                markersize=5,
                label=legend(part_names)[part if has_domains else "all"],
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the interval")
        axes.set_aspect("equal")
        dress(axes, target)
        axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    return png(figure)


def worst_events(events: Sequence[WorstEvent | WorstClassEvent]) -> bytes:
    """A picture an event: thumbnails of its specimens, what was observed and what was forecast."""
    n_rows = max(1, -(-len(events) // 2))
    figure = Figure(figsize=(12, 2.05 * n_rows), layout="constrained")
    for place, event in enumerate(events):
        axes = figure.add_subplot(n_rows, 2, place + 1)
        axes.imshow(np.asarray(event.thumbnails))
        axes.set_axis_off()
        # a site's name may hold dollar signs, which would else begin a formula
        axes.set_title(shown(f"{event.title}\n{event.caption}", keep="\n"), loc="left", parse_math=False, fontsize=9)
    return png(figure)


def score_comparison(
    scores: Mapping[str, Mapping[str, tuple[float, float, float]]],
    differences: JsonObject,
    *,
    part_names: Mapping[str, str] = PART_NAMES,
) -> bytes:
    """Left: each model's score with its interval; right: differences to the first.

    scores: model -> part -> score, low, high. differences: model -> part -> Difference.
    """
    figure = Figure(figsize=(11, 1.5 + 0.75 * len(scores)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(scores)
    labels, parts = [shown(name) for name in names], legend(part_names)
    for place, name in enumerate(names):
        for offset, (part, (score, low, high)) in zip(_OFFSETS, scores[name].items(), strict=False):
            _interval(left, place + offset, score, low, high, part, label=parts[part] if not place else None)
        of_model = differences.get(name, {})
        shown_differences = [(part, of_model[f"score/{part}"]) for part in scores[name] if f"score/{part}" in of_model]
        for offset, (part, d) in zip(_OFFSETS, shown_differences, strict=False):
            _interval(right, place + offset, d.mean, d.low, d.high, part)
    right.axvline(0, color=MUTED, linewidth=0.8)
    left.set_yticks(range(len(names)), labels, parse_math=False)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel("score, lower is better")
    right.set_xlabel(f"difference to {labels[0]}, below 0 is better", parse_math=False)
    dress(left, "score")
    dress(right, "paired difference")
    figure.legend(fontsize=8, frameon=False, loc="outside upper right", ncols=len(_OFFSETS))
    return png(figure)


def _interval(
    axes: "Axes", y: float, value: float, low: float, high: float, part: str, label: str | None = None
) -> None:
    colour = COLOURS.get(part, "#111827")
    axes.plot([low, high], [y, y], color=colour, linewidth=1.4)
    axes.plot([value], [y], color=colour, marker=MARKERS.get(part, "s"), markersize=5, label=label, linestyle="none")


def _are_of_one_scale(targets: Targets) -> bool:
    return len({(target.low, target.high, target.unit) for target in targets.task.targets}) == 1


def _limits(forecasts: ModelForecasts, place: int) -> tuple[float, float]:
    """Of the axes of a target: its bounds, or all that is there, and a little more."""
    target = forecasts.targets.task.targets[place]
    shown = np.concatenate([forecasts.labels[:, place], forecasts.mu[:, place]])
    low = float(shown.min()) if target.low is None else target.low
    high = float(shown.max()) if target.high is None else target.high
    margin = 0.15 if target.is_standard else 0.04 * (high - low)
    return low - margin, high + margin


def _panels(
    ylabel: str, names: Sequence[str], *, width: float = 4.0, height: float = 4.1, of_one_scale: bool = True
) -> tuple[Figure, Sequence["Axes"]]:
    """A figure with a panel a target. of_one_scale: whether they can share an axis."""
    figure = Figure(figsize=(width * len(names), height), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(names), sharey=of_one_scale, squeeze=False)[0]
    panels[0].set_ylabel(ylabel)
    return figure, panels
