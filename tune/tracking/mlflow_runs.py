"""What MLflow must hold for a journal: one desired run for the study and one for every trial.

A pure fold without MLflow. The live writer folds entry by entry and sends the difference; `sync` folds the whole
journal and sends the difference: both end in the same records. Times come from the journal, so a value that is sent
twice is the same row for MLflow and is stored once.
"""

import json
import math
from collections.abc import Iterable
from typing import Any

from tune.decisions.standings import Standings
from tune.decisions.trial_record import SCORE, TrialRecord, finite
from tune.journal.entries import (
    CheckpointWritten,
    Confirming,
    EpochReported,
    FloorsMeasured,
    JournalEntry,
    RungDecided,
    SessionBegun,
    SessionEnded,
    StudyBegun,
    TrialAsked,
    TrialEntry,
    TrialRetried,
    TrialTold,
)
from tune.printed.secrets_left_out import redact
from tune.tracking.confirmation_runs import ConfirmationRuns
from tune.tracking.desired_run import PARENT, DesiredRun, MetricPoint, RunStatus, ms_of
from tune.tracking.values import MAX_KEY, log_scaled, metric_key, study_params, study_tags, trial_params


class RunBook:
    """Folds journal entries into desired runs."""

    def __init__(self) -> None:
        self.standings = Standings()
        self.runs: dict[str, DesiredRun] = {}
        self._log_scaled: tuple[str, ...] = ()
        self._parent_best: tuple[str, float] | None = None
        self._n_told = 0
        self._confirmation: ConfirmationRuns | None = None

    def apply(self, entry: JournalEntry) -> set[str]:
        """Take the journal's next entry; returns the keys of the runs that it changes."""
        self.standings.apply(entry)
        if isinstance(entry, StudyBegun):
            self._on_study(entry)
            changed = {PARENT}
        elif PARENT in self.runs:
            changed = self._change(entry)
        else:
            return set()
        for key in changed:
            self.runs[key].last_ms = max(ms_of(entry), self.runs[key].last_ms)
        return changed

    def _change(self, entry: JournalEntry) -> set[str]:
        match entry:
            case TrialAsked():
                return {self._on_ask(entry)}
            case Confirming():
                return self._on_confirm(entry)
            case TrialEntry():
                run = self.runs.get(entry.trial)
                return set() if run is None else self._change_trial(run, entry)
            case SessionBegun():
                return self._on_session(self.runs[PARENT], entry)
            case FloorsMeasured():
                return self._on_floors(self.runs[PARENT], entry)
            case SessionEnded():
                return self._on_end(self.runs[PARENT], entry)
        return set()

    def _change_trial(self, run: DesiredRun, entry: TrialEntry) -> set[str]:
        changed: set[str] = set()
        run.take(entry)
        match entry:
            case EpochReported():
                changed = self._on_report(run, entry)
            case RungDecided():
                run.tag("hpo.rung", entry.rung)
            case TrialTold():
                changed = self._on_tell(run, entry)
            case TrialRetried():
                self._on_retry(run)
            case CheckpointWritten():
                return set()
        return changed | {run.key}

    def end_all(self, *, status: RunStatus, hpo_status: str, end_ms: int | None = None) -> set[str]:
        """End every run that still runs: the study's with the given state, trials as interrupted."""
        changed = set()
        for key, run in self.runs.items():
            if run.status == "RUNNING":
                killed: tuple[RunStatus, str] = ("KILLED", "interrupted")
                run.settle(*((status, hpo_status) if key == PARENT else killed), end_ms=end_ms or run.last_ms)
                changed.add(key)
        return changed

    def _on_study(self, entry: StudyBegun) -> None:
        header = self.standings.header
        self._log_scaled = log_scaled(header.get("space"))
        parent = self.runs.get(PARENT)
        if parent is None:
            name = entry.study_id[:MAX_KEY]
            parent = self.runs[PARENT] = DesiredRun(key=PARENT, name=name, start_ms=ms_of(entry))
            parent.params = study_params(header)
        parent.tags.update(study_tags(self.standings.study_id, self.standings.header))
        parent.settle("RUNNING", "running", end_ms=None)
        shown = {"study_id": entry.study_id, **header}
        parent.artifacts["study.json"] = redact(json.dumps(shown, indent=2, sort_keys=True, default=str))

    def _on_session(self, parent: DesiredRun, entry: SessionBegun) -> set[str]:
        parent.settle("RUNNING", "running", end_ms=None)
        parent.tag("hpo.executor", entry.executor)
        parent.tag("hpo.precision", entry.precision)
        return {PARENT}

    def _on_floors(self, parent: DesiredRun, entry: FloorsMeasured) -> set[str]:
        if any(point.key.startswith("floor_") for point in parent.metrics):
            return set()  # a resumed session computes the same floors again
        for floor, metrics in entry.floors.items():
            for name, value in metrics.items():
                leaf = "score" if name == SCORE else name.replace("/", "_")
                _add(parent, f"floor_{floor}/{leaf}", value, ms_of(entry), 0)
        return {PARENT}

    def _on_ask(self, entry: TrialAsked) -> str:
        trial = self.standings.trials[entry.trial]
        run = self.runs.get(trial.trial_id)
        if run is None:
            run = DesiredRun(key=trial.trial_id, name=trial.name[:MAX_KEY], start_ms=ms_of(entry))
            self.runs[run.key] = run
            run.params = trial_params(trial.config, self._log_scaled)
            run.tags = study_tags(self.standings.study_id, self.standings.header)
            run.tag("hpo.trial", trial.trial_id)
            run.tag("hpo.origin", trial.origin)
            run.tag("hpo.seed", entry.seed)
            run.tag("hpo.variant", None if trial.is_noise else trial.variant)
        run.take(entry)
        run.artifacts["config/resolved.json"] = _config_json(trial)
        return run.key

    def _on_confirm(self, entry: Confirming) -> set[str]:
        if self._confirmation is None:
            tags = study_tags(self.standings.study_id, self.standings.header)
            self._confirmation = ConfirmationRuns(tags, self._log_scaled)
        return self._confirmation.apply(entry, self.runs, self.runs[PARENT])

    def _on_report(self, run: DesiredRun, entry: EpochReported) -> set[str]:
        step = entry.epoch
        if step not in run.steps_seen:  # an epoch repeated after a crash is equal; MLflow would keep both
            run.steps_seen.add(step)
            keys: set[str] = set()
            for name, value in entry.metrics.items():
                if (key := metric_key(name)) not in keys:
                    keys.add(key)
                    _add(run, key, value, ms_of(entry), step)
            best = self.standings.trials[run.key].best_score
            if "best/score" not in keys and best is not None:
                _add(run, "best/score", best, ms_of(entry), step)
        return self._parent_progress(entry)

    def _on_tell(self, run: DesiredRun, entry: TrialTold) -> set[str]:
        if entry.state == "failed" and "hpo.error" not in run.tags:
            run.tag("hpo.error", entry.reason)
        self._n_told += 1
        parent = self.runs[PARENT]
        for told in ("completed", "pruned", "failed"):
            _add(parent, f"progress/{told}", self.standings.count(told), ms_of(entry), self._n_told)
        return self._parent_progress(entry) | {PARENT}

    def _on_retry(self, run: DesiredRun) -> None:
        trial = self.standings.trials[run.key]
        run.artifacts["config/resolved.json"] = _config_json(trial)
        for name, value in trial_params(trial.config, self._log_scaled).items():
            if run.params.get(name, value) != value:
                run.tag(f"hpo.retry.{name}", value)  # params of a run cannot be changed

    def _on_end(self, parent: DesiredRun, entry: SessionEnded) -> set[str]:
        reason = entry.reason
        status, hpo_status = _end_state(entry.state, reason)
        parent.tag("hpo.reason", reason)
        return {PARENT} | self.end_all(status=status, hpo_status=hpo_status, end_ms=ms_of(entry))

    def _parent_progress(self, entry: JournalEntry) -> set[str]:
        best = self.standings.best()
        if best is None or best.best_score is None or (best.trial_id, best.best_score) == self._parent_best:
            return set()
        parent = self.runs[PARENT]
        self._parent_best = (best.trial_id, best.best_score)
        step = self.standings.n_reports
        if step not in parent.steps_seen:  # a failing trial can change the best without a report
            parent.steps_seen.add(step)
            _add(parent, "best/score", best.best_score, ms_of(entry), step)
        parent.tag("hpo.best_trial", best.trial_id)
        parent.tag("hpo.best_score", f"{best.best_score:.6g}")
        return {PARENT}


def desired_runs(entries: Iterable[JournalEntry], *, running: bool) -> dict[str, DesiredRun]:
    """Key -> desired run for a whole journal; the study's own run has the key `PARENT` and comes first.

    running: False when no search works on the study any more: what the journal leaves open (its driver was killed) is
    then ended as interrupted, at the time of its last entry.
    """
    book = RunBook()
    for entry in entries:
        book.apply(entry)
    if not running:
        book.end_all(status="KILLED", hpo_status="interrupted")
    return book.runs


def _add(run: DesiredRun, key: str, value: Any, timestamp_ms: int, step: int) -> None:
    number = finite(value)
    if number is None and not (value is None or isinstance(value, float | str)):
        return  # not a measurement
    run.metrics.append(MetricPoint(key, math.nan if number is None else number, timestamp_ms, step))


def _config_json(trial: TrialRecord) -> str:
    return json.dumps(trial.config, indent=2, sort_keys=True)


def _end_state(state: str, reason: str) -> tuple[RunStatus, str]:
    """The study's final state: from the entry's own `state` where it has one, else from the words of its reason."""
    if state == "interrupted" or (not state and reason.lower().startswith("interrupt")):
        return "KILLED", "interrupted"
    if state == "failed" or (not state and "all failed" in reason):
        return "FAILED", "failed"
    return "FINISHED", "completed"
