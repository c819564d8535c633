"""MLflow's own server, on this machine alone and for as long as somebody looks at it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.request import urlopen

from trainable.errors import UserError
from tune.printed.secrets_left_out import redact
from tune.tracking.uri import HOST, database_file

PATIENCE_SECONDS = 180.0
POLL_SECONDS, GRACE_SECONDS = 0.2, 5.0

_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a quarter of the time and memory to start
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class UiServer:
    """A server that answers. url: its address."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: IO[bytes], url: str) -> None:
        self._process, self._log, self.url = process, log, url

    def wait(self) -> None:
        """Wait for its end, which is not to come by itself. Raises: UserError with its last words."""
        self._process.wait()
        raise UserError(f"MLflow's server must run until it is stopped, but it ended: {_last_words(self._log)}")


@contextmanager
def ui_server(uri: str, port: int) -> Iterator[UiServer]:
    """Within the block a server shows the database at `uri`; all its processes end with it.

    Raises: UserError when it does not come up.
    """
    database = database_file(uri)
    folder = database.parent if database is not None else Path.cwd()
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "mlartifacts")]  # MLflow makes it when a client stores there
    environment = os.environ | _SETTINGS | {"MLFLOW_BACKEND_STORE_URI": uri}  # a command line shows its passwords
    url = f"http://{HOST}:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(process, log, url)
            yield UiServer(process, log, url)
        finally:
            _end(process)


def free_port(wanted: int) -> int:
    """The wanted port, or any other where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as listener, suppress(OSError, OverflowError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            listener.bind((HOST, port))
            return int(listener.getsockname()[1])
    raise UserError("a port of this machine must be free, but none is; end a program that listens")


def _wait_for(process: "subprocess.Popen[bytes]", log: IO[bytes], url: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise UserError(f"MLflow's server must start, but it ended: {_last_words(log)}")
        with suppress(OSError), urlopen(f"{url}/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(POLL_SECONDS)
    raise UserError(f"MLflow's server must answer within {PATIENCE_SECONDS:.0f} s, but did not: {_last_words(log)}")


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return redact("; ".join(lines[-3:])) or "it said nothing"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers, which are a group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
