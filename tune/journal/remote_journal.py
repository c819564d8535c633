"""A study's journal on object storage, with the interface of `journal.Journal`: one writer, each event put at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from trainable.errors import UserError
from trainable.storage.remote_folder import REMEDY, RemoteFolder, StorageError
from tune.journal.errors import not_writable
from tune.journal.events import VERSION, Event, encode_event, read_back
from tune.journal.folder_lock import Owner
from tune.journal.lease import Lease, LeaseTimes, remote_owner, watched_owner
from tune.journal.segments import FOLDER_NAME, RemoteLog, SegmentWriter, read_log

TIMES = LeaseTimes()


class RemoteJournal:
    """The log opened for writing; a pickled copy is inert, as that of a `Journal`."""

    def __init__(self, folder: RemoteFolder, lease: Lease, segments: SegmentWriter, times: LeaseTimes) -> None:
        """Internal: use `create` or `open`. lease: taken."""
        self.folder = folder
        self._lease: Lease | None = lease
        self._segments = segments
        self._is_silent = False
        self._listeners: list[Callable[[Event], None]] = []
        self._closing: threading.Event | None = threading.Event()
        self._keeper: threading.Thread | None = threading.Thread(
            target=_keep, args=(self._closing, lease, segments, times), name="journal keeper", daemon=True
        )
        self._keeper.start()

    @classmethod
    def create(cls, folder: RemoteFolder, header: dict[str, Any], *, study_id: str, times: LeaseTimes = TIMES) -> Self:
        """Begin a study with its `study` event.

        Raises: UserError if there is one already or another process writes it; StudyWriteError.
        """

        def begin(log: RemoteLog) -> SegmentWriter:
            if log.lines:
                raise UserError(
                    f"`the folder of a new study must be empty of studies`, but {folder / FOLDER_NAME} exists; "
                    f"continue it with --resume {folder}, or choose another --study"
                )
            return SegmentWriter(folder, 1, [])

        journal = cls._open(folder, begin, tell=lambda _: None, times=times)
        try:
            journal.append("study", study_id=study_id, header=header)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, folder: RemoteFolder, *, notify: Callable[[str], None], times: LeaseTimes = TIMES) -> Self:
        """Go on with a study.

        notify: takes lines for the user while it is seen whether another process works on it.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it; StudyWriteError.
        """

        def go_on(log: RemoteLog) -> SegmentWriter:
            if not log.lines:
                raise no_study(folder)
            log.events(folder / FOLDER_NAME)
            return SegmentWriter(folder, log.session + 1, log.lines)

        return cls._open(folder, go_on, tell=notify, times=times)

    @classmethod
    def _open(
        cls,
        folder: RemoteFolder,
        writer_of: Callable[[RemoteLog], SegmentWriter],
        *,
        tell: Callable[[str], None],
        times: LeaseTimes,
    ) -> Self:
        lease = Lease(folder, times)
        try:
            lease.take(tell=tell)
            try:
                segments = writer_of(read_log(folder))
                segments.begin()
            except BaseException:
                lease.give_back()
                raise
        except StorageError as error:
            raise not_writable(folder, str(error)) from error
        return cls(folder, lease, segments, times)

    @property
    def n_events(self) -> int:
        """Events that were acknowledged."""
        return self._segments.n_events

    def append(self, event: str, **fields: Any) -> Event:
        """Put one event, tell the listeners once it is on the storage; returns it as any reader will see it.

        A storage that kept silent for its patience is asked once the next time: a session that ends does not wait anew.
        Raises: StudyWriteError if the storage did not take it, or another process has taken over; after an outage a
        later try may succeed.
        """
        if self._lease is None:
            raise RuntimeError("this journal is closed, or a copy from another process: it cannot append")
        line = encode_event({"v": VERSION, "seq": self.n_events, "time": time.time(), "event": event, **fields})
        try:
            self._lease.check(once=self._is_silent)
            self._segments.put(line, once=self._is_silent)
            self._lease.check()  # the storage may have been silent for so long that another took over
            self._is_silent = False
        except StorageError as error:
            self._is_silent = True
            raise not_writable(self.folder, str(error)) from error
        written = read_back(line)
        for listener in self._listeners:
            listener(written)
        return written

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on, after it is on the storage."""
        self._listeners.append(listener)

    def events(self) -> list[Event]:
        """Everything so far; asks the storage nothing."""
        return [read_back(line) for line in self._segments.lines]

    def close(self) -> None:
        """Give the study free for another writer; closing twice is fine."""
        if self._closing is not None and self._keeper is not None:
            self._closing.set()
            self._keeper.join()
            self._closing = self._keeper = None
        if self._lease is not None:
            self._lease.give_back()
            self._lease = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lease": None, "_listeners": [], "_closing": None, "_keeper": None}


def _keep(closing: threading.Event, lease: Lease, segments: SegmentWriter, times: LeaseTimes) -> None:
    """Renew the lease and put segments together until the journal closes; an outage is the next append's to tell."""
    while not closing.wait(times.renew_seconds):
        with suppress(StorageError):
            lease.renew()
        segments.roll_up()


def read_remote_events(folder: RemoteFolder) -> list[Event]:
    """All events of a study, also while another process writes it.

    Raises: UserError if there is no study, it is damaged or newer, or the storage cannot be read.
    """
    with readable(folder):
        log = read_log(folder)
    if not log.lines:
        raise no_study(folder)
    return log.events(folder / FOLDER_NAME)


def has_remote_study(folder: RemoteFolder) -> bool:
    """Whether a study was begun there.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder):
        return bool(read_log(folder).lines)


def remote_owner_of(folder: RemoteFolder, *, times: LeaseTimes = TIMES) -> Owner | None:
    """Who works on a study, as far as clocks agree.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder):
        return remote_owner(folder, times=times)


def watched_owner_of(folder: RemoteFolder, *, tell: Callable[[str], None], times: LeaseTimes = TIMES) -> Owner | None:
    """Who certainly works on a study, see `lease.watched_owner`.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder):
        return watched_owner(folder, tell=tell, times=times)


@contextmanager
def readable(folder: RemoteFolder) -> Iterator[None]:
    """Raises: UserError for a StorageError within the block."""
    try:
        yield
    except StorageError as error:
        raise UserError(f"`the study must be on storage that can be read`, but {folder}: {error}; {REMEDY}") from error


def no_study(folder: RemoteFolder) -> UserError:
    """There is none at this URI."""
    return UserError(f"`a study folder must hold {FOLDER_NAME}/`, but {folder} does not; check the URI")
