"""The study's event log, append-only: the one truth about a search.

Each event is `{"v": 1, "seq": n, "time": unix seconds, "event": name, ...}`, `seq` counting from 0; `events.py` has the
exact form. In a folder they are the lines of a file, see `local_journal.py`; on object storage they lie in segments,
see `remote_journal.py`. The functions here take either place, and load nothing of the latter for a folder.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.errors import StudyWriteError as StudyWriteError
from tune.journal.events import VERSION, Event, encode_event, read_back
from tune.journal.folder_lock import LOCK_NAME, is_locked, read_owner
from tune.journal.folder_lock import Owner as Owner
from tune.journal.local_journal import FILE_NAME as FILE_NAME
from tune.journal.local_journal import LocalWriter, read_local_events


class Writer(Protocol):
    """Puts the lines of a study's log where they are to stay; nobody else may while it is open.

    n_events: lines that are there.
    """

    @property
    def folder(self) -> Place: ...

    @property
    def n_events(self) -> int: ...

    def put(self, line: bytes) -> None:
        """Put the next line; it is there for good when this returns.

        Raises: StudyWriteError if it cannot be put; the log ends with the line before, and a later try may succeed.
        """
        ...

    def events(self) -> list[Event]:
        """All lines so far, read back."""
        ...

    def close(self) -> None:
        """Give the study free."""
        ...


class Journal:
    """The log opened for writing, exclusively; `read_events` reads without opening.

    A pickled copy is inert: it holds no writer or listeners, and cannot append.
    """

    def __init__(self, writer: Writer) -> None:
        """Internal: use `create` or `open`."""
        self.folder = writer.folder
        self._writer: Writer | None = writer
        self._listeners: list[Callable[[Event], None]] = []

    @classmethod
    def create(cls, folder: Place, header: dict[str, Any], *, study_id: str) -> Self:
        """Begin a study: its `study` event says everything resolved.

        Raises: UserError if the folder already holds a study or another process writes it; StudyWriteError.
        """
        if isinstance(folder, RemoteFolder):
            from tune.journal.remote_journal import RemoteWriter

            return cls.begin(RemoteWriter.create(folder), header, study_id=study_id)
        return cls.begin(LocalWriter.create(folder), header, study_id=study_id)

    @classmethod
    def begin(cls, writer: Writer, header: dict[str, Any], *, study_id: str) -> Self:
        """Begin a study with a writer that has no line yet.

        Raises: StudyWriteError; the writer is closed then.
        """
        journal = cls(writer)
        try:
            journal.append("study", study_id=study_id, header=header)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, folder: Place, *, notify: Callable[[str], None]) -> Self:
        """Go on with a study, once every event of it was checked.

        notify: takes lines for the user: what was cut off, or that it must be seen whether another process works on it.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it; StudyWriteError.
        """
        if isinstance(folder, RemoteFolder):
            from tune.journal.remote_journal import RemoteWriter

            return cls(RemoteWriter.open(folder, notify=notify))
        return cls(LocalWriter.open(folder, notify=notify))

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event, tell the listeners once it is there for good; returns it as any reader will see it.

        Raises: StudyWriteError if it cannot be written; a later try may succeed.
        """
        if self._writer is None:
            raise RuntimeError("this journal is closed, or a copy from another process: it cannot append")
        seq = self._writer.n_events
        line = encode_event({"v": VERSION, "seq": seq, "time": time.time(), "event": event, **fields})
        self._writer.put(line)
        written = read_back(line)
        for listener in self._listeners:
            listener(written)
        return written

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, after it is there for good."""
        self._listeners.append(listener)

    def events(self) -> list[Event]:
        """Everything so far."""
        return read_events(self.folder) if self._writer is None else self._writer.events()

    def close(self) -> None:
        """Give the study free for another writer; closing twice is fine."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_writer": None, "_listeners": []}


def read_events(folder: Place) -> list[Event]:
    """All whole events of a study, also while another process writes it.

    Raises: UserError if there is no study, a line other than the last is damaged, the log is of a newer version, or
    its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import read_remote_events

        return read_remote_events(folder)
    return read_local_events(folder)


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
