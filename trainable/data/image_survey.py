"""All photographs looked at once: formats, sizes, which cannot be read, and a hash of what each looks like."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from trainable.data.decoding import examine, open_image, scaled_to_8_bits
from trainable.data.image_sources import ImageFiles, TableImages
from trainable.data.near_duplicates import N_BITS, perceptual_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSurvey:
    """What n photographs are. formats: PIL's name -> how many. faults: row -> why it cannot be read.

    sizes: int64 [readable, 2], widths and heights in pixels. hashes: bool [readable, bits] of
    `near_duplicates.perceptual_hash`. Both in row order, without the rows of faults.
    """

    n: int
    formats: dict[str, int]
    faults: dict[int, str]
    sizes: Int64[NDArray[np.int64], "readable 2"]
    hashes: Bool[NDArray[np.bool_], "readable bits"]


@dataclass(slots=True)
class _Looks:
    formats: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    hashes: list[NDArray[np.bool_]] = field(default_factory=list)


def survey_images(
    images: ImageFiles | TableImages, *, n_threads: int, progress: Callable[[int, int], None] | None = None
) -> ImageSurvey:
    """Read each image once. progress: called with (images looked at, images in all)."""
    looks, n_done = _Looks(), 0

    def look(rows: range) -> list[str | tuple[str, tuple[int, int], NDArray[np.bool_]]]:
        encoded = images.read(rows)
        return [_look(content) if content else images.absence(row) for row, content in zip(rows, encoded, strict=True)]

    pool = ThreadPoolExecutor(max(1, n_threads), thread_name_prefix="image-survey")
    try:
        for found in pool.map(look, images.stretches()):
            for of in found:
                if isinstance(of, str):
                    looks.faults[n_done] = of
                else:
                    looks.formats[of[0]] += 1
                    looks.sizes.append(of[1])
                    looks.hashes.append(of[2])
                n_done += 1
            if progress is not None:
                progress(n_done, len(images))
    finally:
        pool.shutdown(cancel_futures=True)
    return ImageSurvey(
        n=n_done,
        formats=dict(looks.formats.most_common()),
        faults=looks.faults,
        sizes=np.array(looks.sizes, dtype=np.int64).reshape(-1, 2),
        hashes=np.array(looks.hashes, dtype=np.bool_).reshape(-1, N_BITS),
    )


def _look(encoded: bytes) -> str | tuple[str, tuple[int, int], NDArray[np.bool_]]:
    """Format, size and hash of an image; or what makes it unreadable, as `examine` says it."""
    fault, _ = examine(encoded)
    if fault is not None:
        return fault
    with open_image(encoded) as image:
        format_, size = image.format or "?", image.size
        readable = image.convert("LA") if image.mode == "La" else image  # PIL makes no greys of "La"
        return format_, size, perceptual_hash(scaled_to_8_bits(readable))
