"""The study's event log, append-only: the one truth about a search.

Each event is `{"v": 1, "seq": n, "time": unix seconds, "event": name, ...}`, `seq` counting from 0; `events.py` has the
exact form. In a folder they are the lines of a file, see `local_journal.py`; on object storage they lie in segments,
see `remote_journal.py`. The functions here take either place, and load nothing of the latter for a folder.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.errors import StudyWriteError as StudyWriteError
from tune.journal.events import VERSION, Event, encode_event, read_back
from tune.journal.folder_lock import FILE_NAME as FILE_NAME
from tune.journal.folder_lock import Owner as Owner
from tune.journal.folder_lock import is_locked, read_owner
from tune.journal.lifecycle import Contents, Lifecycle, contents_of, left_out_line
from tune.journal.local_journal import LocalWriter, read_local_events

_log = logging.getLogger(__name__)


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

    def __init__(
        self, writer: Writer, *, past: list[Event] | None = None, notify: Callable[[str], None] | None = None
    ) -> None:
        """Internal: use `create` or `open`.

        past: all that the log holds, where that was read before. notify: takes one line for the user when the log holds
        entries that cannot follow on those before.
        """
        self.folder = writer.folder
        self._writer: Writer | None = writer
        self._listeners: list[tuple[str, Callable[[Event], None]]] = []
        self._lifecycle = Lifecycle()
        left_out = contents_of(writer.events() if past is None else past, self._lifecycle).left_out
        if left_out and notify is not None:
            notify(f"{self.folder}: {left_out_line(left_out)}; all else stays")

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

            return cls(RemoteWriter.open(folder, notify=notify), notify=notify)
        past: list[Event] = []
        return cls(LocalWriter.open(folder, notify=notify, take=past.append), past=past, notify=notify)

    def append(self, event: str, *, apply: Callable[[Event], None] | None = None, **fields: Any) -> Event:
        """Write one event that follows on those before; returns it as any reader will see it.

        apply: takes it as soon as it is there for good, before any listener: the state that it changes.
        Raises: StudyWriteError if it cannot be written; a later try may succeed.
        """
        if self._writer is None:
            raise RuntimeError("this journal is closed, or a copy from another process: it cannot append")
        seq = self._writer.n_events
        line = encode_event({"v": VERSION, "seq": seq, "time": time.time(), "event": event, **fields})
        written = read_back(line)
        if (problem := self._lifecycle.problem(written)) is not None:
            raise RuntimeError(f"an event must follow on those before, but {problem}")
        self._writer.put(line)
        self._lifecycle.take(written)
        if apply is not None:
            apply(written)
        self._tell(written)
        return written

    def subscribe(self, listener: Callable[[Event], None], *, name: str = "a listener") -> None:
        """Call `listener` with every event from now on, after it is there for good.

        One that raises hears no more, which is said once; the study goes on without it. name: for that line.
        """
        self._listeners.append((name, listener))

    def _tell(self, event: Event) -> None:
        for entry in list(self._listeners):
            name, listener = entry
            try:
                listener(event)
            except Exception as error:
                self._listeners.remove(entry)
                reason = f"{type(error).__name__}: {error}"
                _log.warning("%s follows the study no more (%s); the study goes on without", name, reason)

    def events(self) -> list[Event]:
        """Everything so far, but for what cannot follow on what came before."""
        if self._writer is None:
            return read_events(self.folder)
        return contents_of(self._writer.events()).events

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
        return {"folder": self.folder, "_writer": None, "_listeners": [], "_lifecycle": Lifecycle()}


def read_events(folder: Place) -> list[Event]:
    """All whole events of a study that follow on one another, also while another process writes it.

    Raises: as `read_contents`.
    """
    return read_contents(folder).events


def read_contents(folder: Place) -> Contents:
    """All whole events of a study, and those among them that cannot follow on the ones before.

    Raises: UserError if there is no study, a line other than the last is damaged, the log is of a newer version, or
    its storage cannot be read.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import read_remote_events

        events = read_remote_events(folder)
    else:
        events = read_local_events(folder)
    contents = contents_of(events)
    if not contents.events:
        raise UserError(f"`a journal must begin with a study event`, but that of {folder} does not; restore it")
    return contents


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
    return read_owner(folder) if is_locked(folder) else None


def certain_owner_of(folder: Place, *, tell: Callable[[str], None]) -> Owner | None:
    """As `owner_of`, also of a writer on another machine, which may take a while to know.

    tell: takes one line for the user before a wait.
    """
    if isinstance(folder, RemoteFolder):
        from tune.journal.remote_journal import watched_owner_of

        return watched_owner_of(folder, tell=tell)
    return owner_of(folder)
