"""Marks in a folder, here or on object storage, by which processes on other machines see that it is the same one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainable.errors import UserError
from trainable.storage.place import Place, delete_file, file_names, write_file
from trainable.storage.remote_folder import RemoteFolder


@contextmanager
def marked(folder: Place, marker: str) -> Iterator[None]:
    """A file in the folder that says its own name; at the end it is gone, as are all whose names begin so, and the
    folders that were made for it.

    Raises: UserError when this process itself cannot write there.
    """
    made = [] if isinstance(folder, RemoteFolder) else [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        write_file(folder, marker, marker.encode())
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} must be writable, but is not: {reason}; name another folder") from error
    try:
        yield
    finally:
        for name in file_names(folder):
            if name.startswith(marker):
                delete_file(folder, name)
        for one in made:
            _remove_if_empty(one)


def has_mark(folder: Place, marker: str) -> bool:
    """Whether the mark is seen here."""
    if isinstance(folder, RemoteFolder):
        return marker in file_names(folder)
    return (folder / marker).exists()  # by its name: NFS may keep a listing for seconds


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # another process has begun to use it
        return
