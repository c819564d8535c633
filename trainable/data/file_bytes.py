"""Bytes of image files; where there are none, why, and which file may have been meant."""

import os
import stat
import unicodedata
from functools import lru_cache
from pathlib import Path

MISSING = "there is no such file"


def file_bytes(path: str) -> bytes:
    """All bytes of a regular file; b"" for any other and for one that cannot be read."""
    try:
        # a pipe would be waited for without end, and a device read without end
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


def why_absent(path: str) -> str:
    """Why a file gives no bytes, in words; of one that is not there, the file of nearly that name."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return _why_missing(path)
    except PermissionError:
        return f"permission denied: {_closed_folder(path)} is closed to this user"
    except ValueError:
        return f"{MISSING}: its name holds a zero byte"
    except OSError as error:
        return _why_missing(path) if isinstance(error, NotADirectoryError) else f"it cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"it is {_kind(found.st_mode)} and no file"
    if found.st_size == 0:
        return "the file is empty"
    try:
        with open(path, "rb") as file:
            file.read(1)
    except PermissionError:
        return f"permission denied: the file is closed to this user (mode {stat.S_IMODE(found.st_mode):03o})"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "it could not be read, but can be now: try again"


def near_miss(path: str) -> tuple[str, str] | None:
    """A file whose name is this one but for backslashes, case, Unicode form or ending; and what is different."""
    if (found := _resolved(path)) is not None:
        return found, "other case" if _normal(path) != _normal(found) else "another Unicode form"
    if "\\" in path and (found := _resolved(path.replace("\\", "/"))) is not None:
        return found, "slashes for backslashes"
    folder, name = os.path.split(path)
    found = _resolved(folder) if folder else "."
    others = () if found is None else _entries_of(found).get(_folded(os.path.splitext(name)[0]), ())
    return (os.path.join(found or "", others[0]), "another ending") if others else None


def _why_missing(path: str) -> str:
    if os.path.islink(path):
        return f"it is a link to {os.readlink(path)}, which is not there"
    if (found := near_miss(path)) is not None:
        return f"{MISSING}; did you mean {found[0]}? ({found[1]})"
    folder = Path(path).parent
    return MISSING + ("" if folder.exists() else f", nor the folder {folder}")


def _resolved(path: str) -> str | None:
    """The path that is there, each part spelt as it is; None if there is none, or more than one."""
    parts = Path(path).parts
    found = "" if not parts or not os.path.isabs(path) else parts[0]
    for part in parts[1:] if found else parts:
        if not os.path.lexists(exact := os.path.join(found, part)):
            others = _entries_of(found or ".").get(_folded(part), ())
            others = tuple(name for name in others if _folded(name) == _folded(part))  # not by their first part alone
            if len(others) != 1:
                return None
            exact = os.path.join(found, others[0])
        found = exact
    return found or None


def _entries_of(folder: str) -> dict[str, tuple[str, ...]]:
    try:
        return _entries(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=64)
def _entries(folder: str, _changed_ns: int) -> dict[str, tuple[str, ...]]:
    """Names in a folder by their folded form, and by that of their part before the ending."""
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)):
        for key in {_folded(name), _folded(os.path.splitext(name)[0])}:
            found[key] = (*found.get(key, ()), name)
    return found


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _normal(_normal(text).casefold()).strip()


def _closed_folder(path: str) -> str:
    """The first folder on the way that cannot be entered."""
    for folder in reversed(Path(path).absolute().parents):
        if not os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            return f"the folder {folder}"
    return "a folder on the way"


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
