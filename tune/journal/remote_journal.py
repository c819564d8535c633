"""The journal of a study on object storage: one writer that holds a lease, each entry put at once."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

from trainable.errors import UserError
from trainable.storage.remote_folder import REMEDY, RemoteFolder, StorageError
from tune.journal.entries import JournalEntry
from tune.journal.errors import not_writable
from tune.journal.folder_lock import Owner
from tune.journal.lease import Lease, LeaseTimes, remote_owner, watched_owner
from tune.journal.resuming import begun_before
from tune.journal.segments import FOLDER_NAME, RemoteLog, SegmentWriter, read_log

TIMES = LeaseTimes()

QUIET_SECONDS = 1.5
"""Of reading, before the user is told what takes so long."""

_log = logging.getLogger(__name__)


class RemoteWriter:
    """The segments opened for writing, the lease of their study taken."""

    def __init__(
        self,
        folder: RemoteFolder,
        lease: Lease,
        segments: SegmentWriter,
        times: LeaseTimes,
        past: list[JournalEntry],
    ) -> None:
        """Internal: use `create` or `open`. lease: taken. past: what the segments hold."""
        self.folder = folder
        self.past = past
        self._lease = lease
        self._segments = segments
        self._is_silent = False
        self._closing = threading.Event()
        self._keeper = threading.Thread(
            target=_keep, args=(self._closing, lease, segments, times), name="journal keeper", daemon=True
        )
        self._keeper.start()

    @classmethod
    def create(cls, folder: RemoteFolder, *, times: LeaseTimes = TIMES) -> Self:
        """For a new study.

        Raises: UserError if there is one already or another process writes it; StudyWriteError.
        """

        def begin(log: RemoteLog) -> list[JournalEntry]:
            if log.lines:
                place = folder / FOLDER_NAME
                raise UserError(begun_before(folder, place, lambda: log.entries(place)))
            return []

        return cls._open(folder, begin, say=lambda _: None, times=times)

    @classmethod
    def open(
        cls,
        folder: RemoteFolder,
        *,
        say: Callable[[str], None],
        times: LeaseTimes = TIMES,
        known: Iterable[JournalEntry] = (),
    ) -> Self:
        """For a study that is there.

        say: takes lines for the user while it is seen whether another process works on it. known: as of `decoded`.
        Raises: UserError if there is no study, it is damaged or newer, or another process writes it; StudyWriteError.
        """

        def go_on(log: RemoteLog) -> list[JournalEntry]:
            if not log.lines:
                raise no_study(folder)
            return log.entries(folder / FOLDER_NAME, known)

        return cls._open(folder, go_on, say=say, times=times)

    @classmethod
    def _open(
        cls,
        folder: RemoteFolder,
        past_of: Callable[[RemoteLog], list[JournalEntry]],
        *,
        say: Callable[[str], None],
        times: LeaseTimes,
    ) -> Self:
        lease = Lease(folder, times)
        try:
            lease.take(say=say)
            try:
                log = read_log(folder)
                past = past_of(log)
                segments = SegmentWriter(folder, log.session + 1, log.lines)
                segments.begin()
            except BaseException:
                lease.give_back()
                raise
        except StorageError as error:
            raise not_writable(folder, str(error)) from error
        return cls(folder, lease, segments, times, past)

    @property
    def n_entries(self) -> int:
        """Events that were acknowledged."""
        return self._segments.n_entries

    def put(self, line: bytes) -> None:
        """Put the next entry; it is on the storage when this returns.

        A storage that kept silent for its patience is asked once the next time: a session that ends does not wait anew.
        Raises: StudyWriteError if the storage did not take it, or another process has taken over; after an outage a
        later try may succeed.
        """
        try:
            self._lease.check(once=self._is_silent)
            self._segments.put(line, once=self._is_silent)
            self._lease.check()  # the storage may have been silent for so long that another took over
            self._is_silent = False
        except StorageError as error:
            self._is_silent = True
            raise not_writable(self.folder, str(error)) from error

    def lines(self) -> list[bytes]:
        """All that this writer put; asks the storage nothing."""
        return self._segments.lines

    def close(self) -> None:
        """Give the study free for another writer."""
        self._closing.set()
        self._keeper.join()
        self._lease.give_back()


def _keep(closing: threading.Event, lease: Lease, segments: SegmentWriter, times: LeaseTimes) -> None:
    """Renew the lease and put segments together until the journal closes; an outage is the next append's to tell."""
    while not closing.wait(times.renew_seconds):
        with suppress(StorageError):
            lease.renew()
        segments.roll_up()


def read_remote_entries(folder: RemoteFolder) -> list[JournalEntry]:
    """All entries of a study, also while another process writes it.

    Raises: UserError if there is no study, it is damaged or newer, or the storage cannot be read.
    """
    with readable(folder), told_when_slow(folder):
        log = read_log(folder)
    if not log.lines:
        raise no_study(folder)
    return log.entries(folder / FOLDER_NAME)


def has_remote_study(folder: RemoteFolder) -> bool:
    """Whether a study was begun there.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder), told_when_slow(folder):
        return bool(read_log(folder).lines)


def remote_owner_of(folder: RemoteFolder, *, times: LeaseTimes = TIMES) -> Owner | None:
    """Who works on a study, as far as clocks agree.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder), told_when_slow(folder):
        return remote_owner(folder, times=times)


def watched_owner_of(folder: RemoteFolder, *, say: Callable[[str], None], times: LeaseTimes = TIMES) -> Owner | None:
    """Who certainly works on a study, see `lease.watched_owner`.

    Raises: UserError when the storage cannot be read.
    """
    with readable(folder):
        return watched_owner(folder, say=say, times=times)


@contextmanager
def readable(folder: RemoteFolder) -> Iterator[None]:
    """Raises: UserError for a StorageError within the block."""
    try:
        yield
    except StorageError as error:
        raise UserError(f"`the study must be on storage that can be read`, but {folder}: {error}; {REMEDY}") from error


@contextmanager
def told_when_slow(folder: RemoteFolder) -> Iterator[None]:
    """Tell the user, once, when the block takes long: it may be a silent storage that is waited for."""
    said = f"still reading {folder}; a storage that does not answer is asked again for {folder.patience_seconds:.0f} s"
    timer = threading.Timer(QUIET_SECONDS, _log.warning, [said])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def no_study(folder: RemoteFolder) -> UserError:
    """There is none at this URI."""
    return UserError(f"`a study folder must hold {FOLDER_NAME}/`, but {folder} does not; check the URI")
