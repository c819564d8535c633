"""`ui` shows a study in MLflow's own pages and leaves nothing running."""

import os
import signal
import socket
import subprocess
import sys
from urllib.request import urlopen

import psutil
import pytest

from docs.site.browsing import served


@pytest.mark.slow
def test_the_server_answers_at_the_printed_address_beside_a_taken_port_and_ends_with_ctrl_c(finished_study):
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "tune", "ui", str(finished_study), "--port", str(port)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            page = process.stdout.readline().strip()
            family = psutil.Process(process.pid).children(recursive=True)
            with urlopen(page) as answer:
                assert b"<title>MLflow" in answer.read()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"port {port} is taken" in said
    charts = page.partition("?")[0] + "?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey="
    assert f"\nas charts: {charts}" in said
    assert "#/experiments/" in page
    assert "viewStateShareKey=" in page
    assert family
    assert psutil.wait_procs(family, timeout=30)[1] == []


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_server_of_the_pictures_ends_also_where_ctrl_c_is_ignored_as_in_the_background(finished_study):
    others = psutil.Process().children(recursive=True)  # of earlier tests
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which the server inherits
    try:
        with served(str(finished_study)) as page:
            assert page.startswith("http://127.0.0.1:")
            family = [child for child in psutil.Process().children(recursive=True) if child not in others]
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(family) > 1
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_a_server_that_runs_already_is_named_and_not_started(cli, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:geheim@mlflow.example:5000")
    outcome = cli("ui")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout == "http://***@mlflow.example:5000/#/experiments?workflowType=machine_learning\n"


def test_a_database_that_is_not_there_is_one_clear_line(cli, tmp_path):
    outcome = cli("ui", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert f"{tmp_path}/mlflow.db does not" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
