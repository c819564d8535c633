"""What the user reads when a study takes no more.

The command that resumes it is not part of it: whoever ends the work says it, and `status`, each with the options that
the study was worked on with.
"""

from pathlib import Path

from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder


class StudyWriteError(UserError):
    """The study's folder could not be written (disk full, quota, lost mount, silent storage).

    What was acknowledged before is whole.
    """


class StudyMovedError(StudyWriteError):
    """The study's folder, or the journal in it, is no longer where its writer began.

    now: the folder to go on with; None when it was removed, or cannot be found.
    """

    now: Path | None = None


def not_in_place(journal: Path, now: Path | None) -> StudyMovedError:
    """The error for a journal that was moved to another folder, replaced in its own, or removed."""
    if now is None:
        fate, remedy = "removed", "restore it from a copy to go on; MLflow holds what was sent"
    else:
        fate = "replaced" if now == journal.parent else f"moved to {now}"
        remedy = "resume the study there"
    error = StudyMovedError(
        f"`a study must stay where it is while a process writes it`, but {journal} was {fate}; this process stops; "
        f"{remedy}"
    )
    error.now = now
    return error


def not_writable(folder: Place, reason: str, *, what: str = "") -> StudyWriteError:
    """The error for a study that could not be written.

    what: the file of the study that was to be written; empty when it is not known.
    """
    if isinstance(folder, RemoteFolder):
        remedy = "see that the storage answers and takes objects"
    else:
        remedy = "make room"
    place = f"{folder / what}" if what else f"{folder}"
    return StudyWriteError(
        f"`the study's folder must be writable`, but {place} was not: {reason}; {remedy}, then resume the study"
    )
