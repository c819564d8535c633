"""The journal of a study in a folder: JSON lines in `STUDY/journal.jsonl`, one writer at a time.

A line is on the disk (fsync) before `put` returns. A process killed while writing leaves a torn last line; that event
was never acknowledged, so readers pass over it and the next writer cuts it off.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from filelock import FileLock

from trainable.errors import UserError
from trainable.whole_file import sync
from tune.journal.errors import not_writable
from tune.journal.events import Event, decode_event
from tune.journal.folder_lock import acquire, release

FILE_NAME = "journal.jsonl"


class LocalWriter:
    """The file opened for writing, its folder locked."""

    def __init__(self, folder: Path, lock: FileLock, *, n_events: int, size: int) -> None:
        """Internal: use `create` or `open`. size: bytes of the whole lines in the file."""
        self.folder = folder
        self.n_events = n_events
        self._size = size
        self._lock = lock
        self._file = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, size)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """For a new study, whose folder is made and locked.

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
            writer = cls(folder, lock, n_events=0, size=0)
            sync(folder)
        except BaseException:
            release(folder, lock)
            raise
        return writer

    @classmethod
    def open(cls, folder: Path, *, notify: Callable[[str], None]) -> Self:
        """For a study that is there: lock it, check every line, cut a torn last line off.

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
                raise _no_events(path)
            writer = cls(folder, lock, n_events=n_events, size=size)
        except BaseException:
            release(folder, lock)
            raise
        if torn:
            notify(f"{path}: cut off a torn last line of {torn} bytes after {n_events} whole events")
        return writer

    def put(self, line: bytes) -> None:
        """Put the next line, and wait until it is on the disk.

        Raises: StudyWriteError if it cannot be written; the file then ends with the line before.
        """
        try:
            _write_whole(self._file, line)
        except OSError as error:
            with contextlib.suppress(OSError):  # what stays behind is a torn line, which every reader tolerates
                os.ftruncate(self._file, self._size)
            raise not_writable(self.folder, f"{error.strerror}", what=FILE_NAME) from error
        self.n_events += 1
        self._size += len(line)

    def events(self) -> list[Event]:
        """Everything so far."""
        return read_local_events(self.folder)

    def close(self) -> None:
        """Give the folder free."""
        os.close(self._file)
        release(self.folder, self._lock)


def read_local_events(folder: Path) -> list[Event]:
    """All whole events of a study, also while another process writes it.

    Raises: UserError if there is no study, a line other than the last is damaged, or the log is of a newer version.
    """
    path = _existing(folder)
    events = [
        decode_event(line, where=f"{path}, line {number + 1}", seq=number) for number, line in enumerate(_lines(path))
    ]
    if not events:
        raise _no_events(path)
    return events


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


def _no_events(path: Path) -> UserError:
    return UserError(f"`a journal must begin with a study event`, but {path} holds none; start the study anew")
