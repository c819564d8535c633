"""What MLflow must hold for a confirmation: a run for each of its runs, together under one of their own, apart from the
trials; table and verdict in the study's run.
"""

import json
from collections.abc import Mapping

from search_spaces.variant import variant_file
from tune.confirming.outcome import Confirmed, ConfirmedConfiguration
from tune.confirming.runs import Confirmation
from tune.journal.entries import Confirming, EpochReported, TrialAsked, TrialEntry, VerdictReached
from tune.tracking.desired_run import CONFIRMATION, DesiredRun, ms_of
from tune.tracking.study_summary import StudySummary, run_name
from tune.tracking.values import MAX_KEY, metric_key, varied_params

ARTIFACT = "confirmation.json"
"""In the study's run: the whole result."""


class ConfirmationRuns:
    """Folds a confirmation into desired runs, beside those of the search's trials."""

    def __init__(self, tags: Mapping[str, str], summary: StudySummary) -> None:
        """tags: that all runs of the study share."""
        self._tags, self._summary = dict(tags), summary
        self._confirmation = Confirmation()
        self._n_verdicts = 0

    def apply(self, entry: Confirming, runs: dict[str, DesiredRun], parent: DesiredRun) -> set[str]:
        """Take one entry; returns the keys of the runs that it changes."""
        self._confirmation.apply(entry)
        inner = entry.of
        if isinstance(inner, VerdictReached):
            return self._conclude(inner, runs, parent)
        if not isinstance(inner, TrialEntry):
            return set()
        if isinstance(inner, TrialAsked):
            group = runs.setdefault(CONFIRMATION, self._group(ms_of(entry)))
            group.settle("RUNNING", "running", end_ms=None)
            runs[inner.trial] = self._begin(inner.trial, ms_of(entry))
        run = runs.get(inner.trial)
        if run is None:
            return set()
        run.take(inner)
        if isinstance(inner, EpochReported):
            run.add_epoch(inner, self._confirmation.run(inner.trial).record.best_score)
        return {run.key, CONFIRMATION} if isinstance(inner, TrialAsked) else {run.key}

    def _group(self, now_ms: int) -> DesiredRun:
        group = DesiredRun(key=CONFIRMATION, name=CONFIRMATION, start_ms=now_ms, tags=dict(self._tags))
        group.tag("hpo.trial", CONFIRMATION)  # whoever looks for the study's own run looks for the one without it
        group.tag("kind", "confirmations")
        return group

    def _begin(self, run_id: str, now_ms: int) -> DesiredRun:
        confirmed = self._confirmation.run(run_id)
        of = self._summary.standings.trials.get(confirmed.name)
        name = f"confirm {run_name(of) if of else confirmed.name} f{confirmed.fold} s{confirmed.seed}"
        run = DesiredRun(key=run_id, name=name[:MAX_KEY], start_ms=now_ms, parent=CONFIRMATION)
        run.params = varied_params(confirmed.record, self._summary.varied)
        run.tags = dict(self._tags)
        run.tag("hpo.trial", run_id)
        run.tag("hpo.origin", confirmed.record.origin)
        run.tag("kind", "confirmation")
        run.tag("variant", confirmed.name)
        run.tag("fold", confirmed.fold)
        run.tag("hpo.seed", confirmed.seed)
        run.artifacts["config.yaml"] = variant_file(confirmed.record.config, name)
        return run

    def _conclude(self, reached: VerdictReached, runs: Mapping[str, DesiredRun], parent: DesiredRun) -> set[str]:
        confirmed, now_ms = Confirmed.from_dict(reached.result), ms_of(reached)
        self._summary.confirmed = confirmed
        parent.tag("hpo.verdict", confirmed.verdict)
        parent.tag("hpo.winner", confirmed.winner)
        parent.tag("hpo.leader", confirmed.leader)
        parent.artifacts[ARTIFACT] = json.dumps(confirmed.to_dict(), indent=2)
        gain = _gain(confirmed.candidate(confirmed.leader)) or next(filter(None, map(_gain, confirmed.candidates)), {})
        parent.add_all({f"confirmed/{name}": value for name, value in gain.items()}, now_ms, self._n_verdicts)
        for candidate in confirmed.candidates:
            parent.add_all(_details(candidate), now_ms, self._n_verdicts)
        self._n_verdicts += 1
        changed = {parent.key}
        if (group := runs.get(CONFIRMATION)) is not None:
            group.settle("FINISHED", "completed", end_ms=now_ms)
            changed.add(CONFIRMATION)
        return changed


def _gain(candidate: ConfirmedConfiguration | None) -> dict[str, float]:
    """On the default, above 0 is better, with the ends of its interval."""
    if candidate is None or (difference := candidate.difference) is None:
        return {}
    return {"gain": -difference.mean, "gain_low": -difference.high, "gain_high": -difference.low}


def _details(candidate: ConfirmedConfiguration) -> dict[str, float]:
    low, high = candidate.intervals["score/all"]
    values = {"score": candidate.metrics["score/all"], "score_low": low, "score_high": high, **_gain(candidate)}
    if candidate.difference is not None and candidate.difference.p_better is not None:
        values["p_better"] = candidate.difference.p_better
    return {metric_key(f"study/confirmed_{candidate.name}_{name}"): value for name, value in values.items()}
