"""What MLflow must hold for a confirmation: a run for each of its runs; table and verdict in the study's run."""

import json
from collections.abc import Mapping
from typing import Any

from tune.confirming.outcome import Confirmed, ConfirmedConfiguration
from tune.confirming.runs import Confirmation
from tune.decisions.trial_record import finite
from tune.journal.entries import Confirming, EpochReported, TrialAsked, TrialEntry, VerdictReached
from tune.tracking.desired_run import DesiredRun, MetricPoint, ms_of
from tune.tracking.values import MAX_KEY, metric_key, trial_params

ARTIFACT = "confirmation.json"
"""In the study's run: the whole result."""


class ConfirmationRuns:
    """Folds a confirmation into desired runs, beside those of the search's trials."""

    def __init__(self, tags: Mapping[str, str], log_scaled: tuple[str, ...]) -> None:
        """tags: that all runs of the study share."""
        self._tags, self._log_scaled = dict(tags), log_scaled
        self._confirmation = Confirmation()

    def apply(self, entry: Confirming, runs: dict[str, DesiredRun], parent: DesiredRun) -> set[str]:
        """Take one entry; returns the keys of the runs that it changes."""
        self._confirmation.apply(entry)
        inner, now_ms = entry.of, ms_of(entry)
        if isinstance(inner, VerdictReached):
            _tell_verdict(parent, Confirmed.from_dict(inner.result), now_ms)
            return {parent.key}
        if not isinstance(inner, TrialEntry):
            return set()
        if isinstance(inner, TrialAsked):
            runs[inner.trial] = self._begin(inner.trial, now_ms)
        run = runs.get(inner.trial)
        if run is None:
            return set()
        run.take(inner)
        if isinstance(inner, EpochReported) and inner.epoch not in run.steps_seen:
            run.steps_seen.add(inner.epoch)
            _add_all(run, inner.metrics, now_ms, inner.epoch)
        return {run.key}

    def _begin(self, run_id: str, now_ms: int) -> DesiredRun:
        confirmed = self._confirmation.run(run_id)
        name = f"confirm {confirmed.name} fold {confirmed.fold} seed {confirmed.seed}"
        run = DesiredRun(key=run_id, name=name[:MAX_KEY], start_ms=now_ms)
        run.params = trial_params(confirmed.record.config, self._log_scaled)
        run.tags = dict(self._tags)
        run.tag("hpo.trial", run_id)
        run.tag("hpo.origin", confirmed.record.origin)
        run.tag("hpo.fold", confirmed.fold)
        run.tag("hpo.seed", confirmed.seed)
        run.artifacts["config/resolved.json"] = json.dumps(confirmed.record.config, indent=2, sort_keys=True)
        return run


def _tell_verdict(parent: DesiredRun, confirmed: Confirmed, now_ms: int) -> None:
    parent.tag("hpo.verdict", confirmed.verdict)
    parent.tag("hpo.winner", confirmed.winner)
    parent.tag("hpo.leader", confirmed.leader)
    parent.artifacts[ARTIFACT] = json.dumps(confirmed.to_dict(), indent=2)
    step = len([point for point in parent.metrics if point.key.startswith("confirmed/")])
    for candidate in confirmed.candidates:
        _add_all(parent, _summary(candidate), now_ms, step)


def _summary(candidate: ConfirmedConfiguration) -> dict[str, float]:
    low, high = candidate.intervals["score/all"]
    values = {"score": candidate.metrics["score/all"], "score_low": low, "score_high": high}
    if (difference := candidate.difference) is not None:
        values |= {"gain": -difference.mean, "gain_low": -difference.high, "gain_high": -difference.low}
        values |= {} if difference.p_better is None else {"p_better": difference.p_better}
    return {f"confirmed/{candidate.name}_{name}": value for name, value in values.items()}


def _add_all(run: DesiredRun, metrics: Mapping[str, Any], now_ms: int, step: int) -> None:
    known: set[str] = set()
    for name, value in metrics.items():
        key, number = metric_key(name), finite(value)
        if number is not None and key not in known:
            known.add(key)
            run.metrics.append(MetricPoint(key, number, now_ms, step))
