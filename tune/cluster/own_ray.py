"""A Ray of a command's own: on loopback alone, closed to the machine's other users, gone with the command.

Its daemons are in a session of their own: signals that a terminal, `timeout` or Slurm send to the command's process
group do not reach them, so that running epochs can end.
"""

import functools
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import ray
from ray._private import ray_constants

from trainable.errors import UserError
from tune.cluster.ray_init import init_ray

OBJECT_STORE_BYTES = 100 * 2**20
SOCKET_PATH_BYTES = 107 if os.name == "posix" and os.uname().sysname == "Linux" else 103
"""Of a Unix socket's path, at most."""

LONGEST_SOCKET = "r/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""In the session's folder; all but the first letter is Ray's choice."""

ANSWER_SECONDS = 2.0


WITHOUT_METRICS = {
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",  # a port that cannot be: there is no other way to have none
    "DASHBOARD_METRIC_PORT": "-1",
}
"""Metrics would be served to anybody, without the token."""

WITHOUT_IDLE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
"""Ray would start a worker a CPU at once, which trials never use: theirs have an environment of their own."""


@dataclass(frozen=True, slots=True)
class OwnRay:
    """A Ray that this process started. daemons: the ports of its parts on loopback, by what they are called."""

    daemons: Mapping[str, tuple[str, int]]

    def death(self) -> str | None:
        """Which of its daemons has ended, in words; None while all live. They do not come back."""
        for name, place in self.daemons.items():
            try:
                socket.create_connection(place, timeout=ANSWER_SECONDS).close()
            except ConnectionRefusedError:
                return f"the {name} of its own Ray was killed or crashed"
            except OSError:  # too busy to answer, or out of descriptors here
                continue
        return None


@contextmanager
def own_ray(n_cpus: int) -> Iterator[OwnRay]:
    """Start Ray for the block's time, with so many CPUs.

    Raises: UserError when it cannot start, with the reason and what to do instead.
    """
    folder = _session_folder()
    try:
        with _environment():
            _start(folder, n_cpus)
            try:
                yield OwnRay(_daemons())
            finally:
                ray.shutdown()
    finally:
        rmtree(folder, ignore_errors=True)


def _start(folder: Path, n_cpus: int) -> None:
    try:
        with _on_loopback(), _daemons_in_own_session():
            init_ray(
                address="local",
                num_cpus=n_cpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder / "r"),
            )
    except Exception as error:  # whatever the machine lacks, Ray words and wraps it in many ways
        with suppress(Exception):
            ray.shutdown()
        raise UserError(
            f"`Ray must start on this machine`, but did not: {_reason(error)}; see to it, or use --local to do "
            "without Ray"
        ) from error


def _daemons() -> dict[str, tuple[str, int]]:
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    (node,) = ray.nodes()
    return {
        "GCS": (host.strip("[]"), int(port)),  # first: the raylet soon follows it
        "raylet": (node["NodeManagerAddress"], int(node["NodeManagerPort"])),
    }


def _session_folder() -> Path:
    """A new folder that only this user may enter: the one that Ray is given inside it, Ray opens to all.

    Raises: UserError where none can be made, or Ray's sockets in it would have too long a path.
    """
    remedy = "set RAY_TMPDIR to another folder (RAY_TMPDIR=/tmp), or use --local to do without Ray"
    parent = os.environ.get("RAY_TMPDIR")
    try:
        folder = _new_folder(Path(parent or tempfile.gettempdir()).absolute())
    except OSError as error:
        raise UserError(
            f"`the folder for temporary files must be writable` for Ray, but making one in it failed: {error}; {remedy}"
        ) from error
    excess = len(os.fsencode(folder / LONGEST_SOCKET.format(pid=os.getpid()))) - SOCKET_PATH_BYTES
    if excess > 0:
        folder.rmdir()
        raise UserError(
            f"`the path of the folder for temporary files must have at most "
            f"{len(os.fsencode(folder.parent)) - excess} bytes` for Ray's sockets in it, but {folder.parent} has "
            f"{len(os.fsencode(folder.parent))}; {remedy}"
        )
    return folder


def _new_folder(parent: Path) -> Path:
    """Of a short name, as sockets in it need, which no other one has."""
    for _ in range(100):
        with suppress(FileExistsError):
            folder = parent / f"ray{secrets.token_hex(2)}"
            folder.mkdir(mode=0o700)
            return folder
    raise FileExistsError(f"{parent} is full of folders of Rays that were killed")


@contextmanager
def _environment() -> Iterator[None]:
    """What Ray's parts are to know and others are not: an environment is readable for its user alone."""
    own = {"RAY_AUTH_TOKEN": _token(), **WITHOUT_METRICS, **WITHOUT_IDLE_WORKERS}
    names = [*own, "RAY_AUTH_MODE"]
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.pop("RAY_AUTH_MODE", None)  # `ray.init` then turns tokens on, in this process, too
    os.environ.update(own)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


@functools.cache
def _token() -> str:
    """Of this process, in its memory alone: once read, Ray does not look for another one."""
    return secrets.token_hex(32)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Within the block a Ray that is started binds to loopback, as it does on macOS and Windows.

    The address alone would not do: `ray.init` replaces a loopback one by that of a network card.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def _daemons_in_own_session() -> Iterator[None]:
    """Processes that Ray starts within the block lead sessions of their own."""
    _register_once()
    _fork.leaves_session = True
    try:
        yield
    finally:
        _fork.leaves_session = False


class _Fork:
    leaves_session = False


_fork = _Fork()


@functools.cache
def _register_once() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_session)


def _leave_session() -> None:
    if _fork.leaves_session:
        os.setsid()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
