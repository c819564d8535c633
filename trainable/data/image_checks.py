"""Every image read once: hashed, and decoded to see that it can be.

Threads, not processes: hashing, decoding and reading tables all let go of Python's lock, and threads need no start-up.
"""

import hashlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from trainable.checksums import from_json, to_json
from trainable.counts import counted
from trainable.data.decoding import examine
from trainable.data.image_sources import ImageFiles, TableImages
from trainable.plain_values import misfits

_VERSION = 3  # raise it with any change to what is found or how it is stored

_NO_BYTES = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class ImageChecks:
    """What reading all images found.

    digests: hex sha256 of each row's bytes. faults: row -> why its image cannot be decoded. scaled: rows whose images
    have more than 8 bits a channel, and are scaled to them.
    """

    digests: tuple[str, ...]
    faults: dict[int, str]
    scaled: frozenset[int] = frozenset()


class _Record(TypedDict):
    """`ImageChecks` as a file has them."""

    digests: tuple[str, ...]
    faults: dict[str, str]
    scaled: tuple[int, ...]


def scaled_line(n_images: int) -> str:
    """What is to be said of images whose values are scaled."""
    return f"{counted(n_images, 'image')} of more than 8 bits a channel: scaled to 8 by the range of the values"


def check_images(
    images: ImageFiles | TableImages,
    *,
    n_threads: int,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> ImageChecks:
    """Hash and decode all images, or recall what was found in the same files, by path, size and time of change.

    A file that gave no bytes is tried again: that it may be read now changes neither size nor time.
    progress: called with (images done, images in all).
    """
    recalled = cache_dir / f"{_files_key(images)}.json"
    if (checks := _recall(recalled, len(images))) is not None:
        return _tried_again(images, checks)
    checks = _check(images, n_threads, progress)
    _store(recalled, checks)
    return checks


def _tried_again(images: ImageFiles | TableImages, checks: ImageChecks) -> ImageChecks:
    digests, faults, scaled = list(checks.digests), dict(checks.faults), set(checks.scaled)
    for row in [row for row, digest in enumerate(digests) if digest == _NO_BYTES]:
        digests[row], fault, is_scaled = _look(images, row, images.read([row])[0])
        faults.pop(row, None)
        faults |= {} if fault is None else {row: fault}
        scaled |= {row} if is_scaled else set()
    return ImageChecks(tuple(digests), faults, frozenset(scaled))


def _check(
    images: ImageFiles | TableImages, n_threads: int, progress: Callable[[int, int], None] | None
) -> ImageChecks:
    digests: list[str] = []
    faults: dict[int, str] = {}
    scaled: set[int] = set()

    def look(rows: range) -> list[tuple[str, str | None, bool]]:
        return [_look(images, row, encoded) for row, encoded in zip(rows, images.read(rows), strict=True)]

    pool = ThreadPoolExecutor(max(1, n_threads), thread_name_prefix="image-check")
    try:
        for found in pool.map(look, images.stretches()):
            for digest, fault, is_scaled in found:
                if fault is not None:
                    faults[len(digests)] = fault
                if is_scaled:
                    scaled.add(len(digests))
                digests.append(digest)
            if progress is not None:
                progress(len(digests), len(images))
    finally:
        pool.shutdown(cancel_futures=True)
    return ImageChecks(tuple(digests), faults, frozenset(scaled))


def _look(images: ImageFiles | TableImages, row: int, encoded: bytes) -> tuple[str, str | None, bool]:
    """A row's digest, its fault, and whether its values are scaled."""
    fault, is_scaled = examine(encoded) if encoded else (images.absence(row), False)
    return hashlib.sha256(encoded).hexdigest(), fault, is_scaled


def _files_key(images: ImageFiles | TableImages) -> str:
    key = hashlib.sha256(f"{_VERSION}\n{len(images)}\n".encode())
    for path in images.files():
        try:
            found = os.stat(path)
            key.update(os.fsencode(f"{os.path.abspath(path)}\0{found.st_size}\0{found.st_mtime_ns}\n"))
        except OSError:  # a missing file is found by reading it
            key.update(os.fsencode(f"{path}\0missing\n"))
    return key.hexdigest()[:32]


def _recall(path: Path, n_images: int) -> ImageChecks | None:
    try:
        found = from_json(path.read_bytes())
        if any(misfits(found, _Record, "record")):
            return None
        faults = {int(row): fault for row, fault in found["faults"].items()}
    except (OSError, ValueError):  # absent or damaged: read the images again
        return None
    checks = ImageChecks(tuple(found["digests"]), faults, frozenset(found["scaled"]))
    return checks if len(checks.digests) == n_images else None


def _store(path: Path, checks: ImageChecks) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    record = {"digests": checks.digests, "faults": checks.faults, "scaled": sorted(checks.scaled)}
    unfinished.write_text(to_json(record), "utf-8")
    unfinished.replace(path)
