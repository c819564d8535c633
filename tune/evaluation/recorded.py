"""An evaluation in MLflow: a run with its figures, and all of its files."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainable.scoring.evaluation import Evaluation
from tune.evaluation.files import FIGURES, Written
from tune.evaluation.reports import Comparison, ModelReport, explaining_kinds
from tune.tracking.client import open_experiment, quietly, settle_mlflow
from tune.tracking.database import make_database
from tune.tracking.values import MAX_KEY, MAX_PARAM, metric_key, tag_text
from tune.tracking.versions import git_commit, user_name


class EvaluationRecorder:
    """Writes finished runs to one experiment.

    Raises from every method: mlflow's exceptions, and UserError for a deleted experiment.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        """Import mlflow and open the store: seconds for a fresh SQLite file."""
        settle_mlflow()
        with quietly():
            make_database(uri)
            from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.experiment_id = open_experiment(self._client, uri, experiment)

    def record_model(self, report: ModelReport, written: Written) -> str:
        """Log one model's evaluation; returns the run's id."""
        files = [(path, "") for path in (written.report, written.results, written.page)]
        files += [(path, FIGURES) for path in written.figures.values()]
        facts, data = report.facts, report.data
        params = {
            "model": report.spec,
            "model.trained_as": facts.name,
            "model.holdout": facts.holdout,
            "model.fold": "none" if facts.fold is None else facts.fold,
            "data": data.source,
            "data.fingerprint": data.fingerprint,
            "events": data.which,
            "n_events": data.n_events,
            "n_specimens": data.n_specimens,
            "leak.n_specimens": "unknown" if report.leak.n_specimens is None else report.leak.n_specimens,
            "leak.n_events": "unknown" if report.leak.n_events is None else report.leak.n_events,
        }
        return self._record(f"evaluate {report.name}", params, evaluation_metrics(report), files)

    def record_comparison(self, comparison: Comparison, files: Sequence[Path]) -> str:
        """Log the comparison; returns the run's id."""
        params = {
            "compared_to": comparison.first,
            "models": ", ".join(comparison.evaluations),
            "data": comparison.data.source,
            "data.fingerprint": comparison.data.fingerprint,
            "events": comparison.data.which,
        }
        metrics: dict[str, float] = {}
        for name, differences in comparison.differences.items():
            total = differences["score/all"]
            metrics |= {
                f"difference/{name}": total.mean,
                f"difference/{name}_low": total.low,
                f"difference/{name}_high": total.high,
            }
        name = f"evaluate {' beside '.join(comparison.evaluations)}"
        return self._record(name, params, metrics, [(path, "") for path in files])

    def _record(
        self, name: str, params: Mapping[str, object], metrics: Mapping[str, float], files: Iterable[tuple[Path, str]]
    ) -> str:
        from mlflow.entities import Metric, Param

        # not `hpo.study`: every run that has it belongs to a journal's projection
        tags = {
            "hpo.kind": "evaluation",
            "mlflow.user": user_name(),
            "mlflow.source.name": "sentinel-tune",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": git_commit() or "unknown",
        }
        tags = {key: tag_text(value) for key, value in tags.items()}
        run_id = str(self._client.create_run(self.experiment_id, tags=tags, run_name=name[:MAX_KEY]).info.run_id)
        now_ms = round(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(metric_key(key), value, now_ms, 0) for key, value in metrics.items()],
            params=[Param(key, tag_text(value)[:MAX_PARAM]) for key, value in params.items()],
        )
        with quietly():
            for path, folder in files:
                self._client.log_artifact(run_id, str(path), folder or None)
        self._client.set_terminated(run_id)
        return run_id


def evaluation_metrics(report: ModelReport) -> dict[str, float]:
    """Metrics as `group/name`, so that MLflow's charts group them; what is undefined is left out."""
    evaluation = report.evaluation
    low, high = evaluation.intervals["score/all"]
    metrics: dict[str, float | None] = {"eval/score": evaluation.score, "eval/score_low": low, "eval/score_high": high}
    for name, group in evaluation.groups.items():
        if name != "all":
            metrics[f"eval/score_{name}"] = group.score
        for target in group.targets:
            for kind in _kinds(evaluation):
                metrics[f"eval_{kind}_{name}/{target}"] = group.figure(target, kind)
            for point in evaluation.coverage.get(name, {}).get(target, ()):
                if point.nominal in (0.5, 0.9):
                    metrics[f"eval_coverage_{name}/{target}_{100 * point.nominal:.0f}"] = point.observed
    for floor, values in (report.floors or {}).items():
        metrics[f"eval/floor_{floor}"] = values["score/all"]
    return {name: value for name, value in metrics.items() if value is not None}


def _kinds(evaluation: Evaluation) -> tuple[str, ...]:
    return ("crps", "r2", "mae", "rmse", "bias") if evaluation.classes is None else explaining_kinds(evaluation)
