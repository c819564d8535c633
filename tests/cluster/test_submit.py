"""Jobs from an uninstalled working folder, on a real head with a token: by Ray's own command and by `submit`."""

import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.job_head import JobHead, job_head
from tests.cluster.source_tree import copy_source
from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain

pytestmark = pytest.mark.cluster

SECRET = secrets.token_hex(20)
SUBMIT = ("python", "-m", "tune", "submit")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all nodes."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def head(place: Path, demo_cache: Path) -> Iterator[JobHead]:
    """Its nodes have a secret, the MLflow address and the cache in their environment."""
    environment = {
        "AWS_SECRET_ACCESS_KEY": SECRET, "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
        "SENTINEL_TUNE_CACHE": str(demo_cache),
    }  # fmt: skip
    with job_head(place / "home", environment) as started:
        yield started


@pytest.fixture(scope="module")
def sent(place: Path) -> Path:
    """The folder to send: a copy of the project that tells who imported it, with a space that nobody else has."""
    folder = copy_source(place / "sent")
    shutil.copy(PLAIN, folder / "search_spaces" / "only_here.yaml")
    (folder / ".env").write_text(f"AWS_SECRET_ACCESS_KEY={SECRET}\n")
    (folder / "studies").mkdir()
    (folder / "studies" / "large.bin").write_bytes(bytes(1000))
    mark = "import os, pathlib\npathlib.Path(__file__).with_name(f'imported-by-{os.getpid()}').touch()\n"
    with (folder / "trainable" / "ray_trial.py").open("a") as file:
        file.write(mark)
    return folder


def search(study: Path, *, epochs: int) -> list[str]:
    options = {"--data": "demo:120", "--space": "only_here", "--trials": 3, "--epochs": epochs, "--study": study}
    return ["search", "--no-confirm", *(str(word) for pair in options.items() for word in pair)]


def test_without_the_cluster_s_token_a_job_is_refused(head, sent, place):
    stranger = {"HOME": str(place / "stranger")}
    (place / "stranger").mkdir()

    by_ray = head.run(
        "ray", "job", "submit", "--address", head.address, "--", "true", RAY_AUTH_MODE="disabled", **stranger
    )
    words = (*SUBMIT, "--address", head.address, "--", *search(place / "refused", epochs=1))
    missing = head.run(*words, cwd=sent, **stranger)
    wrong = head.run(*words, cwd=sent, RAY_AUTH_TOKEN="0123456789abcdef", **stranger)

    assert by_ray[0] != 0
    assert "Authentication required" in by_ray[1]
    assert (missing[0], missing[1].count("\n")) == (2, 1), missing[1]
    assert "asks for the cluster's token" in missing[1]
    assert (wrong[0], wrong[1].count("\n")) == (2, 1), wrong[1]
    assert "refused the one sent" in wrong[1]
    assert not (place / "refused").exists()


def test_ray_s_own_command_runs_the_folder_that_was_sent_streams_and_tells_how_it_ended(head, sent, place):
    study = place / "by-ray"
    ray = ["ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", "python", "-m", "tune"]

    status, shown = head.run(*ray, *search(study, epochs=2), cwd=sent, RAY_AUTH_MODE="token")

    assert status == 0, shown
    assert "3/3 done" in shown
    assert f"{study}: 3 trials" in shown
    files = [path for path in head.folder.rglob("*") if "working_dir_files" in path.parts]
    assert len([path for path in files if path.name.startswith("imported-by-")]) >= 2  # the driver and a worker
    assert not [path for path in files if path.name in (".env", "large.bin")]


def test_a_job_is_followed_left_stopped_and_gone_on_with_without_losing_an_epoch(head, sent, place):
    study = place / "study"
    named = (*SUBMIT, "--address", head.address, "--job-id", "long-one", "--", *search(study, epochs=100))

    following = head.start_process(*named, cwd=sent)
    wait_for_reports(study, 2)
    os.killpg(following.pid, signal.SIGINT)
    head.stop_job("long-one")
    shown, _ = following.communicate(timeout=60)
    assert following.returncode == 130, shown
    assert "the job goes on" in shown
    assert f"ray job stop --address {head.address} long-one" in shown
    assert "data demo:120: 120 specimens" in shown  # what the job printed was seen as it came
    status, again = head.run(*named, cwd=sent)  # sent anew, it is found and told of
    assert status == 130, again
    assert "job long-one is there already" in again
    assert "finishing the running epochs" in again
    before = list(read_plain(study))

    resume = ("search", "--resume", str(study))
    status, shown = head.run(*SUBMIT, "--address", head.address, "--json", "--", *resume, cwd=sent)

    assert status == 0, shown
    result = json.loads(shown.splitlines()[-1])
    assert (result["state"], result["exit_status"], result["results"]) == ("SUCCEEDED", 0, str(study))
    after = list(read_plain(study))
    assert after[: len(before)] == before
    assert before[-1]["event"] == "end"
    assert before[-1]["state"] == "interrupted"
    for trial in {entry["trial"] for entry in after if entry["event"] == "tell"}:
        epochs = [entry["epoch"] for entry in after if entry["event"] == "report" and entry["trial"] == trial]
        assert epochs == list(range(1, len(epochs) + 1))


def test_retraining_and_evaluation_are_jobs_too_with_their_own_exit_status(head, sent, place):
    out, submit = place / "champion", (*SUBMIT, "--address", head.address, "--")

    retrain = f"retrain {place / 'by-ray'} --trial t0001 --no-register --epochs 1 --out {out}".split()
    status, shown = head.run(*submit, *retrain, cwd=sent)
    assert status == 0, shown
    status, shown = head.run(*submit, "evaluate", str(out / "model"), "--data", "demo:120", cwd=sent)
    assert status == 0, shown
    assert "CRPS" in shown
    lost = ("--tracking-uri", "sqlite:///mlflow.db")
    status, shown = head.run(*submit, *search(place / "lost", epochs=1), *lost, cwd=sent)
    assert status == 2, shown
    assert "the MLflow tracking URI must outlive the job" in shown
    assert "failed with exit status 2" in shown


def test_no_secret_is_in_logs_jobs_studies_or_records(head, sent, place):
    """After all of the above: the environment of the nodes was used, and stayed there."""
    status, _ = head.run(
        *SUBMIT, "--env", "AWS_SECRET_ACCESS_KEY", "--", "extract", cwd=sent, AWS_SECRET_ACCESS_KEY=SECRET
    )
    assert status == 2

    status, jobs = head.run("ray", "list", "jobs", "--detail", "--address", head.address, RAY_AUTH_MODE="token")
    assert status == 0, jobs
    assert "long-one" in jobs
    assert "RAY_JOB_STOP_SIGNAL" in jobs  # what is passed on is seen
    for secret in (SECRET, head.token):
        assert secret not in jobs
        for folder in (head.folder, place / "study", place / "by-ray", place / "champion", place / "mlruns"):
            assert files_with(secret, folder) == []
        assert secret.encode() not in (place / "mlflow.db").read_bytes()
    assert sqlite3.connect(place / "mlflow.db").execute("select count(*) from runs").fetchone()[0] >= 8


def files_with(text: str, folder: Path) -> list[str]:
    found = subprocess.run(["grep", "-rlaF", "-D", "skip", "--", text, str(folder)], capture_output=True, text=True)
    return found.stdout.splitlines()


def wait_for_reports(study: Path, n: int) -> None:
    deadline = time.monotonic() + 90
    while not (study / "journal.jsonl").exists() or (study / "journal.jsonl").read_text().count('"report"') < n:
        assert time.monotonic() < deadline
        time.sleep(0.1)
