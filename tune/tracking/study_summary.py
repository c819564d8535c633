"""What the study's own run in MLflow says first: a description in Markdown, and the few numbers that sum it up."""

import re
from collections.abc import Iterator

from trainable.counts import counted
from trainable.data.task_words import score_keys, score_words
from trainable.scoring.best_floor import best_floor
from trainable.scoring.metrics import SCORE
from tune.confirming.outcome import Confirmed
from tune.decisions.standings import Standings
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import TrialRecord, finite
from tune.decisions.varied import Varied, varied_parameters
from tune.journal.entries import STATES
from tune.journal.study_task import task_of_study
from tune.printed.held_out_words import held_out_words
from tune.printed.next_command import next_command
from tune.printed.secrets_left_out import redact
from tune.tracking.desired_run import CHARTS_LINK, RUN_LINK, TABLE_LINK, UsedDataset
from tune.tracking.values import metric_key

N_BEST, N_VARIANTS = 5, 10
"""Rows of the table: a tag is short, and the whole table is in the report."""

MAX_DESCRIPTION = 4000  # addresses make it longer, and the oldest servers in use accept 5000
REPORT, FIGURES = "report.html", "figures"
"""In the study's run: the page of `report`."""

_VIEWS = f"All trials: [as a table, best first]({TABLE_LINK}), [as charts]({CHARTS_LINK})."

_GAP = "\u00a0\u00a0"
"""Before a number: the UI draws tables without any space between columns."""


class StudySummary:
    """Looks at a study's standings. varied: its space's parameters. default: the trial of that variant, confirmed: the
    latest verdict; None where there is none.
    """

    def __init__(self, standings: Standings, study: object) -> None:
        """study: its folder, as commands name it; None where it is not known."""
        self.standings, self._study = standings, study
        self.varied: tuple[Varied, ...] = varied_parameters(standings)
        self.default: TrialRecord | None = None
        self.confirmed: Confirmed | None = None

    def scores(self) -> dict[str, float]:
        """`score/best`, `score/default`, `score/floor`: each where there is one."""
        best, default = self.standings.best(), self.default
        floor = best_floor(self.standings.floors or {})  # none where the entry could not be read
        found = {
            "score/best": None if best is None else best.best_score,
            "score/default": None if default is None else default.best_score,
            "score/floor": None if floor is None else floor.score,
        }
        return {name: score for name, score in found.items() if score is not None}

    def details(self) -> dict[str, float]:
        """What a session ends with: how trials ended, each floor. The UI lists metrics in the order of their coming."""
        counts = {f"study/{told}": float(self.standings.count(told)) for told in STATES}
        return counts | {metric_key(f"study/floor_{name}"): score for name, score in self._floors()}

    def _floors(self) -> Iterator[tuple[str, float]]:
        for name, metrics in (self.standings.floors or {}).items():  # none where the entry could not be read
            if (score := finite(metrics.get(SCORE))) is not None:
                yield name, score

    def datasets(self) -> tuple[UsedDataset, ...]:
        """The labelled specimens that the study learns from."""
        header = self.standings.header
        options = header.get("options") or {}
        digest = str(header.get("data_fingerprint") or "")
        if not digest:
            return ()
        use = f"search: held out {held_out_words(options)}"
        name = redact(str(options.get("data") or "specimens"))
        return (UsedDataset(name=name[:500], digest=digest[:36], rows=header.get("n_specimens"), use=use),)

    def description(self, state: str, *, has_report: bool) -> str:
        """Markdown: what was searched on what, how it stands, the best beside variants and floors, what to run next.

        The UI shows the first lines, and the rest at a click.
        """
        parts = [self._lead(), self._standing(state), self._table(), _VIEWS, self._commands()]
        made = f"all that the study was made with, in [study.json]({RUN_LINK}/artifacts/study.json)."
        report = f"[report.html]({RUN_LINK}/artifacts/{REPORT}), its figures as PNG in `{FIGURES}`, and "
        parts.append(f"Files: {report if has_report else ''}{made}")
        return redact("\n\n".join(part for part in parts if part))[:MAX_DESCRIPTION]

    def _lead(self) -> str:
        header = self.standings.header
        options = header.get("options") or {}
        space, data, backbone = (_cell(options.get(name)) for name in ("space", "data", "backbone"))
        return (
            f"Search of the space **{space}** on **{data}** with the backbone **{backbone}**; held out: "
            f"{_cell(held_out_words(options))}; trials of up to "
            f"{counted(int(header.get('max_epochs') or 0), 'epoch')}."
        )

    def _standing(self, state: str) -> str:
        best, confirmed = self.standings.best(), self.confirmed
        score = "" if best is None else f" Best so far: **{_cell(run_name(best))}**, score {best.best_score:.4f}."
        verdict = f" Verdict: {_cell(confirmed.verdict)}." if confirmed else " Not confirmed yet."
        return f"{self._progress(state)}{score}{verdict}"

    def _progress(self, state: str) -> str:
        counts = ((self.standings.count(s), s) for s in ("completed", "pruned", "failed", "paused"))
        told = ", ".join(f"{n} {s}" for n, s in counts if n)
        ended = f"{self.standings.n_told} of {counted(self.standings.n_wanted, 'trial')} have ended"
        return f"State: **{state}**. {ended}{f' ({told})' if told else ''}."

    def _table(self) -> str:
        rows = sorted(self._rows(), key=lambda row: (row[0] is None, row[0] or 0.0))
        if not rows:
            return ""
        task = task_of_study(self.standings.header)
        heads = ["score" if name == "all" else name for name in score_keys(task).values()]
        head = [f"| what | {' | '.join(heads)} | best epoch |", f"|:---|{'---:|' * len(heads)}---:|"]
        lines = [f"| {' | '.join(cells)} |" for _, cells in rows]
        return "\n".join([*head, *lines, "", f"Score: {score_words(task)}; lower is better."])

    def _rows(self) -> Iterator[tuple[float | None, list[str]]]:
        best = self.standings.best()
        scored = (t for t in self.standings.trials.values() if t.best_score is not None and t.state != "failed")
        ranked = sorted(scored, key=lambda t: (t.best_score or 0.0, t.number))[:N_BEST]
        variants = list(self.standings.variant_trials().values())[:N_VARIANTS]
        for trial in {t.trial_id: t for t in (*ranked, *variants)}.values():
            name = _cell(run_name(trial))
            epoch = "" if trial.best_epoch is None else f"{_GAP}{trial.best_epoch}"
            yield trial.best_score, [f"**{name}**" if trial is best else name, *self._scores(trial.best_metrics), epoch]
        for name, score in self._floors():
            yield score, [f"floor: {_cell(name.replace('_', ' '))}", *self._scores(self.standings.floors[name]), ""]

    def _scores(self, metrics: dict[str, float]) -> list[str]:
        found = (finite(metrics.get(key)) for key in score_keys(task_of_study(self.standings.header)))
        return ["" if score is None else f"{_GAP}{score:.4f}" for score in found]

    def _commands(self) -> str:
        study = self._study or self.standings.study_id
        local = self.standings.is_local
        then = next_command("retrain", study) if self.confirmed else next_command("confirm", study, local=local)
        has_result = self.confirmed or self.standings.best() is not None
        commands = [
            *([then] if has_result else []),
            next_command("report", study),
            next_command("search", resume=study, local=local),
        ]
        return "To go on:\n\n" + "\n".join(f"    {command}" for command in commands)


def run_name(trial: TrialRecord) -> str:
    """What a trial is called in MLflow: `lora` of a variant, `018 dora r14 N1` of any other."""
    label = trial_label(trial)
    return label if trial.variant is not None and not trial.is_noise else f"{trial.number:03d} {label}"


def _cell(value: object) -> str:
    """Text that Markdown shows as it is, in a table, too."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(str(value).split()))
