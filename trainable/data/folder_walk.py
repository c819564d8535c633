"""All files of a kind in a folder and below it; hidden and service folders are not data, links are followed once."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from trainable.counts import counted
from trainable.errors import UserError
from trainable.shown import is_well_formed, shown

SERVICE_NAMES = frozenset({"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"})
"""Folders that systems put beside data, in lower case: unpacked on a Mac, kept on a Synology, deleted, saved."""

_SHOWN = 3


@dataclass
class LeftOut:
    """What a walk left out, names by kind.

    hidden: files of the kind whose name or folder is hidden or a system's own. others: files of other kinds. closed:
    folders that cannot be opened. repeated: links to folders that were gone through already, or lie around this one.
    broken: links to nothing.
    """

    hidden: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def line(self, folder: Path, kind: str, *, with_others: bool) -> str | None:
        """All of it in a line, or None. kind: what was looked for, one of it."""
        said = [
            _listed(self.hidden, kind, "hidden or in hidden or service folders"),
            _listed(self.others, "file", f"without the name of any {kind}") if with_others else "",
            _listed(self.closed, "folder", "closed to this user"),
            _listed(self.repeated, "link", "to what was gone through already or lies around it"),
            _listed(self.broken, "link", "to nothing"),
        ]
        return f"left out of {folder}: {'; '.join(filter(None, said))}" if any(said) else None


def find_files(folder: Path, is_wanted: Callable[[str], bool]) -> tuple[list[Path], LeftOut]:
    """Files whose names are wanted, sorted by path, and what was left out.

    A link to a folder is followed once, after all folders proper, so that no loop and no second way leads anywhere.
    """
    walk = _Walk(folder, is_wanted)
    walk.go()
    return sorted(walk.found), walk.left_out


def check_utf8(paths: Iterable[Path | str]) -> None:
    """Tables, studies and MLflow hold paths as text. Raises: UserError for paths that are none, as in old archives."""
    if odd := [path for path in paths if not is_well_formed(str(path))]:
        more = f", and {counted(len(odd) - 1, 'more path')}" if len(odd) > 1 else ""
        raise UserError(f"paths of data must be text in UTF-8, but {shown(odd[0])} is not{more}; rename what is not")


class _Walk:
    def __init__(self, folder: Path, is_wanted: Callable[[str], bool]) -> None:
        self.folder, self.is_wanted = folder, is_wanted
        self.found: list[Path] = []
        self.left_out = LeftOut()
        self._seen = {_identity(parent) for parent in folder.resolve().parents}
        self._folders: list[tuple[Path, bool]] = [(folder, False)]
        self._links: list[tuple[Path, bool]] = []

    def go(self) -> None:
        while self._folders or self._links:
            is_link = not self._folders
            self._links.sort(reverse=True)
            place, is_hidden = self._links.pop() if is_link else self._folders.pop()
            if (identity := _identity(place)) not in self._seen:
                self._seen.add(identity)
                self._look_through(place, is_hidden=is_hidden)
            elif is_link and not is_hidden:
                self.left_out.repeated.append(self._name(place))

    def _look_through(self, place: Path, *, is_hidden: bool) -> None:
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            self.left_out.closed.append(self._name(place))
            return
        for entry in entries:
            path = place / entry.name
            hidden = is_hidden or entry.name.startswith(".") or entry.name.casefold() in SERVICE_NAMES
            if _is_folder(entry):
                (self._links if entry.is_symlink() else self._folders).append((path, hidden))
            else:
                self._take(path, entry, is_hidden=hidden)

    def _take(self, path: Path, entry: "os.DirEntry[str]", *, is_hidden: bool) -> None:
        name = self._name(path)
        if is_hidden:
            self.left_out.hidden += [name] * self.is_wanted(entry.name)
        elif self.is_wanted(entry.name) and _is_file(entry):
            self.found.append(path)
        else:
            is_broken = entry.is_symlink() and not os.path.exists(path)
            (self.left_out.broken if is_broken else self.left_out.others).append(name)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:  # behind a closed folder: reading it will tell
        return True


def _identity(folder: Path) -> tuple[int, int] | str:
    try:
        found = os.stat(folder)
        return found.st_dev, found.st_ino
    except OSError:  # closed: looking through it will tell
        return str(folder)


def _listed(names: list[str], noun: str, which: str) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{counted(len(names), noun)} {which} ({shown})"
