"""The Ray that a search starts for itself: who can reach it, which signals do, and what its death does."""

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from tune.cluster.own_ray import SOCKET_PATH_BYTES, _session_folder

DAEMONS = ("gcs_server", "raylet")
LOOPBACK = re.compile(r"(::ffff:)?127\.|::1$")


@pytest.fixture
def search(processes, demo_cache, tracking_uri, tmp_path):
    """A search of many epochs that has reported some, on a Ray of its own."""
    process = processes.start(
        "search", "--data", "demo:120", "--cache", demo_cache, "--space", PLAIN, "--trials", 4, "--epochs", 40,
        "--workers", 1, "--no-confirm", "--tracking-uri", tracking_uri, "--study", tmp_path / "study",
        HOME=str(tmp_path / "home"), RAY_TMPDIR="/tmp",
    )  # fmt: skip
    wait_until(lambda: n_reports(tmp_path / "study") >= 2, process)
    return process


def n_reports(folder: Path) -> int:
    try:
        return sum(event["event"] == "report" for event in read_plain(folder))
    except UserError:
        return 0  # not begun yet


def wait_until(condition, process=None, *, seconds=240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert process is None or process.poll() is None, "the process ended before"
        time.sleep(0.05)


def check_end(ended, folder: Path, tracking_uri: str, reason: str) -> None:
    """In order: the journal's last word, the table with how to go on, and no run of MLflow that seems to go on."""
    assert ended.status == 130, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"sentinel-tune search --resume {folder}" in ended.stdout
    (*_, end) = read_plain(folder)
    assert (end["event"], end["state"], end["reason"]) == ("end", "interrupted", reason)
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("sentinel-tune")
    runs = client.search_runs([experiment.experiment_id], f"tags.`hpo.study` = '{folder.name}'")
    assert runs
    assert not {run.info.status for run in runs} & {"RUNNING", "FAILED"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nobody_else_reaches_it_and_a_signal_to_the_whole_group_ends_the_search_after_the_epoch(
    search, processes, tracking_uri, tmp_path
):
    living = processes.living()
    listening = [c.laddr for process in living for c in process.net_connections("inet") if c.status == "LISTEN"]
    assert len(listening) > 5
    assert [place for place in listening if not LOOPBACK.match(place.ip)] == []
    for place in listening:
        assert answer(place.port) in ("nothing", "401"), place
    assert not (tmp_path / "home" / ".ray" / "auth_token").exists()
    words = [word for process in living for word in process.cmdline()]
    (folder,) = {Path(word.partition("=")[2]) for word in words if word.startswith("--session_dir=")}
    assert len([*folder.glob("logs/worker-*.out")]) == 1  # what trains, and none that waits for work
    outer = folder.parents[1]
    assert outer.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        assert subprocess.run(["ls", folder], user=65534, group=65534, capture_output=True).returncode != 0
    assert {process.name() for process in living} >= set(DAEMONS)
    own = {process.name() for process in living if os.getpgid(process.pid) == search.pid}
    assert all(name.startswith("python") for name in own), own

    os.killpg(search.pid, signal.SIGTERM)
    ended = processes.wait(search)

    check_end(ended, tmp_path / "study", tracking_uri, "interrupted")
    assert not [event for event in read_plain(tmp_path / "study") if event["event"] in ("retry", "error")]
    wait_until(lambda: not processes.living(), seconds=60)
    assert not outer.exists()


def answer(port: int) -> str:
    """What who has no token gets from a port by HTTP."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return "nothing"
    except Exception:  # an answer that is not HTTP: gRPC, which asks for the token itself
        return "nothing"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("daemon", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_the_death_of_its_daemon_ends_the_search_in_order(search, processes, tracking_uri, tmp_path, daemon, name):
    (victim,) = [process for process in psutil.Process(search.pid).children() if process.name() == daemon]
    victim.kill()
    ended = processes.wait(search, seconds=60)

    assert f"stopping: the {name} of its own Ray was killed or crashed" in ended.stderr
    check_end(ended, tmp_path / "study", tracking_uri, f"the {name} of its own Ray was killed or crashed")


# Where it cannot start


def test_a_folder_too_deep_for_sockets_is_refused_with_a_remedy_and_left_as_it_was(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * SOCKET_PATH_BYTES)
    deep.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    with pytest.raises(UserError, match=r"must have at most \d+ bytes.*RAY_TMPDIR=/tmp.*--local"):
        _session_folder()
    assert list(deep.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "not there"))
    with pytest.raises(UserError, match=r"not there.*set RAY_TMPDIR"):
        _session_folder()


def test_every_start_has_a_new_folder_that_its_user_alone_may_enter(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    folders = [_session_folder(), _session_folder()]
    try:
        assert folders[0] != folders[1]
        assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    finally:
        for folder in folders:
            folder.rmdir()
