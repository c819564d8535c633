"""Files that are there whole or not at all, whatever dies while they are written."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_LONGEST_NAME = 200
"""Bytes of a file's name that its temporary name begins with; systems take 255."""


@contextmanager
def whole_file(path: Path, *, in_place: bool = False) -> Iterator[Path]:
    """Yield a temporary name to write to; at the end of the block its content is that of `path`.

    What was there before stays until the new content is on the disk, and stays if the block raises. A link stays and
    leads to the new content; a pipe, a device or one of this process's open files (such as /dev/stdout) is written to.
    in_place: also keep a file that has further names (hard links), or lies in a folder that takes no new ones: at the
    end of the block it is written over, so that a full disk may cut it short.
    Raises: OSError.
    """
    if is_written_to(path, in_place=in_place):
        with TemporaryDirectory(prefix="sentinel-tune-") as scratch:
            temporary = Path(scratch, "content")
            yield temporary
            number = _descriptor(path)
            with temporary.open("rb") as content, open(path if number is None else os.dup(number), "wb") as out:
                shutil.copyfileobj(content, out)
        return
    target = _end_of_links(path)
    temporary = _beside(target)
    try:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not say of which file
        raise


def is_written_to(path: Path, *, in_place: bool = False) -> bool:
    """Whether `whole_file` writes to what is there under this name, instead of putting a new file in its place.

    Raises: OSError where that cannot be seen.
    """
    if (number := _descriptor(path)) is not None:
        os.fstat(number)
        return True
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(found.st_mode):
        return False
    if not stat.S_ISREG(found.st_mode):
        return True
    return in_place and (found.st_nlink > 1 or not os.access(_end_of_links(path).parent, os.W_OK | os.X_OK))


def sync(path: Path) -> None:
    """Have the system write a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _end_of_links(path: Path) -> Path:
    """Where the new file goes: what `path` leads to, which need not be there yet."""
    end = Path(os.path.realpath(path))
    if end.is_symlink():  # links in a circle
        os.stat(end)
    return end


def _beside(target: Path) -> Path:
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.{os.getpid()}.partial")


def _descriptor(path: Path) -> int | None:
    """The number of the open file that `path` is another name of, such as /dev/stdout or /dev/fd/63."""
    for _ in range(40):  # links to links, as far as systems follow them
        folder = os.path.realpath(path.parent)
        if folder == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():
            return int(path.name)
        path = Path(folder, path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None
