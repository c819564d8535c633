"""The pictures of an evaluation of classes: how far to trust a probability, what is confused, where it is costly."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from trainable.data.task_words import PART_NAMES, groups_of, loss_name
from trainable.plain_values import JsonObject
from trainable.scoring.class_evaluation import ClassEvaluation
from trainable.scoring.evaluation import ModelForecasts
from trainable.shown import shown
from tune.evaluation.class_page import MOST_BY_THEMSELVES
from tune.evaluation.look import COLOURS, LONGEST_LEVEL, MARKERS, MOST_GROUPS, MUTED, dress, legend, png

OTHERS = "all others"
_LONGEST_NAME = 24
_DOTS_SEED = 0


def reliability(evaluation: ClassEvaluation, *, has_domains: bool, part_names: Mapping[str, str] = PART_NAMES) -> bytes:
    """How often the most probable class is right by how probable it is; below, how many events are so confident."""
    figure = Figure(figsize=(5.4, 6.4), layout="constrained")
    axes, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    parts = [part for part in COLOURS if part in evaluation.reliability]
    for part in parts:
        bins = evaluation.reliability[part]
        at = [found.confidence for found in bins]
        accuracy = [found.accuracy for found in bins]
        reach = [
            [max(0.0, a - found.low) for a, found in zip(accuracy, bins, strict=True)],
            [max(0.0, found.high - a) for a, found in zip(accuracy, bins, strict=True)],
        ]
        axes.errorbar(
            at,
            accuracy,
            yerr=reach,
            color=COLOURS[part],
            marker=MARKERS[part],
            markersize=5,
            linewidth=1.2,
            elinewidth=0.9,
            label=legend(part_names)[part if has_domains else "all"],
        )
        counts.bar(at, [found.n_events for found in bins], width=0.03, color=COLOURS[part], alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    counts.set(xlabel="probability of the most probable class", ylabel="events")
    dress(axes, "most probable class")
    dress(counts, "")
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")
    return png(figure)


def confusion(evaluation: ClassEvaluation) -> bytes:
    """A row a class that is observed, a column one that is forecast; shades are shares of a row, numbers are events."""
    names, counts = most_frequent(evaluation)
    n, side = len(names), 0.36 * len(names)
    figure = Figure(figsize=(max(4.6, side + 2.6), max(4.0, side + 2.0)), layout="constrained")
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals > 0, totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0).tolist():
        ink = "white" if shares[row, column] > 0.55 else "#111827"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7.5, color=ink)
    labels = [_cut(name) for name in names]
    axes.set_xticks(range(n), labels, rotation=90, parse_math=False)
    axes.set_yticks(range(n), labels, parse_math=False)
    axes.set(xlabel="most probable class", ylabel="observed class")
    dress(axes, "events")
    axes.grid(visible=False)
    return png(figure)


def most_frequent(evaluation: ClassEvaluation) -> tuple[list[str], "np.ndarray[tuple[int, int], np.dtype[np.int64]]"]:
    """Names, and events [observed, forecast]: of all classes, or of the most frequent ones and all others together."""
    seen = [outcome for outcome in evaluation.outcomes if outcome.n_events or outcome.n_forecast]
    ranked = sorted(seen, key=lambda outcome: -outcome.n_events)
    kept = {outcome.name for outcome in (ranked if len(ranked) <= MOST_BY_THEMSELVES else ranked[:MOST_BY_THEMSELVES])}
    names = [outcome.name for outcome in seen if outcome.name in kept]
    has_others = len(seen) > len(names)
    place = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names) + has_others, len(names) + has_others), dtype=np.int64)
    for true, of_true in evaluation.confusion.items():
        for told, count in of_true.items():
            counts[place.get(true, len(names)), place.get(told, len(names))] += count
    return [*names, *([OTHERS] * has_others)], counts


def losses_by_group(forecasts: ModelForecasts) -> bytes:
    """An event's loss by domain, the known ones first; by site where there are no domains. Lines: means of groups."""
    of_events = forecasts.domains if forecasts.has_domains else forecasts.sites
    known = {d: bool(k) for d, k in zip(of_events.tolist(), forecasts.is_known, strict=True)}
    groups = sorted(known, key=lambda d: (not known[d], d))[:MOST_GROUPS]
    figure = Figure(figsize=(6.0 + 0.14 * max(0, len(groups) - 10), 4.1), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(_DOTS_SEED)
    for place, group in enumerate(groups):
        losses = forecasts.crps[of_events == group, 0]
        colour = COLOURS["id" if known[group] else "ood"]
        dots = place + rng.uniform(-0.22, 0.22, len(losses))
        axes.scatter(dots, losses, s=8, alpha=0.45, linewidth=0, color=colour)
        axes.plot([place - 0.32, place + 0.32], [losses.mean()] * 2, color=colour, linewidth=2)
    axes.set_xticks(range(len(groups)), _levels(groups), fontsize=8, parse_math=False, **_turned(groups))
    axes.set(xlabel=groups_of(forecasts.targets.task)[0], ylabel=f"{loss_name(forecasts.targets.task)} of an event")
    axes.set_ylim(bottom=0)
    dress(axes, forecasts.targets.names[0])
    return png(figure)


def _levels(groups: Sequence[object]) -> list[str]:
    return [shown(str(group)) for group in groups]


def _turned(groups: Sequence[object]) -> JsonObject:
    return {"rotation": 90} if any(len(str(group)) > LONGEST_LEVEL for group in groups) else {}


def _cut(name: str) -> str:
    plain = shown(name)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 1]}…"
