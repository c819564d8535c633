"""A folder for a study or training that was given none: the first of its name that is free, however many begin."""

from itertools import count
from pathlib import Path

from tune.journal.errors import not_writable
from tune.journal.folder_lock import FILE_NAME


def claim_folder(wanted: Path, *, mark: str | None = FILE_NAME) -> Path:
    """Make the folder, or NAME-2, NAME-3 and so on where others took the name before; no two calls get the same one.

    mark: an empty file in it, since a probe of the cluster removes the empty folders that it made; None for none.
    Raises: StudyWriteError when no folder can be made there.
    """
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            if mark is not None:
                (folder / mark).touch()
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
