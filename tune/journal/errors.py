"""What the user reads when a study takes no more."""

from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder


class StudyWriteError(UserError):
    """The study's folder could not be written (disk full, quota, lost mount, silent storage).

    What was acknowledged before is whole.
    """


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
        f"`the study's folder must be writable`, but {place} was not: {reason}; {remedy}, then go on with "
        f"--resume {folder}"
    )
