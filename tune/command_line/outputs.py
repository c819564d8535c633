"""Whether what a command is to write can be written, seen before the work whose result it is to hold."""

import os
import stat
from pathlib import Path
from tempfile import NamedTemporaryFile

from trainable.errors import UserError
from trainable.shown import is_well_formed, shown
from trainable.whole_file import is_written_to

_LEAST_BYTES = 4096
"""A disk without room for them is full."""


def file_problem(path: Path, option: str, *, begins: str | None = None) -> str | None:
    """What keeps `whole_file(path, in_place=True)` from writing; None when nothing is seen. Nothing is left behind.

    Its folder must be there: it may be misspelt. Folders that an option itself names are made, with those above.

    begins: how all that is written there begins: a file that begins otherwise is none of ours, and is not replaced.
    """
    if os.path.isdir(path):  # False for a name that the system does not take
        return f"`{option}` must be a file, but {path} is a folder"
    try:
        fault = _fault_of_file(path)
        if fault is None and not (folder := Path(os.path.realpath(path)).parent).is_dir():
            return f"`{option}` must be in a folder that is there, but {folder} is not; make it, or give another place"
        if fault is None and begins is not None and not _is_replaceable(path, begins.encode()):
            return (
                f"`{option}` must be a new file, or one that this command wrote, but {path} is another; remove it, or "
                "give another place"
            )
    except (OSError, ValueError) as error:  # the second is what a name with a NUL gets
        fault = _reason(error)
    return None if fault is None else _problem(path, option, fault)


def _is_replaceable(path: Path, begins: bytes) -> bool:
    """Whether nothing is lost: there is no file, an empty one, one of ours, or a pipe or device."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        return file.read(len(begins)) in (b"", begins)


def folder_problem(folder: Path, option: str) -> str | None:
    """What keeps a folder from being made and written to; None when nothing is seen. Nothing is left behind."""
    try:
        fault = _fault_of_folder(folder)
    except (OSError, ValueError) as error:
        fault = _reason(error)
    return None if fault is None else _problem(folder, option, fault)


def weights_folder_problem(folder: Path, option: str) -> str | None:
    """As `folder_problem`, of a folder for weights: safetensors takes no path that is not text in UTF-8."""
    if (problem := folder_problem(folder, option)) is not None or is_well_formed(os.path.abspath(folder)):
        return problem
    return _problem(folder, option, "its whole path is no text in UTF-8, which files of weights need")


def unwritten(path: Path, option: str, error: OSError) -> UserError:
    """What the user is told of an output that could be written when it was looked at, and then could not."""
    return UserError(_problem(path, option, _reason(error)))


def wrote(path: Path) -> str:
    """What the user is told of an output that was written: its whole path."""
    return f"wrote {shown(path.absolute())}"


def _problem(path: Path, option: str, fault: str) -> str:
    return f"`{option}` must be writable, but {path} is not: {fault}; free it, or give another place"


def _reason(error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return reason[:1].lower() + reason[1:]


def _fault_of_file(path: Path) -> str | None:
    end = Path(os.path.realpath(path))
    if end.is_symlink():
        return "it is a link to itself"
    if is_written_to(path, in_place=True):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            return "it is a socket"
        return None if os.access(path, os.W_OK) else "there is no permission to write to it"
    if end.exists() and not os.access(end, os.W_OK):
        return "there is no permission to write to it"
    return _fault_of_folder(end.parent, name=end.name)


def _fault_of_folder(folder: Path, *, name: str = "") -> str | None:
    """name: of a file that is to lie in it."""
    wanted = Path(os.path.abspath(folder / name))
    folder = wanted.parent if name else wanted
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        return f"{there} is a file"
    for part in wanted.relative_to(there).parts:
        _look(there / part)
    if not os.access(there, os.W_OK | os.X_OK):
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return f"{there} is on a disk that is only read"
        return f"there is no permission to write to {there}"
    _try(there)
    return None


def _look(path: Path) -> None:
    """Raises: OSError or ValueError for a name that the system does not take."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return


def _try(folder: Path) -> None:
    """Make a file and remove it: the system may say no for reasons that its permissions do not tell."""
    with NamedTemporaryFile(dir=folder, prefix=".") as file:
        file.write(bytes(_LEAST_BYTES))
