"""An exported model in MLflow's registry: its run, its logged model, its version, its aliases; all of it or nothing.

`candidate` points to the newest version. `champion` moves by `champion.py`'s rules.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.data.task import Task, beetles
from trainable.errors import UserError
from trainable.plain_values import JsonObject, parse_json
from trainable.scoring.targets import Targets
from tune.command_line.mlflow_names import model_name_problem
from tune.models.champion import ChampionDecision, decide_champion, read_evidence
from tune.models.logged_export import log_export
from tune.models.retrain_run import EVIDENCE_NAME, EXPORT_TAG, Entry, create_run, fill_run, log_metrics
from tune.tracking.client import answered_or_told, open_experiment, settle_mlflow
from tune.tracking.database import make_database
from tune.tracking.values import tag_text

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """is_new: False if this very export was registered before. champion: what became of that alias."""

    name: str
    version: str
    run_id: str
    is_new: bool
    champion: ChampionDecision

    @property
    def uri(self) -> str:
        """As `mlflow.pyfunc.load_model` takes it."""
        return f"models:/{self.name}/{self.version}"


class Registry:
    """The registry at one address; every method raises UserError when it does not answer."""

    def __init__(self, uri: str, experiment: str) -> None:
        """uri: as `check_uri` returns it; an SQLite file that is not there is made."""
        self.uri, self._experiment = uri, experiment
        settle_mlflow()
        with self._told("start it or give another --tracking-uri; nothing was done"):
            make_database(uri)
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def check(self, name: str, task: Task) -> None:
        """See that it answers and could take a model of this name and task: before hours of training, not after."""
        if (problem := model_name_problem(name)) is not None:
            raise UserError(problem)
        with self._told("start it or give another --tracking-uri (--no-register does without); nothing was done"):
            self._client.search_registered_models(max_results=1)
            versions = self._client.search_model_versions(f"name = '{name}'")
            newest = max((str(version.version) for version in versions), key=int, default=None)
            content = None if newest is None else self._file_of(name, newest, "config.json")
        if content is not None and (there := _task_of(content)).shown_targets != task.shown_targets:
            raise UserError(
                f"`--name` must be of models that forecast {', '.join(task.shown_targets)}, as this study's do, but "
                f"models:/{name}/{newest} forecasts {', '.join(there.shown_targets)}; give another --name"
            )

    def register(self, entry: Entry, *, force: bool) -> Registered:
        """Log run and model, make the version, move the aliases; what a failed call has made before is deleted.

        One export is registered once: a second time its aliases alone are looked at. force: `champion` moves anyhow.
        """
        with self._told(f"the model is whole in {entry.folder}; the same command again registers it"):
            version = self._version_of(entry)
            is_new = version is None
            decision = self._decide(entry, version, force=force)
            if version is None:
                version = self._create(entry)
            self._move_aliases(entry.name, version, decision)
        return Registered(
            name=entry.name, version=str(version.version), run_id=version.run_id, is_new=is_new, champion=decision
        )

    @contextmanager
    def _told(self, remedy: str) -> Iterator[None]:
        with answered_or_told(self.uri, remedy):
            yield

    def _version_of(self, entry: Entry) -> "ModelVersion | None":
        """The version of this very export; None before there is one."""
        versions = self._client.search_model_versions(f"name = '{entry.name}'")
        return next((v for v in versions if v.tags.get(EXPORT_TAG) == entry.digest()), None)

    def _aliases(self, name: str) -> dict[str, str]:
        found = self._client.search_registered_models(f"name = '{name}'")
        return {alias: str(version) for model in found for alias, version in model.aliases.items()}

    def _decide(self, entry: Entry, version: "ModelVersion | None", *, force: bool) -> ChampionDecision:
        present = self._aliases(entry.name).get(CHAMPION)
        if version is not None and present == str(version.version):
            return ChampionDecision(moves=False, reason="it is the champion already")
        return decide_champion(
            evidence=entry.evidence(),
            is_winner=entry.is_winner,
            champion=None if present is None else f"the champion, version {present}",
            champion_evidence=None if present is None else self._evidence_of(entry.name, present),
            force=force,
        )

    def _evidence_of(self, name: str, version: str) -> JsonObject | None:
        """A version's confirmation; None when it was not confirmed."""
        content = self._file_of(name, version, EVIDENCE_NAME)
        return None if content is None else read_evidence(content, of=f"models:/{name}/{version}")

    def _file_of(self, name: str, version: str, file: str) -> bytes | None:
        """A file of a version's exported folder, fetched alone; None where there is none of that name."""
        from mlflow.artifacts import download_artifacts, list_artifacts

        root = self._client.get_model_version_download_uri(name, version)
        folder = f"{root}/artifacts/model"
        files = list_artifacts(artifact_uri=folder, tracking_uri=self.uri)
        if not any(Path(found.path).name == file for found in files):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            path = download_artifacts(artifact_uri=f"{folder}/{file}", dst_path=scratch, tracking_uri=self.uri)
            return Path(path).read_bytes()

    def _move_aliases(self, name: str, version: "ModelVersion", decision: ChampionDecision) -> None:
        number = str(version.version)
        if int(self._aliases(name).get(CANDIDATE, 0)) < int(number):
            self._client.set_registered_model_alias(name, CANDIDATE, number)
        self._client.set_model_version_tag(name, number, "retrain.champion", tag_text(decision.reason))
        if decision.moves:
            self._client.set_registered_model_alias(name, CHAMPION, number)

    def _create(self, entry: Entry) -> "ModelVersion":
        """Run, logged model and version, or none of them."""
        experiment_id = open_experiment(self._client, self.uri, self._experiment)
        self._delete_leftovers(experiment_id, entry)
        with ExitStack() as undo:
            run_id = create_run(self._client, experiment_id, entry)
            undo.callback(self._quietly, "delete_run", run_id)
            fill_run(self._client, run_id, entry)
            model = log_export(
                self._client, entry.folder, experiment_id=experiment_id, run_id=run_id, tags=entry.tags()
            )
            undo.callback(self._quietly, "delete_logged_model", model.model_id)
            log_metrics(self._client, run_id, model.model_id, entry)
            if not self._client.search_registered_models(f"name = '{entry.name}'"):
                self._client.create_registered_model(entry.name)
                undo.callback(self._quietly, "delete_registered_model", entry.name)
            version = self._client.create_model_version(
                entry.name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=entry.tags()
            )
            undo.callback(self._quietly, "delete_model_version", entry.name, str(version.version))
            links = json.dumps([{"name": entry.name, "version": version.version}])
            self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": links})  # the UI's own tag
            self._client.set_terminated(run_id)
            undo.pop_all()
        return version

    def _quietly(self, method: str, *arguments: str) -> None:
        with suppress(Exception):  # the failure that brought us here is told; the next call deletes what is left
            getattr(self._client, method)(*arguments)

    def _delete_leftovers(self, experiment_id: str, entry: Entry) -> None:
        """Runs of this export that never got a version: of a process that was killed, or met a dead server."""
        same_export = f"tags.`{EXPORT_TAG}` = '{entry.digest()}'"
        used = {version.run_id for version in self._client.search_model_versions(same_export)}
        for run in self._client.search_runs([experiment_id], same_export):
            if run.info.run_id not in used:
                for output in run.outputs.model_outputs if run.outputs is not None else []:
                    self._quietly("delete_logged_model", output.model_id)
                self._client.delete_run(run.info.run_id)


def _task_of(config: bytes) -> Task:
    """What a model forecasts, by its `config.json`."""
    values = parse_json(config)
    return Targets.from_dict(values["task"]).task if "task" in values else beetles()
