"""The recipe of docs/mlflow.md, run: PostgreSQL, S3, passwords; tracked, synced after an outage, registered, loaded."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "mlflow.md").read_text(encoding="utf-8")
SECRETS = {
    name: f"{name.lower()}-{secrets.token_hex(12)}"
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_ADMIN_PASSWORD")
}
HISTORIES = {"score/all", "score", "score/best", "study/floor_constant"}
"""Metrics that are compared value for value; of the others, the latest one."""

PASSWORD = f"ada-{secrets.token_hex(12)}"


def block(language: str, *, holding: str) -> str:
    """The one fenced block of the recipe that holds a text."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    (text,) = [body for body in found if holding in body]
    return text


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], Any], *, seconds: float = 90, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def end(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a process and those that it started, and wait."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    process.wait(60)


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """A PostgreSQL of its own on loopback with the recipe's two databases; yields its port."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]))
    initdb = shutil.which("initdb", path=str(programs[-1])) if programs else shutil.which("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: postgresql)")
    psycopg = pytest.importorskip("psycopg", reason="needs psycopg[binary]")
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()  # of another user, so not in pytest's
    (folder / "password").write_text(SECRETS["PGPASSWORD"])
    who: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        who = {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    words = [initdb, "-D", str(folder / "data"), "-U", "mlflow", "-A", "scram-sha-256", "--no-sync"]
    words.append(f"--pwfile={folder}/password")
    made = subprocess.run(words, cwd=folder, check=False, capture_output=True, text=True, **who)
    assert made.returncode == 0, made.stderr
    options = [f"-p{port}", f"-k{folder}", "-hlocalhost", "-F"]
    with (folder / "log").open("wb") as log:
        words = [str(Path(initdb).with_name("postgres")), "-D", str(folder / "data"), *options]
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True, **who)
    account = {"host": "127.0.0.1", "port": port, "user": "mlflow", "password": SECRETS["PGPASSWORD"]}

    def is_up() -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(**account, dbname="postgres"):
            return True
        return False

    try:
        until(is_up, what=lambda: (folder / "log").read_text())
        with psycopg.connect(**account, dbname="postgres", autocommit=True) as connection:
            for name in ("mlflow", "mlflow_auth"):
                connection.execute(f"CREATE DATABASE {name}")
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # its "fast shutdown"
        process.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 server with the recipe's bucket; yields its address."""
    if shutil.which("moto_server") is None:
        pytest.skip("moto_server is not installed: pip install 'moto[server]'")
    port = free_port()
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        words = ["moto_server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: answers(port))
        address = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{address}/beetles-mlflow", method="PUT")).close()
        yield address
    finally:
        end(process, signal.SIGKILL)


@dataclass
class Server:
    """The recipe's server, with the addresses of this machine in it."""

    folder: Path
    postgres: int
    storage: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def here(self, text: str) -> str:
        """A text of the recipe, with this machine's addresses."""
        for there, here in {
            "db.example:5432": f"127.0.0.1:{self.postgres}", "/etc/mlflow": str(self.folder), "10.0.0.5": "127.0.0.1",
            "--port 5000": f"--port {self.port}", "http://mlflow.example:5000": self.uri,
        }.items():  # fmt: skip
            text = text.replace(there, here)
        return text

    def start(self) -> None:
        (self.folder / "auth.ini").write_text(self.here(block("ini", holding="[mlflow]")))
        values = {**SECRETS, "AWS_ACCESS_KEY_ID": "nobody", "AWS_ENDPOINT_URL": self.storage}
        named = re.findall(r"^(\w+)=", block("ini", holding="PGPASSWORD"), flags=re.MULTILINE)
        assert set(named) == values.keys() - {"AWS_ENDPOINT_URL"}
        (self.folder / "secrets").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        (self.folder / "secrets").chmod(0o600)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", self.here(block("bash", holding="mlflow server"))],
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        until(self.is_up, what=lambda: self.log.read_text()[-3000:])

    def is_up(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def end(self) -> None:
        if self.process is not None:
            end(self.process, signal.SIGKILL)


@pytest.fixture(scope="module")
def server(postgres: int, bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with one user, ada, made as the recipe says."""
    pytest.importorskip("flask_wtf", reason="needs mlflow[auth]")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    made = Server(tmp_path_factory.mktemp("mlflow-server"), postgres, bucket, free_port())
    try:
        made.start()
        make_user = made.here(block("bash", holding="users/create")).replace("at least 12 characters", PASSWORD)
        make_user = make_user.replace("-u admin", f"-sf -u admin:{SECRETS['MLFLOW_AUTH_ADMIN_PASSWORD']}")
        subprocess.run(["bash", "-c", make_user], check=True, capture_output=True)
        yield made
    finally:
        made.end()


@pytest.fixture
def as_ada(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The environment of the recipe's driver, which knows nothing of database and bucket."""
    for name, value in {"URI": server.uri, "USERNAME": "ada", "PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    return server


def status_of(server: Server, *, host: str, path: str = "/api/2.0/mlflow/experiments/search?max_results=1") -> int:
    request = urllib.request.Request(server.uri + path, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def client_of(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def content(uri: str, experiment: str) -> dict[str, Any]:
    """All that the experiment's runs hold, by trial; without what a server makes up."""
    client, found = client_of(uri), {}
    for run in client.search_runs([client.get_experiment_by_name(experiment).experiment_id]):
        key = run.data.tags.get("hpo.trial", "study")
        assert key not in found
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in HISTORIES & {*run.data.metrics}}
        found[key] = {
            "params": run.data.params,
            "tags": {
                name: value.replace(run.info.run_id, "RUN").replace(f"experiments/{run.info.experiment_id}/", "")
                for name, value in run.data.tags.items()
                if name != "mlflow.parentRunId"
            },
            "metrics": {name: repr(value) for name, value in run.data.metrics.items()},
            "histories": {
                name: sorted((point.step, repr(point.value), point.timestamp) for point in points)
                for name, points in histories.items()
            },
            "end": (run.info.status, run.info.end_time),
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
    return found


def assert_secret(text: str | bytes, where: object) -> None:
    raw = text.encode() if isinstance(text, str) else text
    for secret in (PASSWORD, *SECRETS.values()):
        assert secret.encode() not in raw, where


def test_only_who_has_a_password_and_uses_its_name_gets_in(as_ada, cli, confirmed_study, monkeypatch):
    assert status_of(as_ada, host=f"mlflow.example:{as_ada.port}") == 401
    assert status_of(as_ada, host="evil.example") == 403
    assert status_of(as_ada, host="evil.example", path="/health") == 200

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a wrong password")
    outcome = cli("sync", confirmed_study, "--tracking-uri", as_ada.uri)
    assert (outcome.status, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    assert "MLFLOW_TRACKING_PASSWORD" in outcome.stderr
    assert "a wrong password" not in outcome.stderr


def test_an_experiment_of_someone_else_is_told_with_the_remedy(as_ada, cli, confirmed_study, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])
        client_of(as_ada.uri).create_experiment("of-the-administrator")
    outcome = cli("sync", confirmed_study, "--tracking-uri", as_ada.uri, "--experiment", "of-the-administrator")

    assert (outcome.status, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    assert "another --experiment" in outcome.stderr


def test_an_outage_in_the_middle_of_a_search_is_made_good_by_sync(as_ada, processes, cli, demo_cache, tmp_path):
    study, experiment = tmp_path / "study", "ada-beetles"
    options = [
        "--local", "--data", "demo:120", "--space", "smoke", "--trials", 6, "--epochs", 4, "--workers", 1,
        "--no-confirm", "--cache", demo_cache, "--study", study, "--experiment", experiment,
    ]  # fmt: skip
    client_of(as_ada.uri).create_experiment(experiment)  # MLflow killed while it makes one leaves it without an owner
    search = processes.start("search", *options)
    journal = study / "journal.jsonl"
    until(lambda: journal.exists() and '"tell"' in journal.read_text())
    search.send_signal(signal.SIGSTOP)  # so that it has not ended when the server is gone
    as_ada.end()
    search.send_signal(signal.SIGCONT)
    outcome = processes.wait(search)
    as_ada.start()
    first, again = (cli("sync", study, "--json").result for _ in range(2))
    local = f"sqlite:///{tmp_path / 'here.db'}"
    assert cli("sync", study, "--tracking-uri", local).status == 0

    assert outcome.status == 0
    assert "sentinel-tune sync" in outcome.stderr
    assert first["n_metrics"] > 0
    assert (again["n_created"], again["n_metrics"], again["problems"]) == (0, 0, [])
    assert content(as_ada.uri, experiment) == content(local, experiment)
    for path in (path for path in study.rglob("*") if path.is_file()):
        assert_secret(path.read_bytes(), path)
    for text in (outcome.stdout, outcome.stderr, as_ada.log.read_text(), repr(content(as_ada.uri, experiment))):
        assert_secret(text, text[:200])


def test_a_retrained_model_is_registered_and_loaded_over_http(as_ada, cli, confirmed_study, tmp_path):
    name, photograph = "ada-beetles", tmp_path / "beetle.jpg"
    Image.new("RGB", (90, 70), (120, 90, 40)).save(photograph)
    words = ["--workers", 1, "--name", name, "--tracking-uri", as_ada.uri, "--json"]
    retrained = cli("retrain", confirmed_study, "--out", tmp_path / "out", *words).result
    assert retrained["registry_uri"] == f"models:/{name}/1"

    client = client_of(as_ada.uri)
    assert client.get_registered_model(name).aliases.keys() >= {"candidate"}
    assert client.get_model_version(name, "1").source.startswith(("models:/", "mlflow-artifacts:/"))
    client.set_registered_model_alias(name, "champion", "1")
    here, there = (
        cli("predict", model, photograph, "--workers", 1, "--json").result["specimens"]
        for model in (tmp_path / "out" / "model", f"models:/{name}@champion")
    )
    assert there == here
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        assert_secret(path.read_bytes(), path)
