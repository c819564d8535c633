"""What a node finds out about itself. Sent by value, and for all but object storage of the standard library alone: a
node that lacks our package can still say so.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from trainable.plain_values import JsonObject

PACKAGES = ("tune", "trainable", "search_spaces")
LIBRARIES = ("ray", "torch", "open_clip_torch", "peft", "numpy")
"""Of different versions of these, trials come out different or do not run."""


def versions() -> dict[str, str]:
    """Of Python, the libraries, and a hash of our source; "missing" where there is none."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        found[name] = "missing"
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name).partition("+")[0]  # cpu and cuda builds agree
    return found | {"sentinel-tune": _source_hash()}


def probe(
    node: str, marker: str, folders: list[str], files: list[tuple[str, int]], bfloat16_on: str = ""
) -> JsonObject:
    """Look at what work needs: {"versions", "unseen", "unwritable", "unread", "without_bfloat16"}. Three of
    them are {path: what is wrong}; the last is what `bfloat16_on`, a device, lacks.

    folders: paths and URIs, to be written, each holding a file named and saying `marker`, written elsewhere. files: to
    be read, with their sizes in bytes. Leaves a file `MARKER-NODE` in each folder that it can see.
    """
    unseen, unwritable, unread = {}, {}, {}
    for folder in folders:
        try:
            problem = "" if _read(folder, marker) == marker.encode() else "another one lies there"
        except (OSError, ImportError) as error:
            problem = _reason(error)
        if problem:
            unseen[folder] = problem  # nothing is written: what lies there is not ours
            continue
        try:
            _write(folder, f"{marker}-{node}", node.encode())
        except OSError as error:
            unwritable[folder] = _reason(error)
    for file, n_bytes in files:
        try:
            size = Path(file).stat().st_size
            Path(file).open("rb").close()
            if size != n_bytes:
                unread[file] = f"it has {size} bytes instead of {n_bytes}"
        except OSError as error:
            unread[file] = _reason(error)
    return {
        "versions": versions(),
        "unseen": unseen,
        "unwritable": unwritable,
        "unread": unread,
        "without_bfloat16": without_bfloat16(bfloat16_on),
    }


def without_bfloat16(device: str) -> str:
    """What a "cpu" or "cuda" lacks here to multiply bfloat16; empty if nothing, or for no device."""
    if not device:
        return ""
    try:
        from trainable.training.precision import lack_of_bfloat16  # loads torch

        return lack_of_bfloat16(device)
    except (ImportError, OSError) as error:
        return f"cannot say: {_reason(error)}"


def _read(folder: str, name: str) -> bytes:
    if "://" not in folder:
        return Path(folder, name).read_bytes()
    from trainable.storage.place import place_of, read_file  # the node's own

    return read_file(place_of(folder), name)


def _write(folder: str, name: str, content: bytes) -> None:
    if "://" not in folder:
        Path(folder, name).write_bytes(content)
        return
    from trainable.storage.place import place_of, write_file  # the node's own

    write_file(place_of(folder), name, content)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _source_hash() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return "missing"
        root = Path(spec.origin).parent
        for file in sorted(root.rglob("*")):
            if file.suffix in (".py", ".yaml"):
                digest.update(f"{package}/{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
