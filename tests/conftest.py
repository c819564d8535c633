"""What tests share: their own cache with a small demo in it, the command line here and in a process, no network."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from trainable.storage.remote_folder import RemoteFolder
from tune.cli import main

DEMO = "demo:120"
PLAIN = Path(__file__).with_name("plain.yaml")
"""A search space without adapters; its features are those of `smoke`."""

MARK = "SENTINEL_TUNE_TEST"
"""Environment variable by which a test knows the processes that it started, and theirs."""

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}


MADE_ONCE = {
    "confirmed_study": (
        *("confirm", "confirmation", "evaluate", "export_verb", "model_source", "predict", "registry", "retrain"),
        *(
            "served_model",
            "status",
            "submission_score",
            "flipped_bits",
            "report_page",
            "confirmed_floors",
            "tried_again",
        ),
    ),
    "storage_server": ("mirror", "remote_journal", "storage"),
}
"""What a session takes seconds to make: the files, without `test_`, that run in one process because of it."""

SECONDS = {"cluster": 30.0, "slow": 15.0, "seconds": 3.0}
"""What a test takes, roughly, by its marker."""


def unit_of(nodeid: str) -> str:
    """The tests of a unit run in one process, with what their fixtures have made: a file's, or several files'."""
    file = nodeid.partition("::")[0]
    name = Path(file).stem.removeprefix("test_")
    return next((fixture for fixture, names in MADE_ONCE.items() if name in names), file)


def seconds_of(item: pytest.Item) -> float:
    """What a test takes, roughly: a sixth of its own time limit, or what its marker says, or next to nothing."""
    if (limit := item.get_closest_marker("timeout")) is not None:
        return float(limit.args[0]) / 6
    return max((SECONDS.get(marker.name, 0.2) for marker in item.iter_markers()), default=0.2)


def pytest_configure(config: pytest.Config) -> None:
    """Units are put in order here, not by pytest-xdist."""
    config.option.loadscopereorder = False  # see `pytest_collection_modifyitems`


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, the units that take longest come first, so that no process is left with one of them at the end."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        return
    seconds: dict[str, float] = {}
    for item in items:
        seconds[unit_of(item.nodeid)] = seconds.get(unit_of(item.nodeid), 0.0) + seconds_of(item)
    items.sort(key=lambda item: (-seconds[unit_of(item.nodeid)], unit_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whatever `--dist` says: tests that are torn from their unit would make everything anew."""
    from xdist.scheduler import LoadScopeScheduling

    class UnitScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return UnitScheduling(config, log)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on stdout, and nothing else there."""
        lines = self.stdout.splitlines()
        assert len(lines) == 1, self.stdout
        return json.loads(lines[0])


Cli = Callable[..., Outcome]


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """A test that reaches for the network fails there, also where the machine has one."""
    is_on = True

    def guard(event: str, arguments: tuple[Any, ...]) -> None:
        if not is_on or event != "socket.connect" or not isinstance(arguments[1], tuple):
            return
        kind, host = arguments[0].type & 0xF, str(arguments[1][0])
        is_datagram = kind == 2  # connecting one sends nothing; it is how a host learns its own address
        if not is_datagram and host not in ("localhost", "::1") and not host.startswith("127."):
            raise ConnectionRefusedError(f"tests must not use the network, but one connects to {arguments[1]}")

    sys.addaudithook(guard)  # it cannot be taken off again, only told to rest
    yield
    is_on = False


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """Also where a shell runs the tests as a background job and has SIGINT ignored, which processes pass on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache, telemetry is off; yields the session's cache folder."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**QUIET, "SENTINEL_TUNE_CACHE": str(cache)}.items():
            patch.setenv(name, value)
        for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        yield cache


@pytest.fixture(scope="session")
def demo_cache(own_environment: Path) -> Path:
    """The session's cache with `DEMO` drawn and extracted for `--space smoke`; not to be damaged."""
    assert main(["extract", "--local", "--data", DEMO, "--space", "smoke", "--workers", "1"]) == 0
    return own_environment


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for the session: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process: `cli("search", "--trials", 3)`."""

    def run(*argv: object) -> Outcome:
        capsys.readouterr()
        status = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def demo_search(cli: Cli, demo_cache: Path, tracking_uri: str, tmp_path: Path) -> Cli:
    """Runs the shortest search in this process: three trials of two epochs into `tmp_path / "study"`, unconfirmed."""

    def run(*argv: object) -> Outcome:
        options: dict[str, object] = {
            "--data": DEMO,
            "--space": "smoke",
            "--trials": 3,
            "--epochs": 2,
            "--workers": 1,
            "--cache": demo_cache,
            "--tracking-uri": tracking_uri,
            "--study": tmp_path / "study",
        }
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        return cli("search", "--local", "--no-confirm", *words, *argv)

    return run


class ObjectStorage:
    """A real S3 server's process (moto), reached through a gate that can be shut: then connections are refused."""

    def __init__(self, folder: Path) -> None:
        self.server_port, self.port = free_port(), free_port()
        with (folder / "moto.log").open("wb") as log:
            words = ["moto_server", "-H", "127.0.0.1", "-p", str(self.server_port)]
            self._server = subprocess.Popen(words, stdout=log, stderr=log)
        self._gate: socketserver.ThreadingTCPServer | None = None
        self.open_gate()

    @property
    def endpoint(self) -> str:
        """The gate's address, for AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    def open_gate(self) -> None:
        """Let requests through."""
        server_port = self.server_port

        class Pass(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", server_port)) as server:
                    back = threading.Thread(target=pour, args=(server, self.request), daemon=True)
                    back.start()
                    pour(self.request, server)
                    back.join()

        class Gate(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads = True, True

            def __init__(self, *arguments: Any) -> None:
                self.connections: list[socket.socket] = []
                super().__init__(*arguments)

            def process_request(self, request: Any, client_address: Any) -> None:
                self.connections.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A connection that was cut is what shutting the gate means."""

        self._gate = Gate(("127.0.0.1", self.port), Pass)
        threading.Thread(target=self._gate.serve_forever, args=(0.02,), daemon=True).start()

    def shut_gate(self) -> None:
        """Refuse connections, and cut those that are."""
        gate: Any = self._gate
        gate.shutdown()
        gate.server_close()
        for connection in gate.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._gate = None

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.server_port)).close()
                return
            time.sleep(0.02)
        pytest.fail("moto_server did not come up")

    def make_bucket(self, name: str) -> None:
        from pyarrow.fs import S3FileSystem

        S3FileSystem(endpoint_override=self.endpoint, allow_bucket_creation=True).create_dir(name)

    def end(self) -> None:
        if self._gate is not None:
            self.shut_gate()
        self._server.kill()
        self._server.wait()


def pour(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one of the two ends."""
    with contextlib.suppress(OSError):
        while content := source.recv(2**16):
            target.sendall(content)
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(how)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


ACCESS_KEY, SECRET_KEY = "AKIAOFNOBODY3X7Q", "secret-of-nobody-5f2c9a"
BUCKET = "beetles"


@pytest.fixture(scope="session")
def storage_server(own_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """One S3 server for the session, with the bucket `BUCKET`; it and its credentials are in the environment."""
    assert own_environment.is_dir()
    if shutil.which("moto_server") is None:
        pytest.skip("moto_server is not installed: `pip install 'moto[server]'`")
    server = ObjectStorage(tmp_path_factory.mktemp("moto"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        server.wait_until_up()
        server.make_bucket(BUCKET)
        yield server
    server.end()


@pytest.fixture
def secrets_of_storage() -> tuple[str, str]:
    """What must be found nowhere."""
    return ACCESS_KEY, SECRET_KEY


@pytest.fixture
def remote(storage_server: ObjectStorage) -> RemoteFolder:
    """An empty folder on object storage, which is asked again for two seconds when it does not answer."""
    assert storage_server.endpoint
    return replace(RemoteFolder.parse(f"s3://{BUCKET}/{uuid.uuid4().hex}/study"), patience_seconds=2.0)


class Processes:
    """Starts command lines as processes of their own sessions, as a terminal does, and ends what they leave behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[bytes]] = []
        self._seen: dict[int, psutil.Process] = {}

    def start(self, *argv: object, **environment: str) -> subprocess.Popen[bytes]:
        """Run `sentinel-tune argv...` in `folder`; its output goes to files there."""
        return self.start_python("-m", "tune", *map(str, argv), **environment)

    def start_python(self, *argv: str, inside: Sequence[str] = (), **environment: str) -> subprocess.Popen[bytes]:
        """Run `python argv...` in the same way; inside: a command that runs it, such as `unshare`."""
        name = f"process-{len(self._started)}"
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen(
                [*inside, sys.executable, *argv],
                stdout=out,
                stderr=err,
                cwd=self.folder,
                env={**os.environ, MARK: self.mark, **environment},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def wait(self, process: subprocess.Popen[bytes], *, seconds: float = 240) -> Outcome:
        """Its end; fails when that does not come."""
        process.wait(timeout=seconds)
        return Outcome(process.returncode, self.output_of(process), self.errors_of(process))

    def output_of(self, process: subprocess.Popen[bytes]) -> str:
        """What it has written to stdout so far."""
        return (self.folder / f"process-{self._started.index(process)}.out").read_text()

    def errors_of(self, process: subprocess.Popen[bytes]) -> str:
        """What it has written to stderr so far."""
        return (self.folder / f"process-{self._started.index(process)}.err").read_text()

    def run(self, *argv: object, **environment: str) -> Outcome:
        """Start and wait."""
        return self.wait(self.start(*argv, **environment))

    def press_ctrl_c(self, process: subprocess.Popen[bytes]) -> None:
        """SIGINT to the whole foreground group, Ray's workers included, as a terminal sends it."""
        os.killpg(process.pid, signal.SIGINT)

    def living(self, title: re.Pattern[str] | None = None) -> list[psutil.Process]:
        """Processes that came of these command lines and still run; `title`: what their command line begins with.

        They are found by descent and by environment, and remembered: Ray's workers overwrite their environment when
        they name themselves, and orphans lose their descent.
        """
        for process in psutil.process_iter():
            try:
                if process.pid not in self._seen and self._is_ours(process):
                    self._seen[process.pid] = process
            except psutil.Error:
                continue
        return [process for process in self._seen.values() if _runs(process, title)]

    def _is_ours(self, process: psutil.Process) -> bool:
        roots = {started.pid for started in self._started}
        if roots & {process.pid, *(parent.pid for parent in process.parents())}:
            return True
        return process.environ().get(MARK) == self.mark

    def end_all(self) -> None:
        """SIGKILL to each that is left, by its id."""
        while living := self.living():
            for process in living:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(living, timeout=10)
        for started in self._started:
            started.wait(timeout=30)


def _runs(process: psutil.Process, title: re.Pattern[str] | None) -> bool:
    try:
        is_alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return is_alive and (title is None or title.match(" ".join(process.cmdline())) is not None)
    except psutil.Error:
        return False


@pytest.fixture
def processes(tmp_path: Path, own_environment: Path) -> Iterator[Processes]:
    """Command lines as real processes; none outlives the test."""
    del own_environment  # set, so that processes inherit it
    group = Processes(tmp_path)
    yield group
    group.end_all()
