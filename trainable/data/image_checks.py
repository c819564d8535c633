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

from trainable.checksums import from_json, to_json
from trainable.data.decoding import find_fault
from trainable.data.image_sources import ImageFiles, TableImages

_VERSION = 2  # raise it with any change to what is found or how it is stored


@dataclass(frozen=True, slots=True)
class ImageChecks:
    """What reading all images found.

    digests: hex sha256 of each row's bytes. faults: row -> why its image cannot be decoded.
    """

    digests: tuple[str, ...]
    faults: dict[int, str]


def check_images(
    images: ImageFiles | TableImages,
    *,
    n_threads: int,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> ImageChecks:
    """Hash and decode all images, or recall what was found in the same files, by path, size and time of change.

    progress: called with (images done, images in all).
    """
    recalled = cache_dir / f"{_files_key(images)}.json"
    if (checks := _recall(recalled, len(images))) is None:
        checks = _check(images, n_threads, progress)
        _store(recalled, checks)
    return checks


def _check(
    images: ImageFiles | TableImages, n_threads: int, progress: Callable[[int, int], None] | None
) -> ImageChecks:
    digests: list[str] = []
    faults: dict[int, str] = {}

    def look(rows: range) -> list[tuple[str, str | None]]:
        return [(hashlib.sha256(encoded).hexdigest(), find_fault(encoded)) for encoded in images.read(rows)]

    pool = ThreadPoolExecutor(max(1, n_threads), thread_name_prefix="image-check")
    try:
        for found in pool.map(look, images.stretches()):
            for digest, fault in found:
                if fault is not None:
                    faults[len(digests)] = fault
                digests.append(digest)
            if progress is not None:
                progress(len(digests), len(images))
    finally:
        pool.shutdown(cancel_futures=True)
    return ImageChecks(tuple(digests), faults)


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
        checks = ImageChecks(tuple(found["digests"]), {int(row): fault for row, fault in found["faults"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent or damaged: read the images again
        return None
    return checks if len(checks.digests) == n_images else None


def _store(path: Path, checks: ImageChecks) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    unfinished.write_text(to_json({"digests": checks.digests, "faults": checks.faults}), "utf-8")
    unfinished.replace(path)
