"""How a command that went wrong ends: a line for each thing that is the user's affair, a file for a mistake of ours.

A line is one line, whatever it quotes, and cut where what it quotes is long.
"""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

from trainable.shown import cut, shown
from tune.printed.secrets_left_out import redact

EXIT_FAILED, EXIT_USER_ERROR = 1, 2

LONGEST_LINE = 2000
MOST_LINES = 100

_REMEDIES = {
    errno.EACCES: "get permission for it, or name another place",
    errno.EPERM: "get permission for it, or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.ENOTDIR: "a file stands where a folder belongs: move it, or name another place",
    errno.EEXIST: "something stands there already: move it, or name another place",
    errno.EISDIR: "a folder stands where a file belongs: name another place",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ELOOP: "its links lead in a circle: mend them, or name another place",
    errno.EINVAL: "name another place",
    errno.EILSEQ: "name another place",
    errno.ENOENT: "see that it is there and stays there",
}  # fmt: skip
"""What a user has named wrongly."""

_MACHINE_REMEDIES = {
    errno.ENOSPC: "make room (or inodes: see `df -i`)",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit of files' sizes (`ulimit -f`)",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "end other programs that hold many files open",
    errno.ENOMEM: "free memory",
    errno.EAGAIN: "raise the limit of processes (`ulimit -u`)",
    errno.EIO: "see to the disk",
    errno.ESTALE: "see to the network's disk",
    errno.ENXIO: "see to the device",
}
"""What the machine ran out of, or lost, in the middle of the work."""


def say_problems(problems: Iterable[str]) -> None:
    """Write each on one line of stderr."""
    lines = list(problems)
    for problem in lines[:MOST_LINES]:
        print(f"error: {cut(shown(problem), longest=LONGEST_LINE)}", file=sys.stderr)
    if len(lines) > MOST_LINES:
        print(f"error: and {len(lines) - MOST_LINES} more of this kind", file=sys.stderr)


def end_of(error: Exception, places: Mapping[str, str]) -> int:
    """Tell what nobody else told, on one line; returns the exit status.

    places: a file's or folder's absolute path -> the option that names it.
    """
    if isinstance(error, OSError) and (found := system_problem(error, places)) is not None:
        problem, status = found
    else:
        problem, status = _mistake(error), EXIT_FAILED
    say_problems([problem])
    return status


def system_problem(error: OSError, places: Mapping[str, str]) -> tuple[str, int] | None:
    """What the system refused, with the option that it concerns and the remedy, and the exit status.

    None for an error that is none of files, or says too little.
    """
    named = _path_of(error)
    remedies = _REMEDIES | _MACHINE_REMEDIES
    if error.errno not in remedies or (named is None and error.errno not in _MACHINE_REMEDIES):
        return None
    option = None if named is None else _option_of(named, places)
    if option is None and error.errno == errno.ENOENT:
        return None
    reason = os.strerror(error.errno)
    reason = reason[:1].lower() + reason[1:]
    status = EXIT_FAILED if error.errno in _MACHINE_REMEDIES else EXIT_USER_ERROR
    if named is None:
        return f"the system must do what is asked of it, but did not: {reason}; {remedies[error.errno]}", status
    rule = f"`{option}` must be a place that can be used" if option else "every place must be usable"
    return f"{rule}, but {named} was not: {reason}; {remedies[error.errno]}", status


def _path_of(error: OSError) -> str | None:
    """Of a copy the target, if it is the one that is full."""
    names = (error.filename, error.filename2)
    for name in reversed(names) if error.errno in _MACHINE_REMEDIES else names:
        if isinstance(name, str | bytes | os.PathLike) and (text := os.fsdecode(name)):
            try:
                return os.path.abspath(text)
            except OSError:  # the working folder is gone
                return text
    return None


def _option_of(path: str, places: Mapping[str, str]) -> str | None:
    """The option whose place `path` is or lies in, the innermost one, also where that bears a name of ours for a while.

    Else one whose place lies in `path`.
    """
    found = Path(path)
    within = [(len(place), option) for place, option in places.items() if found.is_relative_to(place)]
    around = [(-len(place), option) for place, option in places.items() if Path(place).is_relative_to(found)]
    beside = [
        (len(place), option)
        for place, option in places.items()
        if any(part.startswith(f".{Path(place).name}.") for part in _parts_below(found, Path(place).parent))
    ]
    return max([*within, *beside] or around, default=(0, None))[1]


def _parts_below(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts[:1] if path.is_relative_to(folder) else ()


def kept_traceback(text: str) -> str:
    """Where a traceback is kept for whoever is to mend it: "in FILE", which only this user can read.

    Credentials in it are cut out. Where no place takes a file, it goes to stderr.
    """
    text = redact(text)
    for folder in (None, "/var/tmp", "."):
        try:
            handle, name = tempfile.mkstemp(prefix="sentinel-tune-error-", suffix=".txt", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return f"in {os.path.abspath(name)}"
    print(text, file=sys.stderr)
    return "above, since no place takes a file"


def _mistake(error: Exception) -> str:
    place = kept_traceback("".join(traceback.format_exception(error)))
    said = cut(" ".join(redact(f"{type(error).__name__}: {error}").split()), longest=300)
    return f"`sentinel-tune` must not fail in this way, but got {said}; the traceback, to be reported, is {place}"
