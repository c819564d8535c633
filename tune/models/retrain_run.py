"""The run of a retraining in MLflow: what it is made of, how it went, what it is worth."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.plain_values import JsonObject
from tune.models.champion import read_evidence
from tune.tracking.mlflow_writer import METRICS_A_BATCH, PARAMS_A_BATCH
from tune.tracking.values import configuration_params, metric_key, tag_text
from tune.tracking.versions import git_commit, user_name

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EVIDENCE_NAME = "confirmation.json"
"""In the exported folder: the forecasts that a later model is compared with. In the run: the confirmation's table."""

EXPORT_TAG = "retrain.export"
"""Tag of runs and versions: digest of the exported folder, by which what is registered already is found again."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be registered.

    folder: the exported one, named `model`. facts: its `ModelFacts` as plain values. histories: metrics by epoch, one
    list a member. table: the confirmation's result, None without one. is_winner: it decided for this model.
    """

    name: str
    folder: Path
    facts: JsonObject
    study_id: str
    trial_id: str | None
    histories: Sequence[Sequence[Mapping[str, float]]] = ()
    table: JsonObject | None = None
    is_winner: bool = False

    def digest(self) -> str:
        """Of the folder: `config.json` holds the sha256 of the other files."""
        return hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()[:16]

    def evidence(self) -> JsonObject | None:
        """The forecasts it was confirmed by, None if it was not."""
        file = self.folder / EVIDENCE_NAME
        return read_evidence(file.read_bytes(), of=str(self.folder)) if file.is_file() else None

    def tags(self) -> dict[str, str]:
        """Of run and version. Not `hpo.study`: every run that has it belongs to the journal's projection."""
        values = {
            EXPORT_TAG: self.digest(),
            "retrain.study": self.study_id,
            "retrain.trial": self.trial_id,
            "retrain.name": self.facts["name"],
            "retrain.winner": self.is_winner,
            "retrain.verdict": self.facts["verdict"] or None,
            "retrain.data": self.facts["data"],
            "retrain.data_fingerprint": self.facts["data_fingerprint"],
            "retrain.backbone": self.facts["backbone"],
        }
        return {name: tag_text(value) for name, value in values.items() if value is not None}


def create_run(client: "MlflowClient", experiment_id: str, entry: Entry) -> str:
    tags = entry.tags() | {
        "mlflow.user": user_name(),
        "mlflow.source.name": "sentinel-tune",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit() or "unknown",
    }
    if (parent := _study_run(client, experiment_id, entry.study_id)) is not None:
        tags["mlflow.parentRunId"] = parent
    run = client.create_run(experiment_id, tags=tags, run_name=f"retrain {entry.facts['name']}")
    return str(run.info.run_id)


def _study_run(client: "MlflowClient", experiment_id: str, study_id: str) -> str | None:
    """The study's own run, if it is tracked here."""
    quote = '"' if "'" in study_id else "'"
    runs = client.search_runs([experiment_id], f"tags.`hpo.study` = {quote}{study_id}{quote}")
    return next((str(run.info.run_id) for run in runs if "hpo.trial" not in run.data.tags), None)


def fill_run(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    from mlflow.entities import Param

    facts = entry.facts
    params = configuration_params(facts["config"]) if facts["config"] else {}
    if members := facts.get("members"):
        params["retrain.members"] = ", ".join(dict.fromkeys(member["name"] for member in members))
    if shares := facts.get("floor_shares"):
        params["retrain.floor_shares"] = ", ".join(f"{name}={share:.4g}" for name, share in shares.items())
    params |= {
        "retrain.epochs": str(facts["epochs"]),
        "retrain.seeds": "+".join(map(str, facts["seeds"])),
        "retrain.n_specimens": str(facts["n_specimens"]),
        "retrain.precision": facts.get("precision") or "none",
    }
    listed = [Param(*param) for param in params.items()]
    for start in range(0, len(listed), PARAMS_A_BATCH):
        client.log_batch(run_id, params=listed[start : start + PARAMS_A_BATCH])
    of_all = {f"member_{index}": member for index, member in enumerate(facts.get("members", ()))} or facts["config"]
    client.log_text(run_id, json.dumps(of_all, indent=2), "config/resolved.json")
    if entry.table is not None:
        client.log_text(run_id, json.dumps(entry.table, indent=2), EVIDENCE_NAME)


def log_metrics(client: "MlflowClient", run_id: str, model_id: str, entry: Entry) -> None:
    """Training by epoch, of every member; the scores of its evidence, which the model page shows too."""
    from mlflow.entities import Metric

    now_ms, points = round(time.time() * 1000), []
    for member, history in enumerate(entry.histories):
        for epoch, metrics in enumerate(history, start=1):
            for name, value in metrics.items():
                key = metric_key(name) if member == 0 else f"member_{member}/{name.partition('/')[2]}"
                points.append(Metric(key, float(value), now_ms, epoch))
    for name, value in entry.facts["scores"].items():
        points.append(Metric(metric_key(name), float(value), now_ms, entry.facts["epochs"], model_id=model_id))
    for start in range(0, len(points), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=points[start : start + METRICS_A_BATCH])
