"""The study's event log: append-only JSON lines in `STUDY/journal.jsonl`, the one truth about a search.

Each line is one event: `{"v": 1, "seq": n, "time": unix seconds, "event": name, ...}`, `seq` counting from 0;
`events.py` has the exact form. A line is on the disk (fsync) before `append` returns. A process killed while writing
leaves a torn last line; that event was never acknowledged, so readers pass over it and the next writer cuts it off.

On object storage the same events lie in segments, see `remote_journal.py`: the functions here take either place, and
load nothing of it for a study that is a folder.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock

from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from trainable.whole_file import sync
from tune.journal.errors import StudyWriteError as StudyWriteError
from tune.journal.errors import not_writable
from tune.journal.events import VERSION, Event, decode_event, encode_event, read_back
from tune.journal.folder_lock import LOCK_NAME, acquire, is_locked, read_owner, release
from tune.journal.folder_lock import Owner as Owner

if TYPE_CHECKING:
    from tune.journal.remote_journal import RemoteJournal

FILE_NAME = "journal.jsonl"


class Journal:
    """The log opened for writing, exclusively; `read_events` reads without opening.

    A pickled copy is inert: it holds no file, lock or listeners, and cannot append.
    """

    def __init__(self, folder: Path, lock: FileLock, *, n_events: int, size: int) -> None:
        """Internal: use `create` or `open`. size: bytes of the whole lines in the file."""
        self.folder = folder
        self.n_events = n_events
        self._size = size
        self._lock: FileLock | None = lock
        self._listeners: list[Callable[[Event], None]] = []
        self._file: int | None = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, size)

    @classmethod
    def create(cls, folder: Path, header: dict[str, Any], *, study_id: str) -> Self:
        """Begin a study: lock its folder and write the `study` event with everything resolved.

        Raises: UserError if the folder already holds a study or another process writes it; StudyWriteError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = acquire(folder)
        try:
            path = folder / FILE_NAME
            if path.exists() and next(_lines(path), None) is not None:
                raise UserError(
                    f"`the folder of a new study must be empty of studies`, but {path} exists; "
                    f"continue it with --resume {folder}, or choose another --study"
                )
            journal = cls(folder, lock, n_events=0, size=0)
            sync(folder)
            journal.append("study", study_id=study_id, header=header)
        except BaseException:
            release(folder, lock)
            raise
        return journal

    @classmethod
    def open(cls, folder: Path, *, notify: Callable[[str], None]) -> Self:
        """Go on with a study: lock it, check every line, cut a torn last line off.

        notify: takes one line for the user when something was cut off.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it.
        """
        path = _existing(folder)
        lock = acquire(folder)
        try:
            n_events, size = 0, 0
            for line in _lines(path):
                decode_event(line, where=f"{path}, line {n_events + 1}", seq=n_events)
                n_events, size = n_events + 1, size + len(line)
            torn = path.stat().st_size - size
            if n_events == 0:
                raise UserError(
                    f"`a journal must begin with a study event`, but {path} holds none; start the study anew"
                )
            journal = cls(folder, lock, n_events=n_events, size=size)
        except BaseException:
            release(folder, lock)
            raise
        if torn:
            notify(f"{path}: cut off a torn last line of {torn} bytes after {n_events} whole events")
        return journal

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event, wait until it is on the disk, tell the listeners; returns it as any reader will see it.

        Raises: StudyWriteError if it cannot be written; the file then ends with the event before, and a later try may
        succeed.
        """
        if self._file is None:
            raise RuntimeError("this journal is closed, or a copy from another process: it cannot append")
        line = encode_event({"v": VERSION, "seq": self.n_events, "time": time.time(), "event": event, **fields})
        try:
            _write_whole(self._file, line)
        except OSError as error:
            with contextlib.suppress(OSError):  # what stays behind is a torn line, which every reader tolerates
                os.ftruncate(self._file, self._size)
            raise not_writable(self.folder, f"{error.strerror}", what=FILE_NAME) from error
        self.n_events += 1
        self._size += len(line)
        written = read_back(line)
        for listener in self._listeners:
            listener(written)
        return written

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, after it is on the disk."""
        self._listeners.append(listener)

    def events(self) -> list[Event]:
        """Everything so far."""
        return read_events(self.folder)

    def close(self) -> None:
        """Give the study free for another writer; closing twice is fine."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._lock is not None:
            release(self.folder, self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_lock": None, "_listeners": []}


def create_journal(folder: Place, header: dict[str, Any], *, study_id: str) -> "Journal | RemoteJournal":
    """Begin a study, see `Journal.create`."""
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import RemoteJournal

        return RemoteJournal.create(folder, header, study_id=study_id)
    return Journal.create(folder, header, study_id=study_id)


def open_journal(folder: Place, *, notify: Callable[[str], None]) -> "Journal | RemoteJournal":
    """Go on with a study, see `Journal.open`."""
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import RemoteJournal

        return RemoteJournal.open(folder, notify=notify)
    return Journal.open(folder, notify=notify)


def read_events(folder: Place) -> list[Event]:
    """All whole events of a study, also while another process writes it.

    Raises: UserError if there is no study, a line other than the last is damaged, the log is of a newer version, or
    its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import read_remote_events

        return read_remote_events(folder)
    path = _existing(folder)
    events = [
        decode_event(line, where=f"{path}, line {number + 1}", seq=number) for number, line in enumerate(_lines(path))
    ]
    if not events:
        raise UserError(f"`a journal must begin with a study event`, but {path} holds none; start the study anew")
    return events


def has_study(folder: Place) -> bool:
    """Whether a study was begun there.

    Raises: UserError when its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import has_remote_study

        return has_remote_study(folder)
    return (folder / FILE_NAME).exists()


def owner_of(folder: Place) -> Owner | None:
    """Who works on the study now; None if nobody does, also after its process was killed.

    On object storage a writer that was killed on another machine is taken to live for as long as its lease.
    Raises: UserError when its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import remote_owner_of

        return remote_owner_of(folder)
    return read_owner(folder) if is_locked(folder / LOCK_NAME) else None


def certain_owner_of(folder: Place, *, tell: Callable[[str], None]) -> Owner | None:
    """As `owner_of`, also of a writer on another machine, which may take a while to know.

    tell: takes one line for the user before a wait.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import watched_owner_of

        return watched_owner_of(folder, tell=tell)
    return owner_of(folder)


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines; a last one without newline, or with one but not JSON, is torn and left out."""
    with path.open("rb") as file:
        held: bytes | None = None
        for line in file:
            if held is not None:
                yield held
            held = line
    if held is not None and held.endswith(b"\n") and _is_json(held):
        yield held


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _write_whole(file: int, line: bytes) -> None:
    n_written = 0
    while n_written < len(line):  # a nearly full disk takes a part first and refuses the rest
        n_written += os.write(file, line[n_written:])
    os.fsync(file)


def _existing(folder: Path) -> Path:
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"`a study folder must hold {FILE_NAME}`, but {folder} does not; check the path")
    return path
