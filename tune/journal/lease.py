"""One writer at a time where no file can be locked: an object that says who writes, renewed while it does.

STUDY/journal.owner.json   session id, process, machine, and when it was last renewed

A writer that finds another's name in it stops. One that could not renew it for a while asks before it writes on, and
one that is silent for `stale_seconds` is taken to be dead. Clocks of machines may differ: a lease that looks recent is
watched, and only one that nobody renews meanwhile is taken over.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trainable.errors import UserError
from trainable.plain_values import misfits, parse_json
from trainable.storage.remote_folder import RemoteFolder, StorageError
from tune.journal.errors import StudyWriteError
from tune.journal.folder_lock import OWNER_NAME, Owner

LONG_AGO_SECONDS = 3600.0
"""A lease not renewed for so long is nobody's, however the clocks differ."""

LENGTH_STEP_BYTES = 512
"""The object's length is a multiple of this, well above what a renewal's own digits change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """renew_seconds: between renewals. safe_seconds: after so long without one the writer asks before it writes.
    stale_seconds: after so long another may take over. settle_seconds: between writing a name and trusting it.
    """

    renew_seconds: float = 10.0
    safe_seconds: float = 25.0
    stale_seconds: float = 45.0
    settle_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What the object says. machine: unlike that of any other host, boot or container. since, renewed: unix seconds."""

    session_id: str
    machine: str
    host: str
    pid: int
    since: float
    renewed: float

    @property
    def owner(self) -> Owner:
        """To be shown."""
        return Owner(pid=self.pid, host=self.host, since=self.since)

    @property
    def is_dead(self) -> bool:
        """Whether it was a process of this machine that has ended; unknown of others, so False."""
        if self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # not ours, or no process id of any machine
            return False
        return False


def read_holder(study: RemoteFolder) -> Holder | None:
    """Who holds the lease or last held it; None when it was given back.

    Raises: StorageError.
    """
    try:
        values = parse_json(study.read(OWNER_NAME))
    except (FileNotFoundError, ValueError):
        return None
    if any(misfits(values, Holder, "holder")):
        return None
    return Holder(**{name: values[name] for name in Holder.__dataclass_fields__})


def remote_owner(study: RemoteFolder, *, times: LeaseTimes) -> Owner | None:
    """Who works on the study as far as the clocks agree; None if nobody does.

    Raises: StorageError.
    """
    holder = read_holder(study)
    if holder is None or holder.is_dead or time.time() - holder.renewed > times.stale_seconds:
        return None
    return holder.owner


def watched_owner(study: RemoteFolder, *, say: Callable[[str], None], times: LeaseTimes) -> Owner | None:
    """Who certainly works on the study; None when nobody does, which may take `stale_seconds` to know.

    say: takes one line for the user before the waiting.
    Raises: StorageError.
    """
    seen = read_holder(study)
    if seen is None or seen.is_dead or time.time() - seen.renewed > LONG_AGO_SECONDS:
        return None
    say(f"{study} was last written by {seen.owner}; seeing for up to {times.stale_seconds:.0f} s whether it still is")
    deadline = time.monotonic() + times.stale_seconds
    while time.monotonic() < deadline:
        time.sleep(times.renew_seconds / 10)
        now = read_holder(study)
        if now is None:
            return None
        # that it changed says that somebody lives; how old it looks depends on two clocks
        if (now.session_id, now.renewed) != (seen.session_id, seen.renewed):
            return now.owner
    return None


class Lease:
    """The right to write a study, from `take` to `give_back`."""

    def __init__(self, study: RemoteFolder, times: LeaseTimes) -> None:
        """Not taken yet."""
        self._study = study
        self._hasty = replace(study, patience_seconds=0.0)  # the next renewal is due before patience would end
        self._times = times
        self._mine = Holder(
            session_id=uuid.uuid4().hex, machine=_machine(), host=socket.gethostname(), pid=os.getpid(),
            since=time.time(), renewed=time.time(),
        )  # fmt: skip
        self._renewed = 0.0
        self._lost_to: Owner | None = None
        self._lock = threading.Lock()

    def take(self, *, say: Callable[[str], None]) -> None:
        """Become the one writer.

        Raises: UserError when another process works on the study; StorageError.
        """
        owner = watched_owner(self._study, say=say, times=self._times)
        if owner is None:
            # no object is made exclusively here: of two names written at once the last stays, and both read it
            self._write(self._study)
            time.sleep(self._times.settle_seconds)  # whoever looked before this was written has written by now
            holder = read_holder(self._study)
            owner = None if holder is None or holder.session_id == self._mine.session_id else holder.owner
        if owner is not None:
            raise UserError(
                f"`one process at a time may write a study`, but {self._study} is being written by {owner}; "
                "wait for it to end, or stop it"
            )

    def check(self, *, once: bool = False) -> None:
        """See that this is still the writer, asking the storage when the last renewal is long ago.

        once: do not ask a silent storage again.
        Raises: StudyWriteError when another has taken over; StorageError.
        """
        if time.monotonic() - self._renewed > self._times.safe_seconds:
            self._renew(self._hasty if once else self._study)
        if self._lost_to is not None:
            raise StudyWriteError(
                f"`one process at a time may write a study`, but {self._study} was taken over by {self._lost_to} while "
                f"this one was not heard of for {self._times.stale_seconds:.0f} s; this one stops, that one goes on"
            )

    def renew(self) -> None:
        """Say that the writer lives, unless another has taken over; asks a silent storage once.

        Raises: StorageError.
        """
        self._renew(self._hasty)

    def _renew(self, study: RemoteFolder) -> None:
        with self._lock:
            holder = read_holder(study)
            if holder is not None and holder.session_id != self._mine.session_id:
                self._lost_to = holder.owner
            else:
                self._write(study)

    def give_back(self) -> None:
        """Let another process write at once; without an answer from the storage it has to wait."""
        with suppress(StorageError), self._lock:
            holder = read_holder(self._hasty)
            if holder is not None and holder.session_id == self._mine.session_id:
                self._hasty.delete(OWNER_NAME)

    def _write(self, study: RemoteFolder) -> None:
        begun = time.monotonic()  # as `renewed` is, before the write: a slow one must not count as fresh
        values = asdict(self._mine) | {"renewed": time.time()}
        study.write(OWNER_NAME, _padded(json.dumps(values).encode()))
        self._renewed = begun


def _padded(content: bytes) -> bytes:
    """The same JSON, as long as every other renewal: a reader that has asked for the length gets no more than that."""
    return content.ljust(-(-len(content) // LENGTH_STEP_BYTES) * LENGTH_STEP_BYTES)


def _machine() -> str:
    """Names this machine, its boot and its container, as far as process ids mean the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{uuid.getnode():x}"
