"""The journal of a study in a folder: JSON lines in `STUDY/journal.jsonl`, one writer at a time.

A line is on the disk (fsync) before `put` returns. A process killed while writing leaves a torn last line; that entry
was never acknowledged, so readers pass over it and the next writer cuts it off.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

from trainable.counts import counted
from trainable.errors import UserError
from trainable.whole_file import sync
from tune.journal.entries import JournalEntry
from tune.journal.errors import StudyWriteError, not_in_place, not_writable
from tune.journal.folder_lock import FILE_NAME, LockedJournal, lock_journal
from tune.journal.line_text import OLD_START, is_whole
from tune.journal.lines import decoded
from tune.journal.resuming import begun_before
from tune.printed.next_command import next_command


def taken_problem(folder: Path) -> str | None:
    """Why no new study can begin in a folder; None where no whole line of another is there, or none can be seen."""
    try:
        with (folder / FILE_NAME).open("rb") as file:
            is_begun = file.readline().endswith(b"\n")
    except OSError:
        return None
    return begun_before(folder, folder / FILE_NAME, lambda: read_local_entries(folder)) if is_begun else None


class LocalWriter:
    """The file opened for writing, and locked."""

    def __init__(self, locked: LockedJournal, past: list[JournalEntry], *, size: int) -> None:
        """Internal: use `create` or `open`. past: what the file holds. size: bytes of these whole lines."""
        self.folder = locked.folder
        self.past = past
        self.n_entries = len(past)
        self._begin = self._size = size
        self._locked = locked
        self._is_torn = False
        os.ftruncate(locked.file, size)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """For a new study, whose folder is made and locked.

        Raises: UserError if the folder already holds a study or another process writes it; StudyWriteError.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_writable(folder, f"{error.strerror}") from error
        locked = lock_journal(folder, create=True)
        try:
            with _opened(locked.file) as file:
                lines = list(_lines(file))
            if lines:
                path = folder / FILE_NAME
                raise UserError(begun_before(folder, path, lambda: _decoded(lines, path)))
            writer = cls(locked, [], size=0)
            sync(folder)
        except BaseException:
            locked.release()
            raise
        return writer

    @classmethod
    def open(cls, folder: Path, *, say: Callable[[str], None], known: Iterable[JournalEntry] = ()) -> Self:
        """For a study that is there: lock it, check every line, cut a torn last line off.

        say: takes one line for the user when something was cut off. known: as of `decoded`.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it; StudyWriteError.
        """
        path = _existing(folder)
        locked = lock_journal(folder, create=False)
        try:
            with _opened(locked.file) as file:
                lines = list(_lines(file))
            past, size = _decoded(lines, path, known), sum(map(len, lines))
            torn = os.fstat(locked.file).st_size - size
            if not past:
                raise _no_entries(path)
            writer = cls(locked, past, size=size)
        except BaseException:
            locked.release()
            raise
        if torn:
            say(
                f"{path}: cut off a torn last line of {counted(torn, 'byte')} after {counted(len(past), 'whole entry')}"
            )
        return writer

    def put(self, line: bytes) -> None:
        """Put the next line, and wait until it is on the disk.

        Raises: StudyWriteError if it cannot be written, or if the file is no longer as this writer left it: moved,
        replaced, or written by another. It then ends as it did before.
        """
        try:
            self._cut_torn()
            self._check_alone()
            self._is_torn = True
            _write_whole(self._locked.file, line)
            self._is_torn = False
        except OSError as error:
            with contextlib.suppress(OSError):  # it stays a torn line, which every reader tolerates, until it can be
                self._cut_torn()
            raise not_writable(self.folder, f"{error.strerror}", what=FILE_NAME) from error
        self.n_entries += 1
        self._size += len(line)

    def _cut_torn(self) -> None:
        if self._is_torn:
            os.ftruncate(self._locked.file, self._size)
            self._is_torn = False

    def _check_alone(self) -> None:
        """See that nobody else touched the file: not every file system's locks hold, and not every program asks."""
        path = self.folder / FILE_NAME
        if not self._locked.is_in_place():
            raise not_in_place(path, self.folder if path.exists() else self._locked.folder_now())
        size = os.fstat(self._locked.file).st_size
        if size != self._size:
            raise StudyWriteError(
                f"`one process at a time may write a study`, but {path} has {size} bytes where this one left it with "
                f"{self._size}: another program wrote to it; this process stops; end that one, see what "
                f"`{next_command('replay', self.folder)}` says, then resume the study"
            )

    def lines(self) -> list[bytes]:
        """All that this writer put, wherever the file lies by now."""
        with _opened(self._locked.file) as file:
            file.seek(self._begin)
            content = file.read(self._size - self._begin)
        return content.splitlines(keepends=True)

    def close(self) -> None:
        """Give the study free."""
        self._locked.release()


def read_local_entries(folder: Path) -> list[JournalEntry]:
    """All whole entries of a study, also while another process writes it.

    Raises: UserError if there is no study, a line other than the last is damaged, or the log is of a newer version.
    """
    path = _existing(folder)
    with path.open("rb") as file:
        entries = _decoded(_lines(file), path)
    if not entries:
        raise _no_entries(path)
    return entries


def _decoded(lines: Iterable[bytes], path: Path, known: Iterable[JournalEntry] = ()) -> list[JournalEntry]:
    return list(decoded(lines, where=partial(_line_name, path), known=known))


def _line_name(path: Path, seq: int) -> str:
    return f"{path}, line {seq + 1}"


def _opened(file: int) -> BinaryIO:
    """A locked file, to be read from its beginning; it stays open."""
    os.lseek(file, 0, os.SEEK_SET)  # what is written goes to its end all the same
    return open(file, "rb", closefd=False)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines but for a torn last one."""
    held: bytes | None = None
    for line in file:
        if held is not None:
            yield held
        held = line
    if held is not None and not _is_torn(held):
        yield held


def _is_torn(line: bytes) -> bool:
    """Whether a last line was never acknowledged: it lacks its end, or the disk has not all of it.

    One that is whole but for its newline was acknowledged, and damaged afterwards. Lines of older versions cannot say
    so of themselves: theirs are torn when they are no JSON.
    """
    if line.endswith(b"\n"):
        return line.startswith(OLD_START) and not is_whole(line)
    return not is_whole(line[:-1]) or line.startswith(OLD_START)


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


def _no_entries(path: Path) -> UserError:
    return UserError(f"`a journal must begin with a study entry`, but {path} holds none; start the study anew")
