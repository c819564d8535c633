"""What MLflow must hold for a journal: one wished-for run for the study and one for every trial.

A pure fold without MLflow. The live writer folds event by event and sends the difference; `sync` folds the whole
journal and sends the difference: both end in the same records. Times come from the journal, so a value that is sent
twice is the same row for MLflow and is stored once.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tune.decisions.standings import SCORE, Standings, TrialStanding, finite, floors_of
from tune.printed.secrets_left_out import redact
from tune.tracking.confirmation_runs import ConfirmationRuns
from tune.tracking.values import MAX_KEY, log_scaled, metric_key, study_params, study_tags, trial_params
from tune.tracking.wished_run import PARENT, MetricPoint, RunStatus, WishedRun


class RunBook:
    """Folds journal events into wished-for runs."""

    def __init__(self) -> None:
        self.standings = Standings()
        self.runs: dict[str, WishedRun] = {}
        self._log_scaled: tuple[str, ...] = ()
        self._parent_best: tuple[str, float] | None = None
        self._n_told = 0
        self._confirmation: ConfirmationRuns | None = None

    def apply(self, event: Mapping[str, Any]) -> set[str]:
        """Take the journal's next event; returns the keys of the runs that it changes."""
        self.standings.apply(event)
        kind, now_ms = event["event"], _ms(event)
        if kind == "study":
            self._on_study(event)
            changed = {PARENT}
        elif PARENT not in self.runs:
            return set()
        elif kind == "ask":
            changed = {self._on_ask(event)}
        elif kind == "confirm":
            changed = self._on_confirm(event)
        elif isinstance(trial_id := event.get("trial"), str):
            run, handler = self.runs.get(trial_id), getattr(self, f"_trial_{kind}", None)
            changed = handler(run, event) | {trial_id} if run is not None and handler is not None else set()
        else:
            handler = getattr(self, f"_study_{kind}", None)
            changed = handler(self.runs[PARENT], event) if handler is not None else set()
        for key in changed:
            self.runs[key].last_ms = max(now_ms, self.runs[key].last_ms)
        return changed

    def end_all(self, *, status: RunStatus, hpo_status: str, end_ms: int | None = None) -> set[str]:
        """End every run that still runs: the study's with the given state, trials as interrupted."""
        changed = set()
        for key, run in self.runs.items():
            if run.status == "RUNNING":
                killed: tuple[RunStatus, str] = ("KILLED", "interrupted")
                run.settle(*((status, hpo_status) if key == PARENT else killed), end_ms=end_ms or run.last_ms)
                changed.add(key)
        return changed

    def _on_study(self, event: Mapping[str, Any]) -> None:
        header = self.standings.header
        self._log_scaled = log_scaled(header.get("space"))
        parent = self.runs.get(PARENT)
        if parent is None:
            name = str(event["study_id"])[:MAX_KEY]
            parent = self.runs[PARENT] = WishedRun(key=PARENT, name=name, start_ms=_ms(event))
            parent.params = study_params(header)
        parent.tags.update(study_tags(self.standings.study_id, self.standings.header))
        parent.settle("RUNNING", "running", end_ms=None)
        shown = {"study_id": event["study_id"], **header}
        parent.artifacts["study.json"] = redact(json.dumps(shown, indent=2, sort_keys=True, default=str))

    def _study_session(self, parent: WishedRun, event: Mapping[str, Any]) -> set[str]:
        parent.settle("RUNNING", "running", end_ms=None)
        parent.tag("hpo.executor", event.get("executor"))
        parent.tag("hpo.precision", event.get("precision"))
        return {PARENT}

    def _study_floors(self, parent: WishedRun, event: Mapping[str, Any]) -> set[str]:
        if any(point.key.startswith("floor_") for point in parent.metrics):
            return set()  # a resumed session computes the same floors again
        for floor, metrics in floors_of(event).items():
            for name, value in metrics.items():
                leaf = "score" if name == SCORE else name.replace("/", "_")
                _add(parent, f"floor_{floor}/{leaf}", value, _ms(event), 0)
        return {PARENT}

    def _on_ask(self, event: Mapping[str, Any]) -> str:
        trial = self.standings.trials[event["trial"]]
        run = self.runs.get(trial.trial_id)
        if run is None:
            run = WishedRun(key=trial.trial_id, name=trial.name[:MAX_KEY], start_ms=_ms(event))
            self.runs[run.key] = run
            run.params = trial_params(trial.config, self._log_scaled)
            run.tags = study_tags(self.standings.study_id, self.standings.header)
            run.tag("hpo.trial", trial.trial_id)
            run.tag("hpo.origin", trial.origin)
            run.tag("hpo.seed", event.get("seed"))
            run.tag("hpo.variant", trial.variant)
        run.settle("RUNNING", "running", end_ms=None)
        run.artifacts["config/resolved.json"] = _config_json(trial)
        return run.key

    def _on_confirm(self, event: Mapping[str, Any]) -> set[str]:
        if self._confirmation is None:
            tags = study_tags(self.standings.study_id, self.standings.header)
            self._confirmation = ConfirmationRuns(tags, self._log_scaled)
        return self._confirmation.apply(event, self.runs, self.runs[PARENT])

    def _trial_report(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        step = int(event["epoch"])
        run.settle("RUNNING", "running", end_ms=None)
        if step not in run.steps_seen:  # an epoch repeated after a crash is equal; MLflow would keep both
            run.steps_seen.add(step)
            keys: set[str] = set()
            for name, value in event["metrics"].items():
                if (key := metric_key(name)) not in keys:
                    keys.add(key)
                    _add(run, key, value, _ms(event), step)
            best = self.standings.trials[run.key].best_score
            if "best/score" not in keys and best is not None:
                _add(run, "best/score", best, _ms(event), step)
        return self._parent_progress(event)

    def _trial_decision(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        run.tag("hpo.rung", event.get("rung"))
        return set()

    def _trial_tell(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        state = str(event["state"])
        run.settle("FAILED" if state == "failed" else "FINISHED", state, end_ms=_ms(event))
        run.tag("hpo.reason", event.get("reason"))
        if state == "failed" and "hpo.error" not in run.tags:
            run.tag("hpo.error", event.get("reason"))
        self._n_told += 1
        parent = self.runs[PARENT]
        for told in ("completed", "pruned", "failed"):
            _add(parent, f"progress/{told}", self.standings.count(told), _ms(event), self._n_told)
        return self._parent_progress(event) | {PARENT}

    def _trial_pause(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        run.settle("KILLED", "interrupted", end_ms=_ms(event))
        run.tag("hpo.reason", event.get("reason"))
        return set()

    def _trial_error(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        run.tag("hpo.error", f"{event.get('type', 'Error')}: {event.get('message', '')}")
        run.tag("hpo.traceback", _joined(event.get("traceback_tail")))
        run.tag("hpo.node", event.get("node"))
        return set()

    def _trial_retry(self, run: WishedRun, event: Mapping[str, Any]) -> set[str]:
        trial = self.standings.trials[run.key]
        run.settle("RUNNING", "running", end_ms=None)
        run.tag("hpo.retry", event.get("reason"))
        run.artifacts["config/resolved.json"] = _config_json(trial)
        for name, value in trial_params(trial.config, self._log_scaled).items():
            if run.params.get(name, value) != value:
                run.tag(f"hpo.retry.{name}", value)  # params of a run cannot be changed
        return set()

    def _study_end(self, parent: WishedRun, event: Mapping[str, Any]) -> set[str]:
        reason = str(event.get("reason", ""))
        status, hpo_status = _end_state(str(event.get("state") or ""), reason)
        parent.tag("hpo.reason", reason)
        return {PARENT} | self.end_all(status=status, hpo_status=hpo_status, end_ms=_ms(event))

    def _parent_progress(self, event: Mapping[str, Any]) -> set[str]:
        best = self.standings.best()
        if best is None or best.best_score is None or (best.trial_id, best.best_score) == self._parent_best:
            return set()
        parent = self.runs[PARENT]
        self._parent_best = (best.trial_id, best.best_score)
        step = self.standings.n_reports
        if step not in parent.steps_seen:  # a failing trial can change the best without a report
            parent.steps_seen.add(step)
            _add(parent, "best/score", best.best_score, _ms(event), step)
        parent.tag("hpo.best_trial", best.trial_id)
        parent.tag("hpo.best_score", f"{best.best_score:.6g}")
        return {PARENT}


def desired_runs(events: Iterable[Mapping[str, Any]], *, running: bool) -> dict[str, WishedRun]:
    """Key -> wished-for run for a whole journal; the study's own run has the key `PARENT` and comes first.

    running: False when no search works on the study any more: what the journal leaves open (its driver was killed) is
    then ended as interrupted, at the time of its last event.
    """
    book = RunBook()
    for event in events:
        book.apply(event)
    if not running:
        book.end_all(status="KILLED", hpo_status="interrupted")
    return book.runs


def _add(run: WishedRun, key: str, value: Any, timestamp_ms: int, step: int) -> None:
    number = finite(value)
    if number is None and not (value is None or isinstance(value, float | str)):
        return  # not a measurement
    run.metrics.append(MetricPoint(key, math.nan if number is None else number, timestamp_ms, step))


def _config_json(trial: TrialStanding) -> str:
    return json.dumps(trial.config, indent=2, sort_keys=True)


def _end_state(state: str, reason: str) -> tuple[RunStatus, str]:
    """The study's final state: from the event's own `state` where it has one, else from the words of its reason."""
    if state == "interrupted" or (not state and reason.lower().startswith("interrupt")):
        return "KILLED", "interrupted"
    if state == "failed" or (not state and "all failed" in reason):
        return "FAILED", "failed"
    return "FINISHED", "completed"


def _joined(lines: Any) -> Any:
    return "\n".join(map(str, lines)) if isinstance(lines, list | tuple) else lines


def _ms(event: Mapping[str, Any]) -> int:
    return round(float(event["time"]) * 1000)
