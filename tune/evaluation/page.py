"""`report.html`: one model's evaluation as a page that opens anywhere, also offline and on paper."""

import json
from collections.abc import Iterator, Mapping, Sequence

from trainable.counts import counted
from trainable.data.task_words import loss_name, score_words, short_names
from trainable.scoring.class_evaluation import ClassScores
from trainable.scoring.evaluation import GroupScores
from tune.evaluation import class_page
from tune.evaluation import markup as html
from tune.evaluation.reports import CLASS_KINDS, PARTS_WORDS, ModelReport, shown_groups

_PICTURES = (
    (
        "predicted",
        "Predicted against observed",
        "One dot an event. On the line the forecast is right; each band holds about 68 % of its dots where σ is right.",
    ),
    (
        "calibration",
        "Calibration",
        "How many labels lie inside the forecast's central interval of a probability, 50 % and 90 % marked. Above the "
        "line σ is too wide, below it too narrow. Shaded: other draws of sites.",
    ),
    ("residuals", "Residuals by group", "Forecast minus observed, one dot an event, known domains first."),
    (
        "worst",
        "Worst events",
        "The events of the highest CRPS, with their first specimens; per target observed → forecast mean ± σ.",
    ),
)


_MEAN = ("the mean label of", "σ")


def report_page(report: ModelReport, figures: Mapping[str, bytes]) -> str:
    """The whole page; figures: PNG by name, as `drawn.figures_of` draws them."""
    data, has_domains, classes = report.data, bool(report.evaluation.domains), report.evaluation.classes
    lead = (
        f"{counted(data.n_events, 'event')} ({counted(data.n_specimens, 'specimen')}) of {data.source}: {data.about}. "
        + (PARTS_WORDS[report.part_names["id"]] if has_domains else "")
    )
    pictures = {
        name: html.picture(figures[name], alt=f"{title} of {report.name}", caption=caption)
        for name, title, caption in (_PICTURES if classes is None else class_page.PICTURES)
    }
    by_group = pictures["residuals" if classes is None else "groups"]
    sections = [
        html.heading(f"Evaluation of {report.name}", level=1),
        html.paragraph(lead, "lead"),
        *(html.warning(text) for text in report.warnings()),
        *([html.paragraph(f"{report.leak.note}.")] if report.leak.note else []),
        _glance(report),
        html.heading("Score and floors"),
        *_scores(report),
        *(_of_targets(report, pictures) if classes is None else class_page.sections(report, classes, pictures)),
        *([html.heading("Domains"), by_group] if has_domains else []),
        *([_group_table("domain", report.evaluation.domains, report.part_names)] if has_domains else []),
        html.heading("Sites"),
        *([] if has_domains else [by_group]),
        _group_table("site", report.evaluation.sites, report.part_names if has_domains else {}),
        html.heading("Worst events"),
        pictures["worst"],
        html.heading("The model"),
        *_model(report),
    ]
    return html.page(f"Evaluation of {report.name}", sections)


def _of_targets(report: ModelReport, pictures: Mapping[str, str]) -> Iterator[str]:
    yield html.heading("Targets")
    yield _targets(report)
    yield html.heading("Predicted against observed")
    yield pictures["predicted"]
    yield html.heading("Calibration")
    yield pictures["calibration"]
    yield _coverage(report)


def _glance(report: ModelReport) -> str:
    evaluation = report.evaluation
    level = html.percent(evaluation.level)
    items = []
    for name in shown_groups(evaluation):
        group = evaluation.groups[name]
        low, high = evaluation.intervals[f"score/{name}"]
        label = "Score" if name == "all" else f"Score, {report.part_names[name]}"
        items.append((label, html.number(group.score), f"{level}: {html.interval(low, high)}"))
    if report.floors is not None:
        constant = report.floors["constant"]["score/all"]
        where, by = html.below(evaluation.score, constant)
        items.append((f"{where} the constant floor by", html.number(by), f"which scores {html.number(constant)}"))
    return html.cards(items)


def _scores(report: ModelReport) -> Iterator[str]:
    """The official parts, the floors under the model."""
    evaluation = report.evaluation
    parts, groups, task = list(evaluation.parts), shown_groups(evaluation), report.forecasts.targets.task
    mean, names = f"mean {loss_name(task)}", report.part_names
    over = " and ".join(names[part] for part in parts)
    head = [
        "",
        *(names[name] for name in groups),
        *(short_names(evaluation.targets) * len(parts)),
    ]
    above = [
        ("", 1),
        ("score", len(groups)),
        *((f"{mean}, {names[part]}" if evaluation.domains else mean, len(evaluation.targets)) for part in parts),
    ]
    own = {f"score/{name}": evaluation.groups[name].score for name in groups}
    kind = task.score.kind
    own |= {f"{kind}_{part}/{target}": value for part, of in evaluation.parts.items() for target, value in of.items()}
    keys = list(own)
    named = [(report.name, own), *((f"floor: {n.replace('_', ' ')}", m) for n, m in (report.floors or {}).items())]
    rows = [[name, *(html.number(metrics.get(key)) for key in keys)] for name, metrics in named]
    yield html.table(
        head,
        rows,
        above=above,
        strong=[0],
        caption=f"Score: {score_words(task, parts=over if len(parts) > 1 else '')}; lower is better.",
    )
    if report.floors is None:
        yield html.paragraph(f"Floors are missing: {report.floors_missing}.", "note")
    else:
        constant, fitted = ("how often each class is among", "temperature") if task.has_classes else _MEAN
        yield html.paragraph(
            f"Floors see no image: {constant} the training events, of all or of the same domain or species. "
            f"Their {fitted} is fitted on these events at other sites, which favours them.",
            "note",
        )


def _targets(report: ModelReport) -> str:
    rows = []
    for name in shown_groups(report.evaluation):
        group = report.evaluation.groups[name]
        for target in group.targets:
            numbers = [html.number(group.figure(target, kind)) for kind in ("crps", "r2", "rmse", "bias", "mae")]
            rows.append([target, report.part_names[name], str(group.n_events), *numbers])
    head = ["target", "events", "number", "CRPS", "R²", "RMSE", "bias", "MAE"]
    caption = "CRPS, R², RMSE and bias (forecast minus observed) by event, MAE by image."
    return html.table(head, rows, n_text=2, caption=caption)


def _coverage(report: ModelReport) -> str:
    coverage = report.evaluation.coverage
    wanted = (0.5, 0.9)
    rows = []
    for name in shown_groups(report.evaluation):
        for target, points in coverage[name].items():
            cells = []
            for point in (p for p in points if p.nominal in wanted):
                cells += [html.percent(point.observed), f"{html.percent(point.low)} to {html.percent(point.high)}"]
            rows.append([target, report.part_names[name], *cells])
    head = ["target", "events", *(["inside", "other sites"] * len(wanted))]
    above = [("", 2), *((f"{html.percent(p)} interval", 2) for p in wanted)]
    caption = f"Labels inside the forecast's interval, and the {html.percent(report.evaluation.level)} range of draws."
    return html.table(head, rows, above=above, n_text=2, caption=caption)


def _group_table(kind: str, groups: Sequence[GroupScores], part_names: Mapping[str, str]) -> str:
    """part_names: empty where there are no parts."""
    targets = list(groups[0].targets)
    short, part_head = short_names(targets), [""] if part_names else []
    of_classes = isinstance(groups[0].targets[targets[0]], ClassScores)
    kinds = CLASS_KINDS if of_classes else {"r2": "R² by event", "mae": "MAE by image", "bias": "bias"}
    head = [kind, *part_head, "events", "specimens", "score", *(kinds.values() if of_classes else short * len(kinds))]
    above = [] if of_classes else [("", 4 + bool(part_names)), *((title, len(targets)) for title in kinds.values())]
    rows = []
    for group in groups:
        cells = [html.number(group.figure(target, name), 2) for name in kinds for target in targets]
        counts = [str(group.n_events), str(group.n_images)]
        part = [part_names[group.part]] if part_names else []
        rows.append([group.name, *part, *counts, html.number(group.score), *cells])
    caption = "score: root mean square over targets of mean CRPS. With few events, R² says little."
    if of_classes:
        caption = "By event; with few events, macro F1 and ECE say little."
    return html.table(head, rows, above=above, n_text=1 + bool(part_names), caption=caption)


def _model(report: ModelReport) -> Iterator[str]:
    facts, data = report.facts, report.data
    held_out = "nothing" if facts.holdout == "all" else f"--holdout {facts.holdout} --fold {facts.fold}"
    rows = [
        ["model", report.spec],
        ["configuration", facts.name],
        ["epochs", str(facts.epochs)],
        ["seeds", ", ".join(map(str, facts.seeds))],
        ["backbone", facts.backbone],
        ["trained on", f"{facts.data}, {counted(facts.n_specimens, 'specimen')}, {counted(facts.n_events, 'event')}"],
        ["held out in training", held_out],
        ["fingerprint of its data", facts.data_fingerprint],
        ["fingerprint of these data", data.fingerprint],
        ["specimens left out as unreadable", str(data.n_dropped)],
    ]
    if facts.floor_shares:
        shares = ", ".join(f"{html.percent(share)} of the floor {name}" for name, share in facts.floor_shares.items())
        rows.append(["of forecasts for domains trained on", f"{shares}, whatever the photograph shows"])
    if facts.verdict:
        rows.append(["verdict of its confirmation", facts.verdict])
    yield html.table(["", ""], rows, n_text=2)
    for member in facts.members:
        title = f"Training configuration of {member.name}, {counted(member.epochs, 'epoch')}, seed {member.seed}"
        yield html.details(title, json.dumps(member.config, indent=2))
    if not facts.members:
        yield html.details("Training configuration", json.dumps(facts.config, indent=2))
