"""The study's journal, append-only: the one truth about a search.

`entries.py` has the kinds of entries, `lines.py` how each is a line. In a folder they are the lines of a file, see
`local_journal.py`; on object storage they lie in segments, see `remote_journal.py`. The functions here take either
place, and load nothing of the latter for a folder.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol, Self

from trainable.collector import collector_paused
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.entries import JournalEntry, Kind, StudyBegun
from tune.journal.errors import StudyWriteError as StudyWriteError
from tune.journal.folder_lock import FILE_NAME as FILE_NAME
from tune.journal.folder_lock import Owner as Owner
from tune.journal.folder_lock import is_locked, read_owner
from tune.journal.lifecycle import Contents, Lifecycle, contents_of, left_out_line
from tune.journal.lines import encode_entry, read_back
from tune.journal.local_journal import LocalWriter, read_local_entries
from tune.journal.metric_names import MetricNames

_log = logging.getLogger(__name__)


class Writer(Protocol):
    """Puts the lines of a study's log where they are to stay; nobody else may while it is open.

    past: the entries that were there when it was opened. n_entries: lines that are there.
    """

    @property
    def folder(self) -> Place: ...

    @property
    def past(self) -> list[JournalEntry]: ...

    @property
    def n_entries(self) -> int: ...

    def put(self, line: bytes) -> None:
        """Put the next line; it is there for good when this returns.

        Raises: StudyWriteError if it cannot be put; the log ends with the line before, and a later try may succeed.
        """
        ...

    def lines(self) -> list[bytes]:
        """All that it put, in order."""
        ...

    def close(self) -> None:
        """Give the study free."""
        ...


class Journal:
    """The log opened for writing, exclusively; `read_entries` reads without opening.

    A pickled copy is inert: it holds no writer or listeners, and cannot append.
    """

    def __init__(self, writer: Writer, *, say: Callable[[str], None] | None = None) -> None:
        """Internal: use `create` or `open`.

        say: takes one line for the user when the log holds entries that cannot follow on those before.
        """
        self.folder = writer.folder
        self._writer: Writer | None = writer
        self._listeners: list[tuple[str, Callable[[JournalEntry], None]]] = []
        self._lifecycle, self._names = Lifecycle(), MetricNames()
        for entry in writer.past:
            self._names.note(entry)
        past = contents_of(writer.past, self._lifecycle)
        self._past = past.entries
        if past.left_out and say is not None:
            say(f"{self.folder}: {left_out_line(past.left_out)}; all else stays")

    @classmethod
    def create(cls, folder: Place, header: JsonObject, *, study_id: str) -> Self:
        """Begin a study: its first entry says everything resolved.

        Raises: UserError if the folder already holds a study or another process writes it; StudyWriteError.
        """
        if isinstance(folder, RemoteFolder):
            from tune.journal.remote_journal import RemoteWriter  # of object storage alone

            return cls.begin(RemoteWriter.create(folder), header, study_id=study_id)
        return cls.begin(LocalWriter.create(folder), header, study_id=study_id)

    @classmethod
    def begin(cls, writer: Writer, header: JsonObject, *, study_id: str) -> Self:
        """Begin a study with a writer that has no line yet.

        Raises: StudyWriteError; the writer is closed then.
        """
        journal = cls(writer)
        try:
            journal.append(StudyBegun(study_id=study_id, header=header))
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, folder: Place, *, say: Callable[[str], None], known: Iterable[JournalEntry] = ()) -> Self:
        """Go on with a study, once every entry of it was checked.

        say: takes lines for the user: what was cut off, or that it must be seen whether another process works on it.
        known: entries that were read from it before, so that their lines need not be read again.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it; StudyWriteError.
        """
        if isinstance(folder, RemoteFolder):
            from tune.journal.remote_journal import RemoteWriter  # of object storage alone

            return cls(RemoteWriter.open(folder, say=say, known=known), say=say)
        return cls(LocalWriter.open(folder, say=say, known=known), say=say)

    def append(self, entry: Kind, *, apply: Callable[[Kind], None] | None = None) -> Kind:
        """Write one entry that follows on those before; returns it as any reader will see it, with number and time.

        apply: takes it as soon as it is there for good, before any listener: the state that it changes.
        Raises: StudyWriteError if it cannot be written; a later try may succeed.
        """
        if self._writer is None:
            raise RuntimeError("this journal is closed, or a copy from another process: it cannot append")
        line = encode_entry(replace(entry, seq=self._writer.n_entries, time=time.time()), self._names)
        written = read_back(line, self._names)
        if (problem := self._lifecycle.problem(written)) is not None:
            raise RuntimeError(f"an entry must follow on those before, but {problem}")
        assert isinstance(written, type(entry))
        self._writer.put(line)
        self._lifecycle.take(written)
        self._names.note(written)
        if apply is not None:
            apply(written)
        self._tell(written)
        return written

    def subscribe(self, listener: Callable[[JournalEntry], None], *, name: str = "a listener") -> None:
        """Call `listener` with every entry from now on, after it is there for good.

        One that raises hears no more, which is said once; the study goes on without it. name: for that line.
        """
        self._listeners.append((name, listener))

    def _tell(self, entry: JournalEntry) -> None:
        for heard in list(self._listeners):
            name, listener = heard
            try:
                listener(entry)
            except Exception as error:
                self._listeners.remove(heard)
                reason = f"{type(error).__name__}: {error}"
                _log.warning("%s follows the study no more (%s); the study goes on without", name, reason)

    def entries(self) -> list[JournalEntry]:
        """Everything so far, but for what cannot follow on what came before; what was there is not read again."""
        if self._writer is None:
            return read_entries(self.folder)
        return [*self._past, *(read_back(line, self._names) for line in self._writer.lines())]

    def close(self) -> None:
        """Give the study free for another writer; closing twice is fine."""
        if self._writer is not None:
            self._writer.close()
            self._writer, self._past = None, []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> JsonObject:
        return {"folder": self.folder, "_writer": None, "_listeners": [], "_lifecycle": Lifecycle(), "_past": []}


def read_entries(folder: Place) -> list[JournalEntry]:
    """All whole entries of a study that follow on one another, also while another process writes it.

    Raises: as `read_contents`.
    """
    return read_contents(folder).entries


def read_contents(folder: Place) -> Contents:
    """All whole entries of a study, and those among them that cannot follow on the ones before.

    Raises: UserError if there is no study, a line other than the last is damaged, the log is of a newer version, or
    its storage cannot be read.
    """
    with collector_paused():
        if isinstance(folder, RemoteFolder):
            from tune.journal.remote_journal import read_remote_entries  # of object storage alone

            entries = read_remote_entries(folder)
        else:
            entries = read_local_entries(folder)
        contents = contents_of(entries)
    if not contents.entries:
        raise UserError(f"`a journal must begin with a study entry`, but that of {folder} does not; restore it")
    return contents


def has_study(folder: Place) -> bool:
    """Whether a study was begun there.

    Raises: UserError when its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import has_remote_study  # of object storage alone

        return has_remote_study(folder)
    return (folder / FILE_NAME).exists()


def owner_of(folder: Place) -> Owner | None:
    """Who works on the study now; None if nobody does, also after its process was killed.

    On object storage a writer that was killed on another machine is taken to live for as long as its lease.
    Raises: UserError when its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import remote_owner_of  # of object storage alone

        return remote_owner_of(folder)
    return read_owner(folder) if is_locked(folder) else None


def certain_owner_of(folder: Place, *, say: Callable[[str], None]) -> Owner | None:
    """As `owner_of`, also of a writer on another machine, which may take a while to know.

    say: takes one line for the user before a wait.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import watched_owner_of  # of object storage alone

        return watched_owner_of(folder, say=say)
    return owner_of(folder)
