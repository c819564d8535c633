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
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.conftest import Processes

SOON = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_prestart_worker_first_driver": "0",
}
"""Ray's own settings, under which the death of a node or head is noticed within seconds, a slow start is none, and no
worker is started that nobody asked for."""


class RayCluster:
    """Nodes as `ray start` processes, each known by its IP; the one started first is the head."""

    def __init__(self, processes: "Processes") -> None:
        self._processes = processes
        self._folder = Path(tempfile.mkdtemp(prefix="rc"))  # short: Ray's sockets lie in it
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **SOON}
        self.address = ""

    def choose_address(self, ip: str = "127.0.0.1") -> None:
        """Where the head will be, for those who must know before it is started."""
        self.address = f"{ip}:{free_port(ip)}"

    def start_head(self, ip: str = "127.0.0.1", *, n_cpus: int = 0, words: tuple[str, ...] = ()) -> None:
        """Start the head; the cluster then has an `address`. words: further ones for `ray start`."""
        if not self.address:
            self.choose_address(ip)
        port = self.address.rpartition(":")[2]
        own = ["--head", "--port", port, "--include-dashboard", "false", "--temp-dir", str(self._folder)]
        own += ["--ray-client-server-port", str(free_port(ip))]  # there may be another head beside this one
        self._start(ip, [*own, *words], n_cpus, ())

    def start_worker(
        self, ip: str, *, n_cpus: int = 1, inside: tuple[str, ...] = (), words: tuple[str, ...] = ()
    ) -> None:
        """Start a node that joins the head; inside: a command that runs it, such as `unshare`."""
        self._start(ip, ["--address", self.address, *words], n_cpus, inside)

    def wait_until(
        self, condition: Callable[[], object], *, runs: subprocess.Popen[bytes], seconds: float = 240
    ) -> None:
        """Wait for it; not longer than `runs` does, on which it depends."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            assert runs.poll() is None, f"the process ended before: {self._processes.errors_of(runs)}"
            time.sleep(0.05)

    def kill(self, ip: str) -> None:
        """SIGKILL to everything that runs on a node, its raylet first: what a lost machine looks like to the others."""
        process = self._nodes.pop(ip)
        if self.address.startswith(f"{ip}:"):
            self.address = ""
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in sorted(tree, key=lambda one: "raylet" not in one.name()):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(tree, timeout=10)

    def is_up(self) -> bool:
        """Whether all nodes that were started and not killed still run."""
        return all(process.poll() is None for process in self._nodes.values())

    def is_at_work(self, ip: str, title: str) -> bool:
        """Whether a node runs an actor or task, `title` as Ray names its process."""
        return bool(self._at_work(ip, title))

    def suspend(self, ip: str, title: str) -> bool:
        """Stop those that a node runs where they are, alive but not going on; whether there was one."""
        found = self._at_work(ip, title)
        for process in found:
            process.suspend()
        return bool(found)

    def resume(self, ip: str, title: str) -> None:
        """Let go on what `suspend` stopped."""
        for process in self._at_work(ip, title):
            process.resume()

    def _at_work(self, ip: str, title: str) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self._nodes[ip].pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    def close(self) -> None:
        """Kill what is left and remove the cluster's folder."""
        for ip in list(self._nodes):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.kill(ip)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, ip: str, words: list[str], n_cpus: int, inside: tuple[str, ...]) -> None:
        argv = [
            "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--node-ip-address", ip,
            "--num-cpus", str(n_cpus), "--object-store-memory", str(80 * 2**20),
            "--include-log-monitor", "false", *words,  # nobody reads the logs from elsewhere
        ]  # fmt: skip
        self._nodes[ip] = process = self._processes.start_python(*argv, inside=inside, **self.environment)
        self.wait_until(lambda: "Ray runtime started" in self._processes.output_of(process), runs=process)


def free_port(ip: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind((ip, 0))
        return int(one.getsockname()[1])


@pytest.fixture
def ray_cluster(processes) -> Iterator[RayCluster]:
    """A cluster without nodes yet; those started are killed at the end."""
    cluster = RayCluster(processes)
    yield cluster
    cluster.close()
