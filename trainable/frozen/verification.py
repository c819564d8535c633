"""The files of a store, read once and compared with the sha256 they were written with.

Once a process, and once a store as long as its files are not touched: KEY.verified.json beside the store's folder says
of which inode, size and times of change each file was found right. Where that cannot be written, as in a cache that is
read-only, each process reads for itself.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from trainable.errors import UserError
from trainable.frozen.shards import sha256_of, write_atomically
from trainable.plain_values import parse_json

THREADS = 4
"""Files read at a time: hashing lets go of Python's lock (1.5 GB/s a thread with SHA instructions, 0.4 without)."""

StoreFile = tuple[str, int, str]
"""Name in the store's folder, bytes, sha256."""

_Version = tuple[int, int, int, int]


class DamagedFeatures(UserError):
    """Files of a finished store are not what was written."""


def check_sizes(folder: Path, files: Sequence[StoreFile], *, remedy: str) -> None:
    """Raises: UserError naming every file that is missing or of another size."""
    if problems := [p for name, size, _ in files if (p := _size_problem(folder / name, size))]:
        raise UserError([*problems, remedy])


def check_contents(folder: Path, files: Sequence[StoreFile]) -> None:
    """Read the files that are not known to be right as they are.

    Raises: DamagedFeatures naming every file with another sha256.
    """
    versions = {name: _version(folder / name) for name, _, _ in files}
    mark = folder.with_name(f"{folder.name}.verified.json")
    known = _read_mark(mark)
    unknown = [(name, sha) for name, _, sha in files if known.get(name) != [sha, *versions[name]]]
    if not unknown:
        return
    with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as pool:
        found = list(pool.map(lambda name: _sha256(str(folder / name), versions[name]), [name for name, _ in unknown]))
    if problems := [
        _problem(folder / name, sha, is_) for (name, sha), is_ in zip(unknown, found, strict=True) if sha != is_
    ]:
        raise DamagedFeatures(problems)
    with suppress(OSError):  # a store that is read-only, or a full disk
        write_atomically(mark, json.dumps({name: [sha, *versions[name]] for name, _, sha in files}).encode())


@cache
def _sha256(file: str, version: _Version) -> str:
    """version: by which a file that was changed in the meantime is another one."""
    del version
    try:
        return sha256_of(Path(file))
    except OSError as error:
        return f"none that can be read ({error.strerror})"


def _version(file: Path) -> _Version:
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns  # nobody sets the last one back


def _read_mark(mark: Path) -> dict[str, object]:
    try:
        return dict(parse_json(mark.read_bytes()))
    except (OSError, ValueError, TypeError):  # none yet, or damaged: the files are read again
        return {}


def _problem(file: Path, written: str, found: str) -> str:
    return (
        f"{file} must have the sha256 it was written with, {written}, but has {found}; delete this file, then run "
        "`sentinel-tune search`, `extract` or `retrain` as before: it is made again, and the rest is kept"
    )


def _size_problem(file: Path, n_bytes: int) -> str | None:
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        return f"{file} must exist, but is missing"
    return None if found == n_bytes else f"{file} must have {n_bytes} bytes, but has {found}"
