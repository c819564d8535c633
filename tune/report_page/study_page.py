"""`report.html`: what a study found, verdict and numbers first; several studies side by side, then each by itself."""

from collections.abc import Iterator, Sequence

from search_spaces.variant import variant_file
from trainable.counts import counted
from trainable.data.task_words import groups_of
from trainable.scoring.best_floor import best_floor
from trainable.scoring.metrics import SCORE
from tune.confirming.outcome import Confirmed
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import ENQUEUED
from tune.evaluation import markup as html
from tune.printed.held_out_words import held_out_words
from tune.printed.next_command import next_command
from tune.report.results import duration
from tune.report_page import tables
from tune.report_page.drawing import STYLE
from tune.report_page.importance import importances
from tune.report_page.parameter_figures import importance_figure, map_figure, parallel_coordinates, slice_figure
from tune.report_page.progress_figures import best_over_epochs, best_over_time, learning_curves
from tune.report_page.view import StudyView

N_SLICES = 4
N_COORDINATES = 8
"""Axes side by side: the names of more of them cannot be read."""

DARK = """
:root { color-scheme: light dark; --warm: #c2641b; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e5e7eb; --muted: #9ca3af; --line: #374151; --soft: #1b2431; --accent: #6aa5e8; --warm: #f0a35e;
    --bad: #f28b82; }
  body { background: #111827; }
  .warning { background: #3a2a17; }
}
@media print { :root { color-scheme: light; } }
"""


def report_page(views: Sequence[StudyView]) -> str:
    """The whole page of at least one study."""
    names = ", ".join(view.name for view in views)
    title = f"Study {names}" if len(views) == 1 else f"Studies {names}"
    body = list(_together(views, title)) if len(views) > 1 else []
    for view in views:
        body += _study(view, level=1 if len(views) == 1 else 2)
    return html.page(title, body, style=DARK + STYLE)


def _together(views: Sequence[StudyView], title: str) -> Iterator[str]:
    yield html.heading(title, level=1)
    fingerprints = {(v.standings.header.get("data_fingerprint"), held_out_words(v.options),
                     v.standings.header.get("max_epochs")) for v in views}  # fmt: skip
    if len(fingerprints) > 1:
        yield html.warning("These studies differ in data, held-out events or length: their scores are not comparable.")
    above = [("", 3), ("in the search", 2), ("where confirmed", 2), ("", 3)]
    scored = ["best score", "lowest floor", "leader's score", "lowest floor"]
    head = ["study", "best trial", "verdict", *scored, "trials", "epochs", "training"]
    yield html.table(head, [_beside_others(view) for view in views], above=above, n_text=3)
    yield best_over_time(views)


def _beside_others(view: StudyView) -> list[str]:
    best, confirmed = view.standings.best(), view.confirmed
    leader = confirmed.candidate(confirmed.leader) if confirmed is not None else None
    floor, floor_there = best_floor(view.standings.floors), best_floor(confirmed.floors if confirmed else {})
    scores = (
        None if best is None else best.best_score,
        None if floor is None else floor.score,
        None if leader is None else leader.metrics[SCORE],
        None if floor_there is None else floor_there.score,
    )
    return [
        view.name,
        "no score" if best is None else f"{best.trial_id} {trial_label(best)}",
        confirmed.verdict if confirmed else "not confirmed",
        *(html.number(score, 4) for score in scores),
        str(len(view.trials)),
        str(view.standings.n_reports),
        duration(sum(t.seconds for t in view.trials)),
    ]


def _study(view: StudyView, *, level: int) -> Iterator[str]:
    yield html.heading(f"Study {view.name}", level=level)
    yield html.paragraph(_lead(view), "lead")
    yield html.paragraph(f"Verdict: {view.confirmed.verdict if view.confirmed else 'not confirmed yet'}.")
    yield html.cards(_glance(view))
    yield html.heading("Best trials, variants and floors")
    yield tables.ranks(view)
    yield html.heading("Confirmation")
    yield from tables.confirmation(view)
    if view.standings.n_reports:
        yield html.heading("The way to the best score")
        yield from (best_over_epochs(view), best_over_time([view]), learning_curves(view))
        yield tables.rungs(view)
        yield from _parameters(view)
    yield html.heading(f"Errors by {' and '.join(groups_of(view.task))}")
    yield from tables.errors(view)
    yield html.heading("Cost")
    yield tables.cost(view)
    yield html.heading("Failures")
    yield tables.failures(view)
    yield from _winner(view)
    yield html.heading("How to reproduce")
    yield from _reproduction(view)


def _lead(view: StudyView) -> str:
    options, header = view.options, view.standings.header
    state = "running" if view.is_running else view.standings.end_reason or "cut off: its process ended without a word"
    words = (f"{name} {options[key]}" for name, key in (("space", "space"), ("data", "data"), ("backbone", "backbone"))
             if options.get(key))  # fmt: skip
    held_out = f"held out: {held_out_words(options)}"
    return f"{', '.join(words)}; {held_out}; trials of {header.get('max_epochs')} epochs. State: {state}."


def _glance(view: StudyView) -> Iterator[tuple[str, str, str]]:
    standings, best = view.standings, view.standings.best()
    confirmed_over_floor = list(_over_floor_where_confirmed(view.confirmed))
    yield from confirmed_over_floor
    if best is None:
        yield "Best score", html.NOTHING, "no trial has a score"
    else:
        yield "Best score", html.number(best.best_score, 4), f"{best.trial_id} {trial_label(best)}, in the search"
        floor = None if confirmed_over_floor else best_floor(standings.floors)
        if floor is not None and best.best_score is not None:
            where, by = html.below(best.best_score, floor.score)
            yield f"{where} the lowest floor by", html.number(by, 4), f"which scores {floor.score:.4f} in the search"
        default = standings.variant_trials().get("default")
        if default is not None and default.best_score is not None and best.best_score is not None:
            where, by = html.below(best.best_score, default.best_score)
            yield f"{where} the default by", html.number(by, 4), "in the search, which chose it by this score"
    if view.confirmed and (winner := view.confirmed.candidate(view.confirmed.winner)) and winner.difference:
        d = winner.difference
        yield "Confirmed gain", html.number(-d.mean, 4), html.interval(-d.high, -d.low, 4, signed=True)
    elif view.confirmed and (leader := view.confirmed.candidate(view.confirmed.leader)) and leader.difference:
        yield "Leading, not proven", html.number(-leader.difference.mean, 4), f"{leader.name}, gain on the default"
    counts = ", ".join(
        f"{n} {s}" for s in ("completed", "pruned", "failed", "paused", "running") if (n := standings.count(s))
    )
    yield "Trials", f"{standings.n_told} of {standings.n_wanted}", counts or "none yet"
    yield "Time of training", duration(sum(t.seconds for t in view.trials)), counted(standings.n_reports, "epoch")


def _over_floor_where_confirmed(confirmed: Confirmed | None) -> Iterator[tuple[str, str, str]]:
    """Of the leader, on the confirmation's folds."""
    leader = confirmed.candidate(confirmed.leader) if confirmed is not None else None
    floor = best_floor(confirmed.floors) if confirmed is not None else None
    if leader is not None and floor is not None:
        where, by = html.below(leader.metrics[SCORE], floor.score)
        words = f"{leader.name}, where it was confirmed: {leader.metrics[SCORE]:.4f}, floor {floor.score:.4f}"
        yield f"{where} the lowest floor by", html.number(by, 4), words


def _parameters(view: StudyView) -> Iterator[str]:
    if not view.varied or not view.ranked():
        return
    yield html.heading("What the parameters did")
    found = importances(view)
    yield parallel_coordinates(view, [i.varied for i in found[:N_COORDINATES]] or view.varied[:N_COORDINATES])
    if len(view.varied) > N_COORDINATES:
        yield html.paragraph(f"The {N_COORDINATES} most important of {len(view.varied)} parameters.", "note")
    if not found:
        yield html.paragraph("Too few ended trials to say which parameters matter.", "note")
        return
    yield importance_figure(view, found)
    yield '<div class="pair">' + "".join(slice_figure(view, i.varied) for i in found[:N_SLICES]) + "</div>"
    if len(found) > 1:
        yield map_figure(view, found[0].varied, found[1].varied)


def _winner(view: StudyView) -> Iterator[str]:
    """As variants' files, which `train --variant` and `retrain --config` take: of an ensemble one for each member."""
    best, confirmed = view.standings.best(), view.confirmed
    winner = confirmed.candidate(confirmed.winner) if confirmed is not None else None
    if confirmed is not None and winner is not None:
        found = [(member.name, member.config) for member in confirmed.members_of(winner)]
    else:
        found = [(best.trial_id, best.config)] if best is not None else []
    for name, config in found:
        text = variant_file(config, f"{name} of the study {view.name}")
        yield html.heading(f"Configuration of {name}")
        yield html.details("YAML, for `train --variant` and `retrain --config`", text)


def _reproduction(view: StudyView) -> Iterator[str]:
    standings, header = view.standings, view.standings.header
    wanted = view.given | {"trials": standings.n_own, "local": standings.is_local}
    place = wanted.pop("tracking_uri", None)
    budget = wanted.pop("time_budget", None) if view.n_sessions > 1 else None
    if budget is not None:
        wanted["trials"] = standings.n_asked
    commands = [next_command("search", **wanted), next_command("replay", view.folder)]
    kept = {"data": "data_fingerprint", "backbone": "backbone_fingerprint", "commit": "git_commit"}
    rows = [
        *([name, str(header[key])] for name, key in kept.items() if header.get(key) is not None),
        ["versions", ", ".join(f"{name} {version}" for name, version in (header.get("versions") or {}).items())],
    ]
    yield html.details("Commands", "\n".join(commands))
    if budget is not None:
        yield html.paragraph(
            f"Not in it: a --time-budget, which is one session's, since {view.n_sessions} sessions made the study; "
            "--trials is how many they began.",
            "note",
        )
    if enqueued := [trial.trial_id for trial in view.trials if trial.origin == ENQUEUED]:
        yield html.paragraph(
            f"Not in it: {counted(len(enqueued), 'configuration')} that a user enqueued ({', '.join(enqueued)}); "
            "`sentinel-tune enqueue` has a new study try them, too.",
            "note",
        )
    yield html.table(["", "fingerprint or version"], rows, n_text=2)
    if place is not None:
        yield html.paragraph("Its records are in MLflow, too.", "note")
