"""One writer at a time for a study in a folder: a lock of the operating system, which ends with its process.

STUDY/journal.jsonl        what is written is what is locked: no other file's absence can hide its writer
STUDY/journal.owner.json   which process that is
STUDY/journal.lock         what older versions lock instead; where there is one, it is locked, too
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from trainable.errors import UserError
from trainable.plain_values import misfits, parse_json
from trainable.shown import shown
from tune.journal.errors import not_writable

FILE_NAME = "journal.jsonl"
OLD_LOCK_NAME = "journal.lock"
OWNER_NAME = "journal.owner.json"

LOCK_SECONDS = 0.2
"""How long a writer tries to lock: `owner_of` holds the lock for a moment."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that writes a study; all None when it has not said who it is. since: unix seconds."""

    pid: int | None = None
    host: str | None = None
    since: float | None = None

    def __str__(self) -> str:
        if self.since is None:
            return "another process"
        try:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        except (OverflowError, OSError, ValueError):  # no time of any calendar
            since = "an unknown time"
        return f"process {self.pid} on {shown(self.host)} since {since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedJournal:
    """A study's journal, open and locked. files: descriptors, the journal's own first."""

    folder: Path
    files: tuple[int, ...]
    owner: Owner

    @property
    def file(self) -> int:
        """The journal, open for reading and for writing at its end."""
        return self.files[0]

    def is_in_place(self) -> bool:
        """Whether it is still this file that lies in the folder under the journal's name.

        Raises: OSError.
        """
        return _is_at(self.file, self.folder / FILE_NAME)

    def folder_now(self) -> Path | None:
        """The folder that the file lies in by now, as far as the system can tell; None when it was removed."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self.file}"))
        except OSError:
            return None
        return path.parent if _is_at(self.file, path) else None

    def release(self) -> None:
        """Give the study free."""
        if read_owner(self.folder) == self.owner:  # else the folder is another's by now
            with suppress(OSError):
                (self.folder / OWNER_NAME).unlink(missing_ok=True)
        for file in self.files:
            os.close(file)


def lock_journal(folder: Path, *, create: bool) -> LockedJournal:
    """Open a study's journal, lock it, and say who did.

    create: make the file where there is none.
    Raises: UserError when another process writes it; StudyWriteError.
    """
    with ExitStack() as closing, _locking_told(folder):
        journal = _open_locked(folder / FILE_NAME, os.O_CREAT if create else 0)
        closing.callback(os.close, journal)
        files = [journal]
        with suppress(FileNotFoundError, PermissionError):
            files.append(_open_locked(folder / OLD_LOCK_NAME))
            closing.callback(os.close, files[-1])
        owner = Owner(pid=os.getpid(), host=socket.gethostname(), since=time.time())
        facts = {"host": owner.host, "pid": owner.pid, "time": owner.since}
        (folder / OWNER_NAME).write_text(json.dumps(facts))
        closing.pop_all()
    return LockedJournal(folder=folder, files=tuple(files), owner=owner)


@contextmanager
def _locking_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except BlockingIOError:
        raise UserError(
            f"`one process at a time may write a study`, but {folder} is being written by {read_owner(folder)}; "
            "wait for it to end, or stop it"
        ) from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise UserError(
                f"`the study's folder must be on a file system with locks`, but {folder} is not: {error.strerror}; "
                "choose a folder on a local disk, or object storage"
            ) from error
        raise not_writable(folder, f"{error.strerror}") from error


def _open_locked(path: Path, flags: int = 0) -> int:
    """The file opened and locked; the one that lies there once the lock is had.

    Raises: BlockingIOError when another process holds the lock; OSError.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o644)  # NFS locks only what is open for writing
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(file)
                raise
            time.sleep(0.02)
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def read_owner(folder: Path) -> Owner:
    """Who locked the folder last, as far as it has said so."""
    try:
        facts = parse_json((folder / OWNER_NAME).read_bytes())
        owner = Owner(pid=facts["pid"], host=facts["host"], since=facts["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return Owner()  # it has locked the study and not yet said who it is
    return Owner() if any(misfits(asdict(owner), Owner, "owner")) else owner


def is_locked(folder: Path) -> bool:
    """Whether a process writes the study there."""
    return any(_is_file_locked(folder / name) for name in (FILE_NAME, OLD_LOCK_NAME))


def _is_file_locked(path: Path) -> bool:
    """Asked with a shared lock: that needs no right to write, and readers share it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would be waited for without end
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
