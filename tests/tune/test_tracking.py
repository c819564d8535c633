"""MLflow holds what the journal holds: while the search runs, after outages, however often it is synced."""

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import make_entry
from trainable.config import TrialConfig
from trainable.errors import UserError
from tune.journal.entries import EpochReported, FloorsMeasured, JournalEntry, TrialEntry
from tune.journal.lines import kind_of
from tune.printed.secrets_left_out import redact
from tune.tracking.desired_run import CONFIRMATION, PARENT
from tune.tracking.mlflow_runs import desired_runs
from tune.tracking.syncing import sync
from tune.tracking.tracker import Tracker
from tune.tracking.uri import check_uri, default_tracking_uri, ui_command, ui_link
from tune.tracking.values import metric_key

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

EXPERIMENT = "beetles"
START = 1_700_000_000.25

HEADER: dict[str, Any] = {
    "options": {"data": "demo", "backbone": "tiny", "space": "smoke", "holdout": "both", "fold": 0,
                "tracking_uri": "http://ada:geheim@mlflow.example:5000"},
    "data_fingerprint": "d" * 64, "seed": 7, "queue": [{"origin": "start:lora", "values": {"optim.lr": 1e-3}}],
    "git_commit": "c0ffee", "user": "ada", "n_trials": 6, "max_epochs": 4,
    "space": SearchSpace.load("smoke").to_dict(), "n_specimens": 120,
}  # fmt: skip


class Log:
    """Journal entries with times of a made-up clock: one second an entry."""

    def __init__(self, study_id: str = "study-1") -> None:
        self.entries: list[JournalEntry] = []
        self.add("study", study_id=study_id, header=HEADER)
        self.add("session", session=0, executor="local")

    def add(self, kind: str, /, **fields: Any) -> None:
        n = len(self.entries)
        self.entries.append(make_entry(kind, seq=n, time=START + n, **fields))

    def ask(self, trial: str, origin: str = "sampler", **values: Any) -> None:
        config = TrialConfig(epochs=4).with_values(values).to_dict()
        self.add("ask", trial=trial, number=int(trial[1:]), origin=origin, exempt=False, values=values, config=config)

    def report(self, trial: str, epoch: int, score: float, **more: float) -> None:
        metrics = {"score/all": score, "score/id": score / 2, "r2_id/SPEI_1y": 0.1 * epoch, **more}
        self.add("report", trial=trial, epoch=epoch, metrics=metrics)

    def tell(self, trial: str, state: str, epoch: int, value: float | None = None, reason: str = "") -> None:
        self.add("tell", trial=trial, state=state, value=value, epoch=epoch, reason=reason)


def a_study() -> Log:
    """Five trials: completed, pruned, failed, paused, and one that still runs."""
    log = Log()
    floor = {"score/all": 0.9, "r2_id/SPEI_1y": 0.0}
    log.add("floors", floors={"constant": floor, "domain_mean": floor, "species_mean": floor})
    log.ask("t0000", "start:lora", **{"adapter.kind": "lora", "adapter.rank": 8, "optim.lr": 1e-3})
    log.ask("t0001", "start:ft_did", **{"optim.lr": 1e-4})
    for epoch, score in enumerate([0.8, 0.6, 0.7, 0.65], start=1):
        log.report("t0000", epoch, score)
        log.add("checkpoint", trial="t0000", epoch=epoch, path=f"checkpoints/t0000/{epoch}")
        if epoch <= 2:
            log.report("t0001", epoch, 0.9)
            judged = {"action": "continue", "rung": epoch - 1, "value": 0.9, "cut": 0.8, "n": 2, "reason": "goes on"}
            log.add("decision", trial="t0001", epoch=epoch, **judged)
    log.tell("t0000", "completed", 4, 0.6)
    log.tell("t0001", "pruned", 2, 0.9, "0.9 above the cut 0.8")
    log.ask("t0002")
    log.report("t0002", 1, math.nan)
    failure = {"type": "TrialDiverged", "message": "loss is NaN", "traceback_tail": "line 1", "node": "n1"}
    log.add("error", trial="t0002", epoch=1, kind="diverged", **failure)
    log.tell("t0002", "failed", 1, None, "loss is NaN")
    for trial in ("t0003", "t0004"):
        log.ask(trial)
        log.report(trial, 1, 0.75)
    log.add("pause", trial="t0003", epoch=1, reason="time budget spent")
    return log


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite store: migrating costs a second, copying nothing."""
    import mlflow.store.tracking.sqlalchemy_store as stores

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    stores.SqlAlchemyStore(f"sqlite:///{path}", str(path.parent / "mlruns")).engine.dispose()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"


def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(uri: str, name: str = EXPERIMENT) -> dict[str, Any]:
    """Trial id (study's run: "") -> run; fails on a double."""
    found: dict[str, Any] = {}
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name(name)
    for run in mlflow.search_runs([experiment.experiment_id], max_results=1000):
        key = run.data.tags.get("hpo.trial", PARENT)
        assert key not in found, f"{key} is there twice"
        found[key] = run
    return found


def content(uri: str) -> dict[str, Any]:
    """Everything that a reader of MLflow sees, without the ids; metric histories must be free of doubles."""
    mlflow, seen = client(uri), {}
    for key, run in runs_of(uri).items():
        metrics = {}
        for name in run.data.metrics:
            points = mlflow.get_metric_history(run.info.run_id, name)
            assert len({point.step for point in points}) == len(points), f"{key} {name} has a step twice"
            metrics[name] = sorted((point.step, repr(point.value), point.timestamp) for point in points)
        note = run.data.tags.pop("mlflow.note.content", "").replace(run.info.run_id, "RUN")
        tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"} | {"note": note}
        files = {}
        for path in {PARENT: ("study.json",), CONFIRMATION: ()}.get(key, ("config.yaml",)):
            place = mlflow.download_artifacts(run.info.run_id, path)
            files[path] = Path(place).read_text()
        times = (run.info.start_time, run.info.end_time)
        seen[key] = (run.info.run_name, run.info.status, times, run.data.params, tags, metrics, files)
    return seen


def track(uri: str, entries: list[JournalEntry], **named: Any) -> Any:
    tracker = Tracker(uri, EXPERIMENT, study_id="study-1", flush_seconds=0.02, **named)
    for entry in entries:
        tracker.handle(entry)
    return tracker.close(30)


@pytest.mark.seconds
def test_a_study_is_a_parent_run_with_one_child_for_every_trial(uri: str, tmp_path: Path) -> None:
    log = a_study()
    status = track(uri, log.entries)
    assert status.message == ""
    runs = runs_of(uri)
    parent = runs.pop(PARENT)
    assert set(runs) == {"t0000", "t0001", "t0002", "t0003", "t0004"}
    assert (status.parent_run_id, status.experiment_id) == (parent.info.run_id, parent.info.experiment_id)
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    assert [runs[k].info.run_name for k in ("t0000", "t0001", "t0002")] == ["lora", "ft_did", "002 full N2"]
    states = {key: (run.info.status, run.data.tags["status"]) for key, run in runs.items()}
    assert states == {
        "t0000": ("FINISHED", "completed"),
        "t0001": ("FINISHED", "pruned"),
        "t0002": ("FAILED", "failed"),
        "t0003": ("KILLED", "interrupted"),
        "t0004": ("RUNNING", "running"),
    }
    assert runs["t0001"].data.tags["rung"] == "1"
    assert runs["t0002"].data.tags["hpo.error"] == "TrialDiverged: loss is NaN"
    location = client(uri).get_experiment(parent.info.experiment_id).artifact_location
    assert location == (tmp_path / "mlruns" / EXPERIMENT).as_uri()


@pytest.mark.seconds
def test_a_run_carries_what_the_ui_compares(uri: str) -> None:
    track(uri, a_study().entries)
    run = runs_of(uri)["t0000"]
    history = {p.step: p.value for p in client(uri).get_metric_history(run.info.run_id, "score/all")}
    assert history == {1: 0.8, 2: 0.6, 3: 0.7, 4: 0.65}
    best = {p.step: p.value for p in client(uri).get_metric_history(run.info.run_id, "score")}
    assert best == {1: 0.8, 2: 0.6, 3: 0.6, 4: 0.6}
    expected = {
        "mlflow.source.git.commit": "c0ffee", "mlflow.user": "ada", "hpo.data_fingerprint": "d" * 64,
        "hpo.backbone": "tiny", "hpo.space": "smoke", "hpo.holdout": "both", "fold": "0", "variant": "lora",
        "kind": "trial", "hpo.study": "study-1", "hpo.trial": "t0000", "hpo.origin": "start:lora",
    }  # fmt: skip
    assert run.data.tags.items() >= expected.items()
    varied = {"adapter": "lora", "rank": "8", "lr": "0.001", "n_blocks": "none", "feature_noise": "none"}
    assert run.data.params == varied
    assert runs_of(uri)["t0001"].data.params["rank"] == "none"


def test_the_parent_shows_floors_progress_and_the_best_trial(uri: str) -> None:
    log = a_study()
    log.add("end", reason="interrupted")
    track(uri, log.entries)
    parent = runs_of(uri)[PARENT]
    metrics = parent.data.metrics
    assert [name for name in sorted(metrics) if not name.startswith("study/")] == ["score/best", "score/floor"]
    assert (metrics["score/best"], metrics["score/floor"], metrics["study/floor_constant"]) == (0.6, 0.9, 0.9)
    assert (metrics["study/completed"], metrics["study/failed"]) == (1, 1)
    place = client(uri).download_artifacts(parent.info.run_id, "floors.json")
    assert json.loads(Path(place).read_text())["constant"]["r2_id/SPEI_1y"] == 0.0
    assert parent.data.tags["hpo.best_trial"] == "t0000"
    assert parent.data.params["space"] == "smoke"


def test_times_are_those_of_the_journal(uri: str) -> None:
    log = a_study()
    track(uri, log.entries)
    asked, told = (next(e for e in log.entries if kind_of(e) == kind) for kind in ("ask", "tell"))
    info = runs_of(uri)["t0000"].info
    assert (info.start_time, info.end_time) == (round(asked.time * 1000), round(told.time * 1000))


def test_an_entry_that_cannot_be_read_is_told_and_stops_nothing(uri: str) -> None:
    log = a_study()
    nothing: Any = None
    broken = [EpochReported(trial="t0000", epoch=1, metrics=nothing), FloorsMeasured(floors=nothing)]
    tracker = Tracker(uri, EXPERIMENT, study_id="study-1")
    for entry in [*log.entries[:8], *broken, *log.entries[8:]]:
        tracker.handle(entry)
    status = tracker.close(30)
    assert "could not be read" in status.message
    assert runs_of(uri)["t0000"].data.metrics["score"] == 0.6


@pytest.mark.seconds
@pytest.mark.parametrize("name", ["acc@1", "a//b", "a/b/c", "/lead", "..", "a=b,[c]", "é/ü", "x" * 300, "./a", " "])
def test_fault_8_no_metric_name_can_stop_tracking(uri: str, name: str) -> None:
    log = Log()
    log.ask("t0000")
    log.report("t0000", 1, 0.5, **{name: 1.0})
    assert not track(uri, log.entries).message
    assert metric_key(name).count("/") <= 1
    assert runs_of(uri)["t0000"].data.metrics[metric_key(name)] == 1.0


def test_an_infinite_value_is_recorded_as_nan(uri: str) -> None:
    log = Log()
    log.ask("t0000")
    log.report("t0000", 1, math.inf, **{"train/loss": -math.inf})
    assert not track(uri, log.entries).message
    metrics = runs_of(uri)["t0000"].data.metrics
    assert math.isnan(metrics["score/all"])
    assert math.isnan(metrics["train/loss"])
    assert "score" not in metrics


@pytest.mark.seconds
def test_live_tracking_and_sync_end_in_the_same_content(uri: str, tmp_path: Path) -> None:
    log = a_study()
    log.add("end", reason="all trials done")
    track(uri, log.entries)
    (tmp_path / "other").mkdir()
    other = f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}"
    sync(log.entries, other, EXPERIMENT)
    assert content(uri) == content(other)


def test_sync_completes_any_partial_writing_and_repeats_without_doubles(uri: str) -> None:
    log = a_study()
    log.add("end", reason="all trials done")
    rng = random.Random(0)
    for n in sorted(rng.sample(range(1, len(log.entries)), 4)):
        track(uri, log.entries[:n])  # a driver that died after n entries; the next one starts from the journal again
    sync(log.entries, uri, EXPERIMENT)
    once = content(uri)
    again = sync(log.entries, uri, EXPERIMENT)
    assert content(uri) == once
    assert (again.n_created, again.n_metrics, again.n_requests) == (0, 0, 2)
    desired = desired_runs(log.entries, running=False)
    for key, run in desired.items():
        points = {(p.key, p.step): repr(p.value) for p in run.metrics}
        held = {(name, step): value for name, rows in once[key][5].items() for step, value, _ in rows}
        assert held == points


def test_sync_sends_values_whole_when_a_run_does_not_say_what_it_holds(uri: str) -> None:
    log = a_study()
    sync(log.entries, uri, EXPERIMENT)
    whole = content(uri)
    run_id = runs_of(uri)["t0000"].info.run_id
    client(uri).delete_tag(run_id, "hpo.tracked")
    assert sync(log.entries, uri, EXPERIMENT).n_metrics > 0
    assert content(uri) == whole


def test_the_study_describes_itself_in_words_that_change_with_it(uri: str) -> None:
    log = a_study()
    track(uri, log.entries, study="studies/my study")
    note = runs_of(uri)[PARENT].data.tags["mlflow.note.content"]
    rows = [line for line in note.splitlines() if line.startswith("| ")]
    assert "the space **smoke** on **demo** with the backbone **tiny**" in note
    assert "State: **running**. 3 of 6 trials have ended (1 completed, 1 pruned, 1 failed, 1 paused)." in note
    assert rows[1].startswith("| **lora** | \u00a0\u00a00.6000 | \u00a0\u00a00.3000 |")
    assert [row.split(" | ")[0] for row in rows[-4:]] == [
        "| ft\\_did", "| floor: constant", "| floor: domain mean", "| floor: species mean",
    ]  # fmt: skip
    assert "    sentinel-tune confirm 'studies/my study'" in note
    sync(log.entries, uri, EXPERIMENT, study="elsewhere")
    later = runs_of(uri)[PARENT].data.tags["mlflow.note.content"]
    assert "State: **interrupted**" in later
    assert "sentinel-tune search --resume elsewhere" in later


def test_a_description_is_the_same_until_something_in_it_changes() -> None:
    log = a_study()
    before = desired_runs(log.entries, running=True)[PARENT].description
    log.report("t0004", 2, 0.75)  # neither better nor an end
    assert desired_runs(log.entries, running=True)[PARENT].description == before
    log.report("t0004", 3, 0.1)
    assert "0.1000 |" in desired_runs(log.entries, running=True)[PARENT].description


def test_the_study_names_its_data_once(uri: str) -> None:
    log = a_study()
    for _ in range(2):
        sync(log.entries, uri, EXPERIMENT)
    (used,) = runs_of(uri)[PARENT].inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("demo", "d" * 36)
    assert json.loads(used.dataset.profile)["rows"] == 120
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "search: held out both, fold 0")]


def project_as_before(uri: str) -> str:
    """Runs as versions of the first layout wrote them, in part; returns the id of the study's own."""
    mlflow = client(uri)
    experiment = mlflow.create_experiment(EXPERIMENT)
    common = {"hpo.study": "study-1", "hpo.tracked": "1:1"}
    parent = mlflow.create_run(experiment, run_name="study-1", tags=common)
    mlflow.log_metric(parent.info.run_id, "floor_constant/score", 0.9)
    for trial in ("t0000", "t0001"):
        tags = common | {"hpo.trial": trial, "mlflow.parentRunId": parent.info.run_id, "hpo.status": "completed"}
        run = mlflow.create_run(experiment, run_name=trial, tags=tags | {"mine": f"kept of {trial}"})
        mlflow.log_metric(run.info.run_id, "best/score", 0.6)
        mlflow.log_param(run.info.run_id, "optim.lr", "0.001")
    mlflow.create_run(experiment, run_name="retrain lora", tags={"mlflow.parentRunId": parent.info.run_id})
    return str(parent.info.run_id)


@pytest.mark.seconds
def test_runs_of_an_earlier_layout_are_made_anew_once_and_leave_nothing_behind(uri: str, tmp_path: Path) -> None:
    log = a_study()
    before = project_as_before(uri)
    report = sync(log.entries, uri, EXPERIMENT)
    assert (report.n_renewed, report.n_created) == (3, 3)
    again = sync(log.entries, uri, EXPERIMENT)
    assert (again.n_renewed, again.n_created, again.n_metrics, again.n_requests) == (0, 0, 0, 2)
    mlflow = client(uri)
    runs = {run.info.run_name: run for run in mlflow.search_runs([report.experiment_id or ""])}
    retrained = runs.pop("retrain lora")
    assert retrained.data.tags["mlflow.parentRunId"] == report.parent_run_id != before
    assert mlflow.get_run(before).info.lifecycle_stage == "deleted"
    assert len(runs) == 6
    assert runs["lora"].data.tags["mine"] == "kept of t0000"
    (tmp_path / "other").mkdir()
    fresh = f"sqlite:///{shutil.copy(tmp_path / 'mlflow.db', tmp_path / 'other' / 'mlflow.db')}"
    client(fresh).rename_experiment(report.experiment_id or "", "another")
    sync(log.entries, fresh, EXPERIMENT)
    mlflow.delete_run(retrained.info.run_id)
    for name in ("lora", "ft_did"):
        mlflow.delete_tag(runs[name].info.run_id, "mine")
    assert {key: found[:4] for key, found in content(uri).items()} == {
        key: found[:4] for key, found in content(fresh).items()
    }


def test_a_search_that_goes_on_brings_its_runs_to_todays_layout_itself(uri: str) -> None:
    log = a_study()
    project_as_before(uri)
    assert not track(uri, log.entries).message
    assert sync(log.entries, uri, EXPERIMENT, running=True).n_renewed == 0


def test_no_run_stays_running_when_the_driver_was_killed(uri: str) -> None:
    log = a_study()
    track(uri, log.entries)
    assert runs_of(uri)["t0004"].info.status == "RUNNING"
    sync(log.entries, uri, EXPERIMENT, running=True)
    assert runs_of(uri)["t0004"].info.status == "RUNNING"
    sync(log.entries, uri, EXPERIMENT)
    runs = runs_of(uri)
    assert {run.info.status for run in runs.values()} == {"FINISHED", "FAILED", "KILLED"}
    last = next(e for e in reversed(log.entries) if isinstance(e, TrialEntry) and e.trial == "t0004")
    assert runs["t0004"].info.end_time == round(last.time * 1000)


def test_the_end_of_a_search_ends_every_run(uri: str) -> None:
    log = a_study()
    log.add("end", reason="interrupted")
    track(uri, log.entries)
    runs = runs_of(uri)
    assert (runs[PARENT].info.status, runs[PARENT].data.tags["status"]) == ("KILLED", "interrupted")
    assert runs["t0004"].data.tags["status"] == "interrupted"


def test_a_resumed_study_goes_on_in_its_runs(uri: str) -> None:
    log = a_study()
    log.add("end", reason="interrupted")
    track(uri, log.entries)
    before = {key: run.info.run_id for key, run in runs_of(uri).items()}
    log.add("session", session=1, executor="local")
    log.report("t0003", 2, 0.5)
    track(uri, log.entries)
    runs = runs_of(uri)
    assert {key: run.info.run_id for key, run in runs.items()} == before
    assert (runs["t0003"].info.status, runs["t0003"].data.tags["status"]) == ("RUNNING", "running")
    assert runs[PARENT].info.status == "RUNNING"
    log.tell("t0003", "completed", 2, 0.5)
    log.add("end", reason="all trials done")
    track(uri, log.entries)
    runs = runs_of(uri)
    assert runs["t0003"].info.status == "FINISHED"
    assert runs[PARENT].data.tags["hpo.best_trial"] == "t0003"
    sync(log.entries, uri, EXPERIMENT)
    content(uri)


def test_an_epoch_that_was_repeated_after_a_crash_is_recorded_once(uri: str) -> None:
    log = Log()
    log.ask("t0000")
    for epoch in (1, 2, 2, 3):
        log.report("t0000", epoch, 1.0 / epoch)
    track(uri, log.entries)
    points = content(uri)["t0000"][5]["score/all"]
    assert [step for step, *_ in points] == [1, 2, 3]


def test_a_retry_with_another_configuration_keeps_the_run_and_says_so(uri: str) -> None:
    log = Log()
    log.ask("t0000")
    config = TrialConfig(epochs=4).with_values({"optim.accumulation_steps": 2}).to_dict()
    log.add("retry", trial="t0000", attempt=2, reason="out of memory: batch split in 2", config=config)
    log.report("t0000", 1, 0.5)
    assert not track(uri, log.entries).message
    run = runs_of(uri)["t0000"]
    assert run.data.tags["hpo.retry.optim.accumulation_steps"] == "2"
    assert "accumulation_steps: 2\n" in content(uri)["t0000"][6]["config.yaml"]


def test_a_run_that_a_repeated_request_doubled_is_made_single(uri: str) -> None:
    log = a_study()
    sync(log.entries, uri, EXPERIMENT)
    whole = content(uri)
    run = runs_of(uri)["t0001"]
    client(uri).create_run(run.info.experiment_id, tags={"hpo.study": "study-1", "hpo.trial": "t0001"})
    assert sync(log.entries, uri, EXPERIMENT).n_duplicates == 1
    assert content(uri) == whole


@pytest.mark.seconds
def test_runs_that_were_deleted_during_the_search_are_made_anew(uri: str) -> None:
    log = a_study()
    tracker = Tracker(uri, EXPERIMENT, study_id="study-1", flush_seconds=0.02)
    for entry in log.entries:
        tracker.handle(entry)
    wait_for(lambda: tracker.parent_run_id is not None, 20)
    wait_for(lambda: len(runs_of(uri)) == 6 and "score" in runs_of(uri)["t0004"].data.metrics)
    for key in (PARENT, "t0004"):
        client(uri).delete_run(runs_of(uri)[key].info.run_id)
    log.report("t0004", 2, 0.4)
    tracker.handle(log.entries[-1])
    status = tracker.close(30)
    assert not status.message, status
    assert {step for step, *_ in content(uri)["t0004"][5]["score/all"]} == {1, 2}
    runs = runs_of(uri)
    assert {run.data.tags["mlflow.parentRunId"] for key, run in runs.items() if key != PARENT} == {
        runs[PARENT].info.run_id
    }


def test_two_studies_in_one_experiment_do_not_touch_each_other(uri: str) -> None:
    first, second = a_study(), Log("study-2")
    second.ask("t0000")
    sync(first.entries, uri, EXPERIMENT)
    sync(second.entries, uri, EXPERIMENT)
    mlflow = client(uri)
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    studies = [run.data.tags["hpo.study"] for run in mlflow.search_runs([experiment.experiment_id])]
    assert sorted(studies) == ["study-1"] * 6 + ["study-2"] * 2


def test_credentials_are_not_stored(uri: str, tmp_path: Path) -> None:
    track(uri, a_study().entries)
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(stored) > 5
    assert not any(b"geheim" in text for text in stored)


def test_a_journal_without_a_study_is_refused() -> None:
    with pytest.raises(UserError, match="holds no study entry"):
        sync([], "sqlite:////tmp/none.db", EXPERIMENT)


def test_a_broken_file_store_is_told_and_holds_up_nothing_else(uri: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    client(uri).create_experiment(EXPERIMENT, artifact_location=(tmp_path / "file" / "artifacts").as_uri())
    status = track(uri, a_study().entries)
    assert status.n_pending == 0
    assert "could not be stored" in status.message
    run = runs_of(uri)["t0000"]
    assert (run.info.status, run.data.metrics["score"]) == ("FINISHED", 0.6)


def test_a_study_of_a_real_journal_is_tracked_while_it_is_written(uri: str, tmp_path: Path) -> None:
    from tune.journal.journal import Journal, read_entries

    written = a_study().entries
    with Journal.create(tmp_path / "study", HEADER, study_id="study-1") as journal:
        tracker = Tracker(uri, EXPERIMENT, study_id="study-1", flush_seconds=0.02)
        for entry in journal.entries():
            tracker.handle(entry)
        journal.subscribe(tracker.handle)
        for entry in written[1:]:
            journal.append(entry)
        assert not tracker.close(30).message
    live = content(uri)
    assert sync(read_entries(tmp_path / "study"), uri, EXPERIMENT, running=True).n_metrics == 0
    assert content(uri) == live


def test_a_deleted_experiment_is_told_with_the_remedy(uri: str) -> None:
    mlflow = client(uri)
    mlflow.delete_experiment(mlflow.create_experiment(EXPERIMENT))
    with pytest.raises(UserError, match=r"mlflow experiments restore"):
        sync(a_study().entries, uri, EXPERIMENT)
    status = track(uri, a_study().entries)
    assert "mlflow experiments restore" in status.message


@pytest.mark.slow
def test_a_server_that_was_never_there_is_told_with_all_that_it_lacks(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    uri = f"http://ada:geheim@127.0.0.1:{port}"
    tracker = Tracker(uri, EXPERIMENT, study_id="study-1", flush_seconds=0.02)
    for entry in a_study().entries:
        tracker.handle(entry)
    status = tracker.close(2.0)
    assert status.n_pending == len(a_study().entries)
    assert (status.experiment_id, status.parent_run_id) == (None, None)
    assert "all results are in the study" in status.message
    assert "geheim" not in status.message + caplog.text


def test_uris_are_checked_before_anything_runs(tmp_path: Path) -> None:
    absolute = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert default_tracking_uri(tmp_path) == absolute
    assert check_uri("sqlite:///mlflow.db", cwd=tmp_path) == absolute
    assert check_uri(absolute, cwd=Path("/")) == absolute
    for fine in ("http://localhost:5000", "https://mlflow.example/base", "postgresql+psycopg://u:p@host/db"):
        assert check_uri(fine, cwd=tmp_path) == fine


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:///tmp/mlruns", "no longer writes to plain folders"),
        ("mlruns", "no longer writes to plain folders"),
        ("", "must name a database or a server"),
        ("http://", "http://HOST:PORT"),
        ("http://host:port", "http://HOST:PORT"),
        ("ftp://host/x", "must start with"),
        ("databricks", "must name a database or a server"),
        ("sqlite://", "must name a file that stays"),
        ("sqlite:///:memory:", "must name a file that stays"),
        ("sqlite:////no/such/folder/mlflow.db", "does not; make it first"),
        ("sqlite:////tmp", "is a folder"),
        ("mongodb://ada:geheim@host/db", "must start with"),
    ],
)
def test_a_wrong_uri_is_refused_with_the_remedy(uri: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        check_uri(uri, cwd=tmp_path)
    assert "geheim" not in str(error.value)


def test_what_is_shown_holds_no_credentials() -> None:
    assert redact("postgresql://ada:geheim@host/db") == "postgresql://***@host/db"
    assert redact("see http://h/x?token=geheim&a=1 now") == "see http://h/x?token=***&a=1 now"
    assert redact("http://user:p@ss@host/") == "http://***@host/"
    assert redact("plain text, a@b.c") == "plain text, a@b.c"


def test_the_ui_opens_with_one_command_or_link() -> None:
    assert ui_command("sqlite:////a/mlflow.db") == "sentinel-tune ui --tracking-uri sqlite:////a/mlflow.db"
    assert ui_command("http://h:5000", "3") == "http://h:5000/#/experiments/3/runs?workflowType=machine_learning"
    assert ui_link("http://h", "3", "abc") == "http://h/#/experiments/3/runs/abc?workflowType=machine_learning"


# --- a real server ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` on loopback, all its processes killed with SIGKILL at the end."""
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "40", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "50",
    }  # fmt: skip
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "files")),
    ]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_for(answers, 120)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_server_killed_and_restarted_during_a_search_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    log, uri = Log(), f"http://127.0.0.1:{port}"
    tracker = Tracker(uri, EXPERIMENT, study_id="study-1")
    n_sent = 0

    def hand_over() -> None:
        nonlocal n_sent
        for entry in log.entries[n_sent:]:
            tracker.handle(entry)
        n_sent = len(log.entries)

    with server(tmp_path, port):
        log.ask("t0000")
        log.report("t0000", 1, 0.5)
        hand_over()
        wait_for(lambda: tracker.parent_run_id is not None, 60)
    for epoch in range(2, 40):  # the server is dead
        log.report("t0000", epoch, 0.5 / epoch)
        hand_over()
        time.sleep(0.05)
    log.tell("t0000", "completed", 39, 0.01)
    log.ask("t0001")
    log.report("t0001", 1, 0.4)
    hand_over()
    with server(tmp_path, port):
        log.add("end", reason="all trials done")
        hand_over()
        status = tracker.close(60)
        assert not status.message, status
        live = content(uri)
        assert sync(log.entries, uri, EXPERIMENT).n_metrics == 0
        assert content(uri) == live
        assert len(live["t0000"][5]["score/all"]) == 39


@pytest.mark.slow
def test_a_tracker_that_gave_up_is_made_good_by_sync(tmp_path: Path) -> None:
    port = free_port()
    log, uri = a_study(), f"http://127.0.0.1:{port}"
    log.add("end", reason="all trials done")
    with server(tmp_path, port):
        tracker = Tracker(uri, EXPERIMENT, study_id="study-1", flush_seconds=0.02)
        for entry in log.entries[:10]:
            tracker.handle(entry)
        wait_for(lambda: tracker.parent_run_id is not None, 60)
    for entry in log.entries[10:]:
        tracker.handle(entry)
    assert tracker.close(3).n_pending > 0
    with pytest.raises(UserError, match="must answer"):
        sync(log.entries, uri, EXPERIMENT)
    with server(tmp_path, port):
        for _ in range(3):
            sync(log.entries, uri, EXPERIMENT)
        (tmp_path / "other").mkdir()
        other = f"sqlite:///{tmp_path / 'other' / 'mlflow.db'}"
        sync(log.entries, other, EXPERIMENT)
        assert content(uri) == content(other)
