"""Photographs that show nearly the same, told by a hash of what they look like: copies that were saved anew, say.

The hash is the perceptual one of the cosine transform (pHash): the image in greys, averaged to 64 x 64 fields; of its
16 x 16 slowest waves, without the mean, whether each has more than the middle one. Lightness, contrast and fine detail
are not in it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from PIL import Image

N_FIELDS, N_WAVES = 64, 16
N_BITS = N_WAVES * N_WAVES - 1

MOST_BITS = 12
"""In which the hashes of nearly the same photograph may differ.

Of 1,500 drawn beetles, all on the same ground and much alike, no two differ in fewer than 14 bits, and the usual two in
112; photographs of differing scenes are at least as far apart. Saved anew as JPEG of quality 80, 99 of 100 differ in 12
or fewer from themselves. Were the bits of two photographs even and independent, 12 or fewer of 255 would be seen once
in 1e55 pairs: what limits the number is what looks alike, not chance. tests/trainable/test_near_duplicates.py holds it.
"""

_ROWS_AT_ONCE = 512


def perceptual_hash(image: Image.Image) -> Bool[NDArray[np.bool_], " bits"]:
    """The 255 bits of an opened image of any mode and size; a JPEG is decoded no finer than it must be.

    Raises: whatever PIL raises for an image that cannot be decoded.
    """
    image.draft("L", (2 * N_FIELDS, 2 * N_FIELDS))
    grey = image.convert("L").resize((N_FIELDS, N_FIELDS), Image.Resampling.BOX)
    waves = _WAVES @ np.asarray(grey, dtype=np.float64) @ _WAVES.T
    amplitudes = waves.reshape(-1)[1:]
    return amplitudes > np.median(amplitudes)


def first_twins(
    hashes: Bool[NDArray[np.bool_], "rows bits"], groups: Sequence[object], *, most_bits: int = MOST_BITS
) -> Int64[NDArray[np.int64], " rows"]:
    """Of each row the first one of another group whose hash differs in `most_bits` or fewer; -1 where there is none.

    All pairs are compared, exactly: as products of vectors of -1 and 1, whose sums float32 holds. Tens of thousands
    take seconds, and memory for some hundred rows at a time.
    """
    n, n_bits = hashes.shape
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    _, numbers = np.unique([str(group) for group in groups], return_inverse=True)
    twins = np.full(n, -1, dtype=np.int64)
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        is_near = signs[rows] @ signs.T >= n_bits - 2 * most_bits  # a product is n_bits less twice what differs
        is_near &= numbers[rows, None] != numbers
        found = is_near.argmax(axis=1)
        twins[rows] = np.where(is_near[np.arange(len(found)), found], found, -1)
    return twins


def _slowest_waves() -> NDArray[np.float64]:
    """[waves, fields]: rows of the cosine transform (DCT-II) of as many fields."""
    places = (2 * np.arange(N_FIELDS) + 1) * np.pi / (2 * N_FIELDS)
    return np.cos(np.arange(N_WAVES)[:, None] * places)


_WAVES = _slowest_waves()
