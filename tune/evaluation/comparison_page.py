"""`comparison.html`: several models on the same events, side by side."""

from trainable.counts import counted
from tune.evaluation import markup as html
from tune.evaluation.reports import CLASS_KINDS, Comparison, shown_groups

_KINDS = {"crps": "CRPS by event", "r2": "R² by event", "mae": "MAE by image"}


def comparison_page(comparison: Comparison, figure: bytes) -> str:
    """The whole page; figure: PNG of scores and differences."""
    data, first = comparison.data, comparison.first
    names = ", ".join(list(comparison.evaluations)[1:])
    lead = (
        f"{counted(data.n_events, 'event')} ({counted(data.n_specimens, 'specimen')}) of {data.source}: {data.about}. "
        f"Differences are to {first}, on the same events, in pairs; below 0 is better."
    )
    title = f"{first} beside {names}"
    sections = [
        html.heading(title, level=1),
        html.paragraph(lead, "lead"),
        *(html.warning(text) for text in comparison.notes),
        html.heading("Scores"),
        _scores(comparison),
        html.picture(figure, alt="Scores and paired differences of the models", caption=_interval_words(comparison)),
        html.heading("Targets"),
        _targets(comparison),
    ]
    return html.page(title, sections)


def _interval_words(comparison: Comparison) -> str:
    level = next(iter(comparison.evaluations.values())).level
    return (
        f"Lines: {html.percent(level)} intervals, of scores for other sites, of differences for other domains. "
        "A difference whose line crosses 0 may be chance."
    )


def _scores(comparison: Comparison) -> str:
    parts = shown_groups(comparison.evaluations[comparison.first])
    rows = []
    for name, evaluation in comparison.evaluations.items():
        cells = []
        for part in parts:
            cells += [html.number(evaluation.groups[part].score), html.interval(*evaluation.intervals[f"score/{part}"])]
        difference = comparison.differences.get(name)
        if difference is None:
            cells += [html.NOTHING] * 2 + ["compared to"]
        else:
            d = difference["score/all"]
            cells += [html.number(d.mean, 4, signed=True), html.interval(d.low, d.high, 4, signed=True)]
            cells.append(comparison.verdict(name))
        rows.append([name, *cells])
    head = ["model", *(["score", "interval"] * len(parts)), "difference", "interval", ""]
    above = [("", 1), *((comparison.part_names[part], 2) for part in parts), (f"to {comparison.first}", 3)]
    return html.table(head, rows, above=above, strong=[0])


def _targets(comparison: Comparison) -> str:
    first = comparison.evaluations[comparison.first]
    parts, kinds = shown_groups(first), _KINDS if first.classes is None else CLASS_KINDS
    rows = []
    for part in parts:
        for target in comparison.evaluations[comparison.first].targets:
            groups = [evaluation.groups[part] for evaluation in comparison.evaluations.values()]
            cells = [html.number(group.figure(target, kind)) for kind in kinds for group in groups]
            rows.append([target, comparison.part_names[part], *cells])
    names = list(comparison.evaluations)
    above = [("", 2), *((title, len(names)) for title in kinds.values())]
    return html.table(["target", "events", *(names * 3)], rows, above=above, n_text=2)
