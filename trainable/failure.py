"""Why a trial ended without a result: plain values that travel from its worker to whoever tells them."""

import socket
import traceback
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from trainable.errors import UserError
from trainable.storage.remote_folder import StorageError
from trainable.training.divergence import TrialDiverged

TRACEBACK_LINES = 12

NO_MEMORY = (
    "can't allocate memory",  # torch's allocator
    "Cannot allocate memory",  # the C library: a file that cannot be mapped, a thread that cannot be started
    "out of memory",
    "STATUS_ALLOC_FAILED",  # cuBLAS and its kin
    "could not create a primitive",  # oneDNN
)
"""How libraries say that memory ran out, in errors of no type of their own."""


class DataNotRead(UserError):
    """What the study wrote for its trials is not to be read on this machine, so its folders are not all shared."""


class FailureKind(StrEnum):
    """Who or what is to blame, as the journal says it."""

    DIVERGED = "diverged"
    """The configuration."""
    MEMORY = "memory"
    """Less memory than the configuration takes."""
    DISK = "disk"
    """A disk or storage that did not take or give what it should: not the trial's fault."""
    DATA = "data"
    """What the study wrote for its trials could not be read on this machine, nor is that."""
    WORKER = "worker"
    """Its process died, which says nothing more."""
    ERROR = "error"
    """Anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What ended a trial.

    type, message: of the exception. traceback_tail: its last lines. node: the machine. problems: those of a
    `UserError`, which the user can mend; none of any other.
    """

    type: str
    message: str
    traceback_tail: str = ""
    node: str = ""
    kind: FailureKind = FailureKind.ERROR
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: Exception) -> Self:
        """The failure that an exception is, on this machine."""
        tail = "".join(traceback.format_exception(error)).splitlines(keepends=True)[-TRACEBACK_LINES:]
        return cls(
            type=type(error).__name__,
            message=str(error),
            traceback_tail="".join(tail),
            node=socket.gethostname(),
            kind=_kind(error),
            problems=error.problems if isinstance(error, UserError) else (),
        )

    @property
    def line(self) -> str:
        """What the user reads: the problems, or the exception's type and message."""
        said = "; ".join(self.problems) or f"{self.type}: {self.message}"
        return " ".join(said.split())


def _kind(error: Exception) -> FailureKind:
    from torch import OutOfMemoryError

    from trainable.training.checkpoint import CheckpointNotWritten

    if isinstance(error, TrialDiverged):
        return FailureKind.DIVERGED
    if isinstance(error, CheckpointNotWritten | StorageError):
        return FailureKind.DISK
    if isinstance(error, DataNotRead):
        return FailureKind.DATA
    if isinstance(error, OutOfMemoryError | MemoryError) or any(text in str(error) for text in NO_MEMORY):
        return FailureKind.MEMORY
    return FailureKind.ERROR
