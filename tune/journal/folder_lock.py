"""One writer at a time for a study in a folder: a lock of the operating system, which ends with its process.

STUDY/journal.lock         locked while a process writes
STUDY/journal.owner.json   which process that is
"""

import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainable.errors import UserError
from tune.journal.errors import not_writable

LOCK_NAME = "journal.lock"
OWNER_NAME = "journal.owner.json"

LOCK_SECONDS = 0.2
"""How long a writer tries to lock: `owner_of` holds the lock for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that writes a study; all None when it has not said who it is. since: unix seconds."""

    pid: int | None = None
    host: str | None = None
    since: float | None = None

    def __str__(self) -> str:
        if self.since is None:
            return "another process"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


def acquire(folder: Path) -> FileLock:
    """Lock a study's folder and say who did.

    Raises: UserError when another process writes it; StudyWriteError.
    """
    lock = FileLock(folder / LOCK_NAME, thread_local=False)
    try:
        lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.02)
    except Timeout:
        raise UserError(
            f"`one process at a time may write a study`, but {folder} is being written by {read_owner(folder)}; "
            "wait for it to end, or stop it"
        ) from None
    facts = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
    try:
        (folder / OWNER_NAME).write_text(json.dumps(facts))
    except OSError as error:
        lock.release()
        raise not_writable(folder, f"{error.strerror}") from error
    return lock


def release(folder: Path, lock: FileLock) -> None:
    """Give the folder free."""
    (folder / OWNER_NAME).unlink(missing_ok=True)
    lock.release()


def read_owner(folder: Path) -> Owner:
    """Who locked the folder last, as far as it has said so."""
    try:
        facts = json.loads((folder / OWNER_NAME).read_text())
        return Owner(pid=int(facts["pid"]), host=str(facts["host"]), since=float(facts["time"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Owner()  # it has locked the study and not yet said who it is


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock, asked with a shared one: that needs no right to write, and readers share it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:  # unreadable, or a file system without such locks: what the owner wrote down is all there is
        return (path.parent / OWNER_NAME).exists()
    return False
