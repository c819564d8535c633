"""The report's tables: ranks beside variants and floors, confirmation, errors by group, cost, failures."""

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from trainable.counts import counted
from trainable.data.task import Task
from trainable.data.task_words import PART_NAMES, groups_of, loss_name, score_keys, score_words, short_names
from trainable.errors import UserError
from trainable.scoring.crps import Floats
from trainable.scoring.metrics import SCORE
from trainable.scoring.out_of_fold import PartForecasts
from trainable.scoring.targets import Targets
from trainable.storage.remote_folder import StorageError
from tune.confirming.outcome import ConfirmedConfiguration, out_of_fold_of
from tune.decisions.rungs import rung_standings
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import TrialRecord, finite
from tune.evaluation import markup as html
from tune.report.results import duration
from tune.report_page.drawing import WIDTH, axes, figure, line, scale, text
from tune.report_page.view import StudyView

N_BEST = 10
MAX_FAILURES = 50


def ranks(view: StudyView) -> str:
    """The best trials, every variant and every floor, in one order: by their score."""
    ranked = view.ranked()
    shown = {t.trial_id: t for t in (*ranked[:N_BEST], *view.standings.variant_trials().values())}
    place_of = {t.trial_id: place for place, t in enumerate(ranked, 1)}
    rows = [(_row(view, t, place_of.get(t.trial_id)), finite(t.best_score)) for t in shown.values()]
    for name, metrics in view.standings.floors.items():
        scores = [html.number(finite(metrics.get(key)), 4) for key in score_keys(view.task)]
        rows.append((["", f"floor: {name.replace('_', ' ')}", "", *scores, "", ""], finite(metrics.get(SCORE))))
    rows.sort(key=lambda row: (row[1] is None, row[1] or 0.0))
    head = ["trial", "what it is", "status", *_score_heads(view.task), "best epoch", "rank"]
    caption = (
        f"The best {min(N_BEST, len(ranked))} of {counted(len(ranked), 'scored trial')}, all variants, all floors. "
        f"Score: {score_words(view.task)}; lower is better."
    )
    best = view.standings.best()
    strong = [i for i, (row, _) in enumerate(rows) if best is not None and row[0] == best.trial_id]
    return html.table(head, [row for row, _ in rows], caption=caption, n_text=3, strong=strong)


def _score_heads(task: Task) -> list[str]:
    return ["score" if name == "all" else name for name in score_keys(task).values()]


def _row(view: StudyView, trial: TrialRecord, place: int | None) -> list[str]:
    scores = [html.number(finite(trial.best_metrics.get(key)), 4) for key in score_keys(view.task)]
    epoch = html.NOTHING if trial.best_epoch is None else f"{trial.best_epoch} of {trial.epoch}"
    return [trial.trial_id, trial_label(trial), view.status(trial), *scores, epoch, str(place or html.NOTHING)]


def rungs(view: StudyView) -> str:
    """How many trials came to each rung, and how many it stopped."""
    rows = [
        [str(rung.epoch), str(rung.n_reached), str(rung.n_stopped), html.number(rung.cut, 4)]
        for rung in rung_standings(view.standings)
    ]
    return html.table(["epoch", "trials", "stopped", "cut now"], rows, caption="The rungs of early stopping.", n_text=0)


def confirmation(view: StudyView) -> Iterator[str]:
    """Every candidate beside the default, on the same folds and seeds, with the interval of the pairs."""
    confirmed = view.confirmed
    if confirmed is None:
        yield html.paragraph(
            "Not confirmed yet: a search's own best score flatters, since it was chosen by it.", "note"
        )
        return
    rows: list[tuple[float, list[str]]] = []
    for candidate in confirmed.candidates:
        difference = candidate.difference
        gain = html.NOTHING if difference is None else html.number(-difference.mean, 4, signed=True)
        bounds = "compared to"
        if difference is not None:
            bounds = html.interval(-difference.high, -difference.low, 4, signed=True)
            bounds += f" {100 * difference.level:.3g} %"
        interval = html.interval(*candidate.intervals[SCORE])
        p_better = None if difference is None else difference.p_better
        better_with = html.NOTHING if p_better is None else html.percent(p_better)
        score = candidate.metrics[SCORE]
        rows.append((score, [candidate.name, html.number(score, 4), interval, gain, bounds, better_with]))
    for name, metrics in confirmed.floors.items():
        score, label = metrics[SCORE], f"floor: {name.replace('_', ' ')}"
        rows.append((score, [label, html.number(score, 4), *[html.NOTHING] * 4]))
    rows.sort(key=lambda row: row[0])
    head = ["configuration", "score", f"{html.percent(confirmed.interval_level)} interval", "gain on default",
            "interval of", "better with"]  # fmt: skip
    cells = f"{counted(len(confirmed.folds), 'fold')} and {counted(len(confirmed.seeds), 'seed')}"
    caption = f"Trained anew on {cells} that all share; a gain above 0 is better."
    caption += " Floors see no image." if confirmed.floors else ""
    yield html.table(head, [row for _, row in rows], caption=caption)
    yield from (html.paragraph(f"{c.mixture}.", "note") for c in confirmed.candidates if c.members)
    if (first := confirmed.asked_first) is not None:
        yield html.paragraph(f"Asked first: {first}; others win only where it does.", "note")
    if confirmed.n_seen or confirmed.scored_by_search:
        yield html.warning("The search chose by some of the events that judge here, which favours what it chose.")
    for said in confirmed.not_compared:
        yield html.paragraph(f"{said[0].upper()}{said[1:]}.", "note")
    pairs = [c for c in confirmed.candidates if c.difference is not None]
    if pairs:
        yield _pairs(view, pairs)


def _pairs(view: StudyView, pairs: Sequence[ConfirmedConfiguration]) -> str:
    found = [(c.name, -c.difference.mean, -c.difference.high, -c.difference.low) for c in pairs if c.difference]
    height = 70.0 + 26 * len(found)
    x = scale([0.0, *(value for _, *values in found for value in values)], 150, WIDTH - 20)
    y = scale([], height - 40, 20)
    body = axes(x, y, xlabel="gain on the default, above 0 is better", ylabel="", names_rows=True)
    body += line([(x.place(0), 20), (x.place(0), height - 40)], "rung")
    for number, (name, mean, low, high) in enumerate(found):
        at = 34.0 + 26 * number
        body += text(142, at + 4, name, anchor="end", kind="name")
        body += line([(x.place(low), at), (x.place(high), at)], "completed thick")
        body += f'<circle class="completed" cx="{x.place(mean):.1f}" cy="{at:.1f}" r="4.5"/>'
    return figure(
        f"Gains on the default of {view.name}", body, height=height,
        caption="A line that crosses 0 may be chance.",
    )  # fmt: skip


def errors(view: StudyView) -> Iterator[str]:
    """The winner's errors by domain and by site, on events that it was not trained on."""
    confirmed = view.confirmed
    if confirmed is None or (winner := confirmed.candidate(confirmed.winner)) is None:
        yield html.paragraph("A confirmation keeps forecasts of held-out events; there is none yet.", "note")
        return
    try:
        forecasts = out_of_fold_of(view.folder, confirmed, winner, local=view.standings.is_local)
    except (UserError, StorageError) as error:
        yield html.paragraph(f"Not known here: {str(error).splitlines()[0]}", "note")
        return
    has_domains = view.task.columns.domain is not None
    for kind in groups_of(view.task):
        rows = []
        for part_name, part in forecasts.parts.items():
            groups = part.domains if kind == "domain" else part.sites
            for group in sorted(set(groups.tolist()), key=lambda name: (len(name), name)):
                of = part.of(groups == group)
                crps = of.crps.mean(axis=0)
                score = math.sqrt(fmean(float(value) ** 2 for value in crps / forecasts.targets.floor))
                cells = [html.number(float(v), 2) for v in (*crps, *_beside(of, forecasts.targets))]
                rows.append(
                    [
                        group,
                        *([PART_NAMES[part_name]] if has_domains else []),
                        str(len(of.labels)),
                        html.number(score),
                        *cells,
                    ]
                )
        short = short_names(forecasts.targets.names)
        head = [kind, *([""] if has_domains else []), "events", "score"]
        beside = "accuracy" if view.task.has_classes else "bias"
        above = [("", len(head)), (f"mean {loss_name(view.task)}", len(short)), (beside, len(short))]
        caption = f"Of {winner.name}, on held-out events of the confirmation"
        caption += "." if view.task.has_classes else "; bias: forecast minus observed."
        yield html.table([*head, *short, *short], rows, above=above, caption=caption, n_text=len(head) - 2)


def _beside(part: PartForecasts, targets: Targets) -> Iterable[float]:
    """What is told beside a group's mean loss, one a target: the bias of numbers, the accuracy of classes."""
    if not targets.task.has_classes:
        bias: Floats = (part.mu.mean(axis=0) - part.labels).mean(axis=0)
        return bias
    return targets.rule.gathered_figures(part.labels, part.mu, part.crps, part.sigma)["accuracy"]


def cost(view: StudyView) -> str:
    """Hours of trials, and what early stopping saved: a stopped trial's missing epochs at its own speed."""
    trained = sum(t.seconds for t in view.trials)
    saved = sum(
        (t.max_epochs - t.epoch) * t.seconds / t.epoch for t in view.trials if t.state in ("pruned", "completed")
    )
    share = f", {html.percent(saved / (trained + saved))} of what it would have been" if saved else ""
    n_full = sum(t.max_epochs for t in view.trials)
    rows = [
        ["epochs trained", f"{view.standings.n_reports} of {n_full} that all trials at full length have"],
        ["time of training", duration(trained)],
        ["saved by early stopping", f"about {duration(saved)}{share}"],
        ["started again", counted(sum(len(t.retries) for t in view.trials), "time")],
    ]
    return html.table(["", ""], rows, n_text=2)


def failures(view: StudyView) -> str:
    """Why trials failed, the latest last."""
    failed = [t for t in view.trials if t.state == "failed"]
    if not failed:
        return html.paragraph("No trial failed.", "note")
    rows = [[t.trial_id, trial_label(t), str(t.epoch), t.reason] for t in failed[-MAX_FAILURES:]]
    hidden = f"; the last {MAX_FAILURES} are shown" if len(failed) > MAX_FAILURES else ""
    return html.table(
        ["trial", "what it is", "epoch", "reason"], rows, n_text=4, caption=f"{counted(len(failed), 'trial')}{hidden}."
    )
