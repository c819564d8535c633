"""A folder for a study that was given none: the first of its name that is free, however many begin at once."""

from itertools import count
from pathlib import Path

from tune.journal.errors import not_writable
from tune.journal.folder_lock import LOCK_NAME


def claim_folder(wanted: Path) -> Path:
    """Make the folder, or NAME-2, NAME-3 and so on where others took the name before; no two calls get the same one.

    Raises: StudyWriteError when no folder can be made there.
    """
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            (folder / LOCK_NAME).touch()  # a probe of the cluster removes the empty folders that it made
        except FileNotFoundError:  # such a probe has just done so
            continue
        except FileExistsError as error:
            if folder.parent.is_dir():
                continue
            raise not_writable(folder, str(error.strerror)) from error
        except OSError as error:
            raise not_writable(folder, str(error.strerror or error)) from error
        return folder
    raise AssertionError("numbers do not end")
