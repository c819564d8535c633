"""What MLflow must hold for a journal: one desired run for the study and one for every trial.

A pure fold without MLflow. The live writer folds entry by entry and sends the difference; `sync` folds the whole
journal and sends the difference: both end in the same records. Times come from the journal, so a value that is sent
twice is the same row for MLflow and is stored once.
"""

import json
from collections.abc import Iterable, Mapping

from search_spaces.space import DEFAULT
from search_spaces.variant import variant_file
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
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
from tune.tracking.desired_run import PARENT, DesiredRun, RunStatus, ms_of
from tune.tracking.saved_view import view_tags
from tune.tracking.study_summary import REPORT, StudySummary, run_name
from tune.tracking.values import (
    MAX_KEY,
    configuration_params,
    study_params,
    study_tags,
    varied_names,
    varied_params,
)


class RunBook:
    """Folds journal entries into desired runs."""

    def __init__(self, study: object = None) -> None:
        """study: its folder, as a command to go on names it; None where it is not known."""
        self.standings = Standings()
        self.runs: dict[str, DesiredRun] = {}
        self._study = study
        self._summary = StudySummary(self.standings, study)
        self._asked: dict[str, dict[str, str]] = {}
        self._scores: dict[str, float] = {}
        self._score_steps: dict[str, int] = {}
        self._n_ends = 0
        self._confirmation: ConfirmationRuns | None = None

    def apply(self, entry: JournalEntry) -> set[str]:
        """Take the journal's next entry; returns the keys of the runs that it changes."""
        self.standings.apply(entry)
        if isinstance(entry, StudyBegun):
            self._on_study(entry)
            changed = {PARENT}
        elif PARENT in self.runs:
            changed = self._change(entry) | self._on_scores(entry)
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
        run.take(entry)
        match entry:
            case EpochReported():
                run.add_epoch(entry, self.standings.trials[run.key].best_score)
            case RungDecided():
                run.tag("rung", entry.rung)
            case TrialTold():
                return self._on_tell(run, entry)
            case TrialRetried():
                self._on_retry(run)
            case CheckpointWritten():
                return set()
        return {run.key}

    def describe(self) -> None:
        """Write the study's description anew: before its run is sent, since it costs more than to fold an entry."""
        if (parent := self.runs.get(PARENT)) is not None:
            parent.description = self._summary.description(parent.tags["status"], has_report=REPORT in parent.artifacts)

    def attach(self, path: str, content: str | bytes) -> None:
        """Give the study's run a file that is made elsewhere."""
        self.runs[PARENT].artifacts[path] = content

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
        self._summary = StudySummary(self.standings, self._study)
        parent = self.runs.get(PARENT)
        if parent is None:
            name = entry.study_id[:MAX_KEY]
            parent = self.runs[PARENT] = DesiredRun(key=PARENT, name=name, start_ms=ms_of(entry), parent=None)
            parent.params = study_params(header)
            parent.datasets = self._summary.datasets()
            parent.views = view_tags(entry.study_id, varied_names(self._summary.varied), ms_of(entry))
        parent.tags.update(study_tags(self.standings.study_id, self.standings.header))
        parent.tag("kind", "study")
        parent.settle("RUNNING", "running", end_ms=None)
        shown = {"study_id": entry.study_id, **header}
        parent.artifacts["study.json"] = redact(json.dumps(shown, indent=2, sort_keys=True, default=str))

    def _on_session(self, parent: DesiredRun, entry: SessionBegun) -> set[str]:
        parent.settle("RUNNING", "running", end_ms=None)
        parent.tag("hpo.executor", entry.executor)
        parent.tag("hpo.precision", entry.precision)
        return {PARENT}

    def _on_floors(self, parent: DesiredRun, entry: FloorsMeasured) -> set[str]:
        if "floors.json" in parent.artifacts:
            return set()  # a resumed session computes the same floors again
        parent.artifacts["floors.json"] = json.dumps(entry.floors, indent=2, sort_keys=True)
        return {PARENT}

    def _on_ask(self, entry: TrialAsked) -> str:
        trial = self.standings.trials[entry.trial]
        run = self.runs.get(trial.trial_id)
        if run is None:
            run = DesiredRun(key=trial.trial_id, name=run_name(trial)[:MAX_KEY], start_ms=ms_of(entry))
            self.runs[run.key] = run
            self._asked[run.key] = configuration_params(trial.config)
            run.params = varied_params(trial, self._summary.varied)
            run.tags = study_tags(self.standings.study_id, self.standings.header)
            run.tag("hpo.trial", trial.trial_id)
            run.tag("hpo.origin", trial.origin)
            run.tag("hpo.seed", entry.seed)
            run.tag("kind", "trial")
            if trial.variant is not None and not trial.is_noise:
                run.tag("variant", trial.variant)
                self._summary.default = trial if trial.variant == DEFAULT else self._summary.default
        run.take(entry)
        _give_configuration(run, trial)
        return run.key

    def _on_confirm(self, entry: Confirming) -> set[str]:
        if self._confirmation is None:
            tags = study_tags(self.standings.study_id, self.standings.header)
            self._confirmation = ConfirmationRuns(tags, self._summary)
        return self._confirmation.apply(entry, self.runs, self.runs[PARENT])

    def _on_tell(self, run: DesiredRun, entry: TrialTold) -> set[str]:
        if entry.state == "failed" and "hpo.error" not in run.tags:
            run.tag("hpo.error", entry.reason)
        return {run.key, PARENT}

    def _on_retry(self, run: DesiredRun) -> None:
        trial = self.standings.trials[run.key]
        _give_configuration(run, trial)
        known = self._asked[run.key]
        for name, value in configuration_params(trial.config).items():
            if known.get(name, value) != value:
                run.tag(f"hpo.retry.{name}", value)  # params of a run cannot be changed

    def _on_end(self, parent: DesiredRun, entry: SessionEnded) -> set[str]:
        reason = entry.reason
        status, hpo_status = _end_state(entry.state, reason)
        parent.tag("hpo.reason", reason)
        parent.add_all(self._summary.details(), ms_of(entry), self._n_ends)
        self._n_ends += 1
        return {PARENT} | self.end_all(status=status, hpo_status=hpo_status, end_ms=ms_of(entry))

    def _on_scores(self, entry: JournalEntry) -> set[str]:
        """What sums the study up, where it has changed: a failing trial can change the best without a report."""
        parent, scores = self.runs[PARENT], self._summary.scores()
        changed = {name: score for name, score in scores.items() if score != self._scores.get(name)}
        if not changed:
            return set()
        self._scores = scores
        for name, score in changed.items():
            step = self._score_steps[name] = max(self.standings.n_reports, self._score_steps.get(name, -1) + 1)
            parent.add(name, score, ms_of(entry), step)
        if (best := self.standings.best()) is not None:
            parent.tag("hpo.best_trial", best.trial_id)
        return {PARENT}


def desired_runs(
    entries: Iterable[JournalEntry],
    *,
    running: bool,
    study: object = None,
    files: Mapping[str, str | bytes] | None = None,
) -> dict[str, DesiredRun]:
    """Key -> desired run for a whole journal; the study's own run has the key `PARENT` and comes first.

    running: False when no search works on the study any more: what the journal leaves open (its driver was killed) is
    then ended as interrupted, at the time of its last entry. study: its folder, as a command names it. files: path ->
    content, for the study's run.
    """
    book = RunBook(study)
    for entry in entries:
        book.apply(entry)
    if not running:
        book.end_all(status="KILLED", hpo_status="interrupted")
    if PARENT in book.runs:
        for path, content in (files or {}).items():
            book.attach(path, content)
        book.describe()
    return book.runs


def _give_configuration(run: DesiredRun, trial: TrialRecord) -> None:
    run.artifacts["config.yaml"] = variant_file(trial.config, f"{run_name(trial)} of {run.tags['hpo.study']}")


def _end_state(state: str, reason: str) -> tuple[RunStatus, str]:
    """The study's final state: from the entry's own `state` where it has one, else from the words of its reason."""
    if state == "interrupted" or (not state and reason.lower().startswith("interrupt")):
        return "KILLED", "interrupted"
    if state == "failed" or (not state and "all failed" in reason):
        return "FAILED", "failed"
    return "FINISHED", "completed"
