"""A Ray head with a job server and a token, on free ports of the loopback, in a home of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

BIN = Path(sys.executable).parent


class JobHead:
    """address: of its job server. home: `~` of whoever uses it; its token lies there. folder: Ray's own files."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home = home
        self.folder = Path(tempfile.mkdtemp(prefix="head-"))  # sockets lie within, whose paths must be short
        self.address = f"http://127.0.0.1:{_free_port()}"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started: list[subprocess.Popen[str]] = []

    @property
    def token(self) -> str:
        """What opens it."""
        return (self.home / ".ray" / "auth_token").read_text().strip()

    def start(self) -> None:
        """Make a token and start; returns when the job server answers."""
        self.run("ray", "get-auth-token", "--generate")
        ports = {
            "--port": 0,
            "--dashboard-port": self.address.rpartition(":")[2],
            "--ray-client-server-port": _free_port(),
        }
        where = {"--node-ip-address": "127.0.0.1", "--dashboard-host": "127.0.0.1", "--temp-dir": self.folder}
        size = {"--num-cpus": 1, "--object-store-memory": 100 * 2**20, "--dashboard-agent-listen-port": 0}
        words = [str(word) for pair in (ports | where | size).items() for word in pair]
        environment = self.environment(RAY_AUTH_MODE="token", **self._environment)
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(BIN / "ray"), "start", "--head", "--block", *words],
                env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 90
        while not _answers(f"{self.address}/api/version"):
            assert self._process.poll() is None, (self.folder / "start.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "start.log").read_text()
            time.sleep(0.2)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process of this home, which knows nothing of where the tests find the project."""
        dropped = ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_MODE")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return {**kept, "HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}", **more}

    def start_process(self, *command: str, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
        """Start a command; its stdout and stderr are one pipe."""
        process = subprocess.Popen(
            command, env=self.environment(**more), cwd=cwd or self.home, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._started.append(process)
        return process

    def run(self, *command: str, cwd: Path | None = None, **more: str) -> tuple[int, str]:
        """A command's exit status, and its stdout and stderr."""
        process = self.start_process(*command, cwd=cwd, **more)
        shown, _ = process.communicate(timeout=240)
        return process.returncode, shown

    def stop_job(self, job_id: str) -> None:
        """What `ray job stop` sends, without the seconds that its start takes."""
        headers = {"Authorization": f"Bearer {self.token}"}
        urlopen(Request(f"{self.address}/api/jobs/{job_id}/stop", method="POST", headers=headers), timeout=30).close()

    def end(self) -> None:
        """End every process of it, and remove its files."""
        for started in self._started:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
            started.communicate()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def job_head(home: Path, environment: Mapping[str, str]) -> Iterator[JobHead]:
    """environment: what its workers and jobs have, too."""
    home.mkdir(parents=True, exist_ok=True)
    head = JobHead(home, environment)
    try:
        head.start()
        yield head
    finally:
        head.end()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        urlopen(url, timeout=2).close()
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
    return True
