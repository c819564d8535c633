"""`search` through Ray, as users run it: real processes, real workers, real signals."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search_spaces.space import SearchSpace
from tests.conftest import PLAIN
from tests.tune.plain_entries import entries_of, read_plain
from trainable.errors import UserError
from tune.decisions.differences import differences

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEMO = "demo:120"
WORKERS = re.compile(r"ray::\w*Trainable")
RAY = re.compile(r"ray::\w*Trainable|\S*/(raylet|gcs_server) ")
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@pytest.fixture
def start(processes, demo_cache, tracking_uri, tmp_path):
    """Starts `search` on Ray in a process: eight trials of six epochs on two workers, into `tmp_path / "study"`."""

    def run(*argv, **environment):
        options = {
            "--data": DEMO, "--cache": demo_cache, "--space": PLAIN, "--trials": 8, "--epochs": 6, "--workers": 2,
            "--tracking-uri": tracking_uri, "--study": tmp_path / "study",
        }  # fmt: skip
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        return processes.start("search", "--no-confirm", *words, *argv, **environment)

    return run


def events_of(folder: Path) -> list[dict]:
    try:
        return read_plain(folder)
    except UserError:
        return []  # not begun yet


def wait_until(condition: Callable[[], object], *, seconds: float = 120, runs: Popen | None = None) -> None:
    """Wait for it; not longer than `runs` does, on which it depends."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert runs is None or runs.poll() is None, "the process ended before"
        time.sleep(0.05)


def reports(folder: Path) -> list[tuple[str, int]]:
    return [(entry["trial"], entry["epoch"]) for entry in events_of(folder) if entry["event"] == "report"]


def check_journal(folder: Path, *, n_trials: int, space: object = PLAIN) -> None:
    """Every trial has one end, no epoch was reported twice, and the decisions follow."""
    entries = read_plain(folder)
    told = [entry["trial"] for entry in entries if entry["event"] == "tell"]
    assert sorted(told) == [f"t{number:04d}" for number in range(n_trials)]
    found = reports(folder)
    assert len(set(found)) == len(found)
    for trial in told:
        epochs = [epoch for name, epoch in found if name == trial]
        assert epochs == list(range(1, len(epochs) + 1))
    assert differences(SearchSpace.load(str(space)), entries_of(entries)) == []


def mlflow_children(uri: str, study: Path) -> tuple:
    """The study's run and those of its trials by trial ID."""
    client = MlflowClient(tracking_uri=uri)
    (entry, *_) = read_plain(study)
    experiment = client.get_experiment_by_name("sentinel-tune")
    runs = client.search_runs([experiment.experiment_id], f"tags.`hpo.study` = '{entry['study_id']}'", max_results=1000)
    children = {run.data.tags["hpo.trial"]: run for run in runs if "hpo.trial" in run.data.tags}
    (parent,) = [run for run in runs if "hpo.trial" not in run.data.tags]
    return parent, children


def test_a_search_uses_all_workers_reuses_them_and_is_recorded_everywhere(start, processes, tracking_uri, tmp_path):
    folder = tmp_path / "ray search"
    process, workers = start("--json", "--study", folder, "--space", "smoke"), set()
    while process.poll() is None:
        workers |= {worker.pid for worker in processes.living(WORKERS)}
        time.sleep(0.1)
    ended = processes.wait(process)
    assert ended.status == 0, ended.stderr
    result = ended.result

    assert 2 <= len(workers) < 8  # side by side, and several trials in each
    assert result["n_trials"] == result["n_completed"] + result["n_pruned"] == 8
    assert list(result["variants"]) == ["default", "ft_did"]
    assert not (folder / "ray").exists()
    check_journal(folder, n_trials=8, space="smoke")
    ends = {entry["trial"]: entry for entry in read_plain(folder) if entry["event"] == "tell"}
    assert "pruned" in {end["state"] for end in ends.values()}

    parent, children = mlflow_children(tracking_uri, folder)
    assert (parent.info.run_id, parent.info.status) == (result["parent_run_id"], "FINISHED")
    assert parent.info.experiment_id == result["experiment_id"]
    assert parent.data.tags["hpo.best_trial"] == result["best"]["trial_id"]
    assert children.keys() == ends.keys()
    for trial, run in children.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["status"] == ends[trial]["state"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["score"] == ends[trial]["value"]
        assert run.data.params["lr"]
    assert children["t0000"].data.tags["variant"] == "default"

    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    trials = optuna.load_study(study_name=folder.name, storage=storage).trials
    told = {name: (STATES[end["state"]], end["value"]) for name, end in ends.items() if name != "t0001"}
    assert {trial.user_attrs["trial"]: (trial.state, trial.value) for trial in trials} == told  # t0001 only compares

    wait_until(lambda: not processes.living(), seconds=30)


def test_a_killed_worker_costs_its_trial_nothing_and_a_killed_driver_leaves_no_worker_behind_and_no_lock(
    start, processes, cli, tracking_uri, tmp_path
):
    folder = tmp_path / "killed"
    process = start("--trials", 3, "--epochs", 15, "--workers", 1, "--study", folder)
    wait_until(lambda: processes.living(WORKERS), runs=process)  # looked for in time, it is there before it trains
    (worker,) = processes.living(WORKERS)
    wait_until(lambda: reports(folder), runs=process)
    worker.kill()
    wait_until(lambda: [entry for entry in events_of(folder) if entry["event"] == "retry"], runs=process)
    n_reports = len(reports(folder))
    assert len(processes.living(RAY)) >= 2
    (retry,) = [entry for entry in read_plain(folder) if entry["event"] == "retry"]
    assert "worker died" in retry["reason"]

    wait_until(lambda: len(reports(folder)) > n_reports, runs=process)
    process.kill()
    process.wait()
    assert f"{retry['trial']} is tried again" in processes.errors_of(process)
    wait_until(lambda: not processes.living(RAY), seconds=60)  # two small agents of Ray's stay for a minute more

    assert cli("search", "--resume", folder, "--local", "--workers", 1).status == 0
    check_journal(folder, n_trials=3)
    assert not [entry for entry in read_plain(folder) if entry["event"] == "error"]
    _, children = mlflow_children(tracking_uri, folder)
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def test_what_no_node_can_ever_run_is_refused_instead_of_waited_for(start, processes, tmp_path):
    ended = processes.wait(start("--cpus-per-trial", 64, "--gpus-per-trial", 9), seconds=120)

    assert ended.status == 2
    assert "64 > 2" in ended.stderr
    assert "9 > " in ended.stderr
    assert ended.stderr.count("error: ") == 2
    assert not (tmp_path / "study").exists()


def test_ctrl_c_finishes_the_epoch_a_second_one_stops_at_once_and_the_local_twin_finishes_the_search(
    start, processes, cli, tracking_uri, tmp_path
):
    folder = tmp_path / "interrupted"
    process = start("--trials", 4, "--epochs", 20, "--study", folder)
    wait_until(lambda: len(reports(folder)) >= 3, runs=process)
    processes.press_ctrl_c(process)
    ended = processes.wait(process, seconds=60)

    assert ended.status == 130, ended.stderr
    assert "Best trial" in ended.stdout
    assert f"sentinel-tune search --resume '{folder}'" not in ended.stdout  # no quotes where none are needed
    assert f"--resume {folder}" in ended.stdout
    assert "Traceback" not in ended.stderr
    entries = read_plain(folder)
    assert (entries[-1]["event"], entries[-1]["reason"]) == ("end", "interrupted")
    paused = {entry["trial"] for entry in entries if entry["event"] == "pause"}
    told = {entry["trial"] for entry in entries if entry["event"] == "tell"}
    assert paused | told == {entry["trial"] for entry in entries if entry["event"] == "ask"}
    assert not [entry for entry in entries if entry["event"] in ("retry", "error")]
    parent, children = mlflow_children(tracking_uri, folder)
    assert parent.info.status == "KILLED"
    assert "RUNNING" not in {run.info.status for run in children.values()}

    process = processes.start("search", "--resume", folder, "--workers", 1)
    wait_until(lambda: len(reports(folder)) > sum(entry["event"] == "report" for entry in entries), runs=process)
    processes.press_ctrl_c(process)
    time.sleep(0.2)
    processes.press_ctrl_c(process)
    ended = processes.wait(process, seconds=60)
    assert ended.status == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert read_plain(folder)[: len(entries)] == entries
    assert read_plain(folder)[-1]["event"] == "end"
    wait_until(lambda: not processes.living(), seconds=30)

    again = cli("search", "--resume", folder, "--local", "--workers", 1, "--json")
    assert (again.status, again.result["n_trials"]) == (0, 4)
    check_journal(folder, n_trials=4)
    parent, children = mlflow_children(tracking_uri, folder)
    assert parent.info.run_id == again.result["parent_run_id"]
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}


def test_what_a_worker_cannot_load_is_refused_with_its_own_words(start, processes, tmp_path):
    space = tmp_path / "deep.yaml"
    text = (Path(__file__).parents[2] / "search_spaces" / "smoke.yaml").read_text()
    space.write_text(text.replace("int: [1, 2]", "int: [1, 9]"))
    ended = processes.wait(start("--space", space, "--cache", tmp_path / "cache", "--data", "demo:76"), seconds=120)

    assert ended.status == 2
    assert "tail.n_blocks <= 6" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "study").exists()


def test_two_searches_at_once_one_on_ray_and_one_without_share_one_extraction(processes, tracking_uri, tmp_path):
    cache = tmp_path / "cache"
    argv = [
        "search", "--data", "demo:300", "--cache", cache, "--space", PLAIN, "--trials", 2, "--epochs", 1,
        "--workers", 1, "--no-confirm", "--tracking-uri", tracking_uri, "--json",
    ]  # fmt: skip
    both = [
        processes.start(*argv, "--study", tmp_path / "ray"),
        processes.start(*argv, "--study", tmp_path / "local", "--local"),
    ]
    ended = [processes.wait(process) for process in both]

    assert [end.status for end in ended] == [0, 0], [end.stderr for end in ended]
    assert sum("extracted 300 images" in end.stderr for end in ended) == 1
    assert sum("nothing to extract" in end.stderr for end in ended) == 1
    assert len([path for path in (cache / "features").iterdir() if path.is_dir()]) == 1
    scores = [json.dumps(end.result["variants"]) for end in ended]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_is_not_there_is_refused_soon(start, processes, address):
    ended = processes.wait(start("--address", address), seconds=60)

    assert ended.status == 2
    assert f"joining {address} failed" in ended.stderr
    assert "Traceback" not in ended.stderr
