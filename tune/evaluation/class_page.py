"""What the page of an evaluation tells of classes, where that of numbers tells R2, MAE and coverage."""

from collections.abc import Iterator, Mapping

from trainable.scoring.class_evaluation import ClassEvaluation, ClassOutcome
from tune.evaluation import markup as html
from tune.evaluation.reports import CLASS_KINDS, ModelReport, shown_groups

MOST_BY_THEMSELVES = 20
"""Rows of a confusion matrix: the most frequent classes; the others stand together in one more."""

MOST_ROWS = 40
"""Classes of a table, the most frequent ones first; report.json has all."""

PICTURES = (
    (
        "reliability",
        "Reliability",
        "How often the most probable class is right, by how probable it was. Above the line the model is too modest, "
        "below it too sure. Bars: other draws of sites.",
    ),
    (
        "confusion",
        "Confusion",
        "Events by observed and most probable class; a shade is a share of its row. At most "
        f"{MOST_BY_THEMSELVES} classes, the most frequent ones, stand by themselves.",
    ),
    (
        "groups",
        "Losses by group",
        "One dot an event, a line the mean of its group, known domains first.",
    ),
    (
        "worst",
        "Worst events",
        "The events of the highest loss, with their first specimens: the observed class, with the probability that it "
        "was given, then the most probable classes.",
    ),
)


def sections(report: ModelReport, classes: ClassEvaluation, pictures: Mapping[str, str]) -> Iterator[str]:
    """Between the scores and the tables of groups."""
    yield html.heading("Figures")
    yield _figures(report, classes)
    yield html.heading("Reliability")
    yield pictures["reliability"]
    yield html.heading("Confusion")
    yield pictures["confusion"]
    yield _outcomes(classes)


def _figures(report: ModelReport, classes: ClassEvaluation) -> str:
    groups = shown_groups(report.evaluation)
    rows = []
    for kind, title in CLASS_KINDS.items():
        cells = []
        for name in groups:
            (target,) = report.evaluation.groups[name].targets
            value = report.evaluation.groups[name].figure(target, kind)
            cells += [html.number(value), html.interval(*classes.intervals[name][kind])]
        rows.append([title, *cells])
    above = [("", 1), *((report.part_names[name], 2) for name in groups)]
    level = html.percent(report.evaluation.level)
    caption = (
        f"By event, over {sum(outcome.n_events > 0 for outcome in classes.outcomes)} classes that occur; {level}: "
        "other draws of sites. Lower is better of log loss, Brier and ECE, higher of accuracy and macro F1."
    )
    return html.table(["", *(["value", f"{level} interval"] * len(groups))], rows, above=above, caption=caption)


def _outcomes(classes: ClassEvaluation) -> str:
    ranked = sorted(classes.outcomes, key=lambda outcome: -outcome.n_events)
    rows = [_outcome(outcome) for outcome in ranked[:MOST_ROWS]]
    more = len(classes.outcomes) - len(rows)
    caption = "An event is forecast as its most probable class."
    if more:
        caption += f" The {MOST_ROWS} most frequent classes; report.json has {more} more."
    return html.table(["class", "events", "forecast", "recall", "precision", "F1"], rows, caption=caption)


def _outcome(outcome: ClassOutcome) -> list[str]:
    shares = (outcome.recall, outcome.precision, outcome.f1)
    counts = [str(outcome.n_events), str(outcome.n_forecast)]
    return [outcome.name, *counts, *(html.number(share, 2) for share in shares)]
