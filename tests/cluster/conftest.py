"""A real Ray cluster of several nodes on this machine: one loopback address a node, a token, ports of its own."""

import contextlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

STARTING_SECONDS = 90

SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""Ray's own settings, under which the death of a node is noticed within seconds."""


class RayCluster:
    """Nodes as `ray start` processes; the first one started is the head, at 127.0.0.1."""

    def __init__(self, processes) -> None:
        self._processes = processes
        self._folder = Path(tempfile.mkdtemp(prefix="rc"))  # short: Ray's sockets lie in it
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.address = ""
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start_head(self, *, n_cpus: int = 0) -> None:
        """Start the head; the cluster then has `address`."""
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        words = ["--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", str(self._folder)]
        self._start("127.0.0.1", words, n_cpus, [])

    def start_worker(self, ip: str, *, n_cpus: int = 1, inside: tuple[str, ...] = ()) -> None:
        """Start a node that joins the head; inside: a command that runs it, such as `unshare`."""
        self._start(ip, ["--address", self.address], n_cpus, list(inside))

    def kill(self, ip: str) -> None:
        """SIGKILL to everything that runs on a node, its raylet first: what a lost machine looks like to the others."""
        process = self._nodes.pop(ip)
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in sorted(tree, key=lambda one: "raylet" not in one.name()):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(tree, timeout=10)

    def workers_of(self, ip: str) -> list[psutil.Process]:
        """What Ray runs on a node now: actors and tasks."""
        found = []
        for process in psutil.Process(self._nodes[ip].pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                    found.append(process)
        return found

    def close(self) -> None:
        """Kill what is left and remove the cluster's folder."""
        for ip in list(self._nodes):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.kill(ip)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, ip: str, words: list[str], n_cpus: int, inside: list[str]) -> None:
        argv = [
            "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--node-ip-address", ip,
            "--num-cpus", str(n_cpus), "--object-store-memory", str(80 * 2**20), *words,
        ]  # fmt: skip
        process = self._processes.start_python(*argv, inside=inside, **self.environment, **SOON)
        self._nodes[ip] = process
        deadline = time.monotonic() + STARTING_SECONDS
        while "Ray runtime started" not in (output := self._processes.output_of(process)):
            assert process.poll() is None, f"node {ip} did not start: {output}"
            assert time.monotonic() < deadline, f"node {ip} did not start in time: {output}"
            time.sleep(0.1)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def ray_cluster(processes) -> Iterator[RayCluster]:
    """A cluster without nodes yet; those started are killed at the end."""
    cluster = RayCluster(processes)
    yield cluster
    cluster.close()


def wait_until(condition: Callable[[], object], *, seconds: float = 120, runs: subprocess.Popen | None = None) -> None:
    """Wait for it; not longer than `runs` does, on which it depends."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        assert runs is None or runs.poll() is None, "the process ended before"
        time.sleep(0.05)
