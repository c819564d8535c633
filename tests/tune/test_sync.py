"""`sync` brings MLflow to the journal's content, once, wherever it is told to."""

import shutil
import socket
from pathlib import Path

import pytest

from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from tune.journal.journal import Journal
from tune.tracking.uri import chosen_tracking_uri, default_tracking_uri


def n_reports(study: Path) -> int:
    return sum(entry["event"] == "report" for entry in read_plain(study))


def test_after_a_search_there_is_nothing_to_send_to_the_place_that_the_study_knows(cli, finished_study, tracking_uri):
    outcome = cli("sync", finished_study)
    assert outcome.status == 0
    assert outcome.stdout.startswith(f"{tracking_uri} holds beetles: 6 runs, 0 of them new, 0 metric values sent, in ")
    assert outcome.stdout.count("\n") == 1


@pytest.mark.seconds
def test_another_experiment_gets_everything_once(cli, finished_study, tracking_uri):
    first = cli("sync", finished_study, "--experiment", "another", "--json").result
    assert (first["n_runs"], first["n_created"], first["running"]) == (6, 6, False)
    assert (first["tracking_uri"], first["experiment"], first["problems"]) == (tracking_uri, "another", [])
    assert first["n_metrics"] > 20 * n_reports(finished_study)
    again = cli("sync", finished_study, "--experiment", "another", "--json").result
    assert (again["n_created"], again["n_metrics"], again["n_duplicates"]) == (0, 0, 0)
    assert again["parent_run_id"] == first["parent_run_id"]


@pytest.mark.seconds
def test_a_study_that_runs_is_synced_as_running(cli, finished_study, tmp_path):
    study = Path(shutil.copytree(finished_study, tmp_path / "copy"))
    with Journal.open(study, say=print):
        assert cli("sync", study, "--experiment", "while it runs", "--json").result["running"] is True


def test_the_place_is_the_wanted_one_then_the_environment_then_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert chosen_tracking_uri(None) == default_tracking_uri(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    assert chosen_tracking_uri(None) == "http://mlflow.example:5000"
    assert chosen_tracking_uri("sqlite:///here.db") == f"sqlite:///{tmp_path}/here.db"
    with pytest.raises(UserError, match="plain folders"):
        chosen_tracking_uri("mlruns")


def test_a_place_that_cannot_be_is_one_clear_line_before_anything_is_sent(cli, finished_study):
    outcome = cli("sync", finished_study, "--tracking-uri", "ftp://somewhere")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_server_that_is_down_is_one_clear_line(cli, finished_study):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = cli("sync", finished_study, "--tracking-uri", f"http://ada:geheim@127.0.0.1:{port}")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "must answer" in outcome.stderr
    assert "nothing is lost or doubled" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert "geheim" not in outcome.stderr
