"""Brings runs in MLflow to their desired content: the calls of MLflow that project a journal.

One writer at a time for a study. Requests may be repeated after an unclear failure: a metric row is unique by
key, step, time and value, parameters and tags are set by name, and runs are looked up by tag before they are made.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainable.errors import UserError
from tune.tracking.client import describe, open_experiment, settle_mlflow
from tune.tracking.database import make_database
from tune.tracking.desired_run import PARENT, DesiredRun
from tune.tracking.held_run import (
    ARTIFACTS,
    LAYOUT,
    TODAYS_LAYOUT,
    TRACKED,
    TRACKED_VERSION,
    VIEWS,
    HeldRun,
    held_run,
    is_parent,
    preference,
)
from tune.tracking.saved_view import linked, views_of
from tune.tracking.used_data import dataset_inputs

METRICS_A_BATCH, PARAMS_A_BATCH, TAGS_A_BATCH = 800, 100, 100
"""MLflow takes 1000 metrics, 100 params, 100 tags and 1000 things in all."""


class MlflowWriter:
    """A client for one study in one experiment.

    Raises from every method: mlflow's exceptions; `is_permanent` tells which are not worth repeating.
    """

    def __init__(self, uri: str, experiment_name: str, *, study_id: str) -> None:
        """Import mlflow and open the store: seconds for a fresh SQLite file, which is migrated."""
        settle_mlflow()
        make_database(uri)
        from mlflow.tracking import MlflowClient

        self._uri, self._experiment_name, self._study_id = uri, experiment_name, study_id
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._held: dict[str, HeldRun] | None = None
        self._outdated: dict[str, HeldRun] = {}
        self._file_problems: dict[str, str] = {}
        self._refuses_views = False
        self.experiment_id: str | None = None
        self.parent_run_id: str | None = None
        self.n_requests = self.n_created = self.n_metrics_sent = self.n_duplicates = self.n_renewed = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be stored, though MLflow takes the rest."""
        return tuple(self._file_problems.values())

    def bring(self, run: DesiredRun) -> None:
        """Send what `run` lacks in MLflow; nothing is sent twice on purpose."""
        held = self._find(run)
        self._bring_batches(run, held)
        self._bring_datasets(run, held)
        if self._bring_views(run, held):
            self._bring_batches(run, held)  # the description links to them
        self._bring_artifacts(run, held)
        self._bring_state(run, held)

    def forget(self) -> None:
        """Look all up again before the next run: another hand was in the store, or a request's fate is unclear."""
        self._held = None

    def _find(self, run: DesiredRun) -> HeldRun:
        if self._held is None:
            self._held = self._look_up()
        held = self._held.get(run.key)
        if run.n_forgotten > (held.n_metrics if held else 0):
            raise UserError(
                f"the run of {run.name} was deleted in MLflow while the search wrote to it; "
                "`sync` of the study makes it anew"
            )
        if held is None:
            held = self._held[run.key] = self._create(run)
        if run.key == PARENT:
            self.parent_run_id = held.run_id
        if (outdated := self._outdated.get(run.key)) is not None:
            self._replace(run.key, outdated, held)
        return held

    def _look_up(self) -> dict[str, HeldRun]:
        self.n_requests += 1
        self.experiment_id = open_experiment(self._client, self._uri, self._experiment_name)
        found: dict[str, Any] = {}
        for run in self._search_runs():
            key = PARENT if is_parent(run) else run.data.tags["hpo.trial"]
            other = found.get(key)
            if other is None:
                found[key] = run
                continue
            kept, dropped = sorted((other, run), key=preference)
            found[key] = kept
            self.n_duplicates += 1
            self._call("delete_run", dropped.info.run_id)  # a create request that was repeated after a timeout
        held = {key: held_run(run) for key, run in found.items()}
        self._outdated = {key: run for key, run in held.items() if run.tags.get(LAYOUT) != TODAYS_LAYOUT}
        current = {key: run for key, run in held.items() if key not in self._outdated}
        if PARENT in current:
            self.parent_run_id = current[PARENT].run_id
        return current

    def _replace(self, key: str, outdated: HeldRun, held: HeldRun) -> None:
        """Delete a run of an earlier layout, once there is another in its place; what stands under it moves."""
        if key == PARENT:
            wanted = f"tags.`mlflow.parentRunId` = '{outdated.run_id}'"
            for other in self._call("search_runs", [self.experiment_id], wanted, max_results=1000):
                if "hpo.study" not in other.data.tags:  # retrained models; all others are brought here
                    self._call("set_tag", other.info.run_id, "mlflow.parentRunId", held.run_id)
        self._call("delete_run", outdated.run_id)
        del self._outdated[key]
        self.n_renewed += 1

    def _search_runs(self) -> Iterator[Any]:
        token: str | None = None
        quote = '"' if "'" in self._study_id else "'"
        wanted = f"tags.`hpo.study` = {quote}{self._study_id}{quote}"
        while True:
            page = self._call("search_runs", [self.experiment_id], wanted, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _create(self, run: DesiredRun) -> HeldRun:
        theirs = self._outdated[run.key].tags if run.key in self._outdated else {}
        tags = {name: value for name, value in theirs.items() if not name.startswith(("hpo.", "mlflow."))}
        tags |= self._tags(run)
        try:
            made = self._call("create_run", self.experiment_id, start_time=run.start_ms, tags=tags, run_name=run.name)
        except Exception:
            self.forget()  # it may have been made all the same
            raise
        self.n_created += 1
        return HeldRun(run_id=made.info.run_id, tags=dict(tags))

    def _tags(self, run: DesiredRun, held: HeldRun | None = None) -> dict[str, str]:
        """held: where it is there already, which a description that links to it needs."""
        tags = run.tags | {"mlflow.runName": run.name, LAYOUT: TODAYS_LAYOUT}
        above = None if run.parent is None or self._held is None else self._held.get(run.parent)
        if above is not None:
            tags["mlflow.parentRunId"] = above.run_id
        if run.description and held is not None:
            views = views_of(str(self.experiment_id), self._study_id, are_kept=self.keeps_views)
            tags["mlflow.note.content"] = linked(run.description, str(self.experiment_id), held.run_id, views)
        return tags

    def _bring_datasets(self, run: DesiredRun, held: HeldRun) -> None:
        lacking = [used for used in run.datasets if (used.name, used.digest) not in held.datasets]
        if lacking:
            self._call("log_inputs", held.run_id, datasets=dataset_inputs(lacking))
            held.datasets.update((used.name, used.digest) for used in lacking)

    def _bring_views(self, run: DesiredRun, held: HeldRun) -> bool:
        """Keep the UI's views; a server that takes none of them shows the same runs with columns of its own.

        Returns: whether they are there anew.
        """
        digest = _digest(run.views)
        if not run.views or digest == held.tags.get(VIEWS) or self._refuses_views:
            return False
        try:
            for name, value in run.views.items():
                self._call("set_experiment_tag", self.experiment_id, name, value)
        except Exception:
            self._call("get_run", held.run_id)  # raises if all of MLflow is away, which is no refusal
            self._refuses_views = True
            return False
        self._call("set_tag", held.run_id, VIEWS, digest)
        held.tags[VIEWS] = digest
        return True

    @property
    def keeps_views(self) -> bool:
        """Whether the experiment holds the study's views."""
        return self._held is not None and PARENT in self._held and VIEWS in self._held[PARENT].tags

    def _bring_artifacts(self, run: DesiredRun, held: HeldRun) -> None:
        """Store the run's files; a broken file store is a problem to tell and holds up nothing else."""
        digest = _digest(run.artifacts)
        if not run.artifacts or held.tags.get(ARTIFACTS) == digest:
            return
        try:
            for path, content in run.artifacts.items():
                self._store(held.run_id, path, content)
        except Exception as error:
            self._call("set_tag", held.run_id, ARTIFACTS, "missing")  # raises if all of MLflow is away
            self._file_problems[run.key] = f"files of {run.name} could not be stored: {describe(error)}"
            return
        self._call("set_tag", held.run_id, ARTIFACTS, digest)
        held.tags[ARTIFACTS] = digest
        self._file_problems.pop(run.key, None)

    def _store(self, run_id: str, path: str, content: str | bytes) -> None:
        if isinstance(content, str):
            self._call("log_text", run_id, content, path)
            return
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / name
            file.write_bytes(content)
            self._call("log_artifact", run_id, str(file), folder or None)

    def _bring_batches(self, run: DesiredRun, held: HeldRun) -> None:
        from mlflow.entities import Metric, Param, RunTag

        params = [(name, value) for name, value in run.params.items() if name not in held.params]
        tags = [(name, value) for name, value in self._tags(run, held).items() if held.tags.get(name) != value]
        metrics = run.metrics[max(held.n_metrics - run.n_forgotten, 0) :]
        while params or tags or metrics:
            now_metrics, now_params = metrics[:METRICS_A_BATCH], params[:PARAMS_A_BATCH]
            now_tags = dict(tags[: TAGS_A_BATCH - 1])
            if now_metrics:
                now_tags[TRACKED] = f"{TRACKED_VERSION}:{held.n_metrics + len(now_metrics)}"
            self._call(
                "log_batch",
                held.run_id,
                metrics=[Metric(*point) for point in now_metrics],
                params=[Param(*param) for param in now_params],
                tags=[RunTag(*tag) for tag in now_tags.items()],
            )
            held.n_metrics += len(now_metrics)
            held.params.update(name for name, _ in now_params)
            held.tags.update(now_tags)
            self.n_metrics_sent += len(now_metrics)
            metrics, params = metrics[METRICS_A_BATCH:], params[PARAMS_A_BATCH:]
            tags = tags[TAGS_A_BATCH - 1 :]

    def _bring_state(self, run: DesiredRun, held: HeldRun) -> None:
        if run.status == "RUNNING":
            if held.status != "RUNNING":
                self._call("update_run", held.run_id, status="RUNNING")
        elif (held.status, held.end_ms) != (run.status, run.end_ms):
            self._call("set_terminated", held.run_id, status=run.status, end_time=run.end_ms)
        held.status, held.end_ms = run.status, run.end_ms

    def _call(self, method: str, *args: Any, **named: Any) -> Any:
        self.n_requests += 1
        return getattr(self._client, method)(*args, **named)


def is_permanent(error: Exception) -> bool:
    """True for what repeating cannot mend: a refused value, a deleted run; all else may pass, the pool's 400 too."""
    if isinstance(error, UserError):
        return True
    code = str(getattr(error, "error_code", ""))
    return code == "INVALID_PARAMETER_VALUE" or (code.startswith("RESOURCE_") and code != "RESOURCE_EXHAUSTED")


def _digest(artifacts: Mapping[str, str | bytes]) -> str:
    parts = (part for path, content in sorted(artifacts.items()) for part in (path, content))
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()[:16]
