"""Folders that may be here or on object storage, and the few things that are done the same way in both."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trainable.storage.remote_folder import RemoteFolder
from trainable.storage.uri import looks_like_uri
from trainable.whole_file import whole_file

Place = Path | RemoteFolder
"""A folder: a path, or the URI of one on object storage."""


def place_of(text: "str | Place", *, what: str = "folder") -> Place:
    """A path or URI as its text says.

    what: the option or value that it was given for, as messages name it.
    Raises: UserError for a URI that is none of a folder on object storage.
    """
    if isinstance(text, RemoteFolder) or not looks_like_uri(str(text)):
        return text if isinstance(text, RemoteFolder) else Path(text)
    return RemoteFolder.parse(str(text), what=what)


def write_file(folder: Place, name: str, content: bytes) -> None:
    """Write one file of a folder, whole or not at all; the folder and those around it are made where they lack.

    Raises: OSError.
    """
    if isinstance(folder, RemoteFolder):
        folder.write(name, content)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / name) as temporary:
        temporary.write_bytes(content)


def read_file(folder: Place, name: str) -> bytes:
    """One file of a folder.

    Raises: OSError; FileNotFoundError when it is not there.
    """
    return folder.read(name) if isinstance(folder, RemoteFolder) else (folder / name).read_bytes()


def delete_file(folder: Place, name: str) -> None:
    """Remove one file of a folder; one that is not there is no error.

    Raises: OSError.
    """
    if isinstance(folder, RemoteFolder):
        folder.delete(name)
    else:
        (folder / name).unlink(missing_ok=True)


def file_names(folder: Place) -> list[str]:
    """Names of the files of a folder, not of those in folders within; none when it is not there.

    Raises: OSError.
    """
    if isinstance(folder, RemoteFolder):
        return [name for name in folder.sizes() if "/" not in name]
    return [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


@contextmanager
def written_as_file(folder: Place, name: str) -> Iterator[Path]:
    """Yield a local file to write to; at the end of the block it is the folder's `name`, whole or not at all.

    The folder is made where it lacks; what it lies in must be there, so that what was moved away is not begun anew.
    Raises: OSError.
    """
    if isinstance(folder, RemoteFolder):
        with TemporaryDirectory(prefix="sentinel-tune-") as scratch:
            yield Path(scratch, name)
            folder.upload(Path(scratch, name), name)
        return
    folder.mkdir(exist_ok=True)
    with whole_file(folder / name) as temporary:
        yield temporary


@contextmanager
def read_as_file(folder: Place, name: str) -> Iterator[Path]:
    """Yield the folder's `name` as a local file, which may be gone after the block.

    Raises: OSError; FileNotFoundError when it is on object storage and not there.
    """
    if isinstance(folder, RemoteFolder):
        with TemporaryDirectory(prefix="sentinel-tune-") as scratch:
            folder.download(name, Path(scratch, name))
            yield Path(scratch, name)
        return
    yield folder / name
