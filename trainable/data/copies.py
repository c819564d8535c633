"""Photographs that are there more than once, byte for byte: on both sides of a split they let a score tell memory.

Which copy stays does not depend on a split: the first row, as a dataset is read, train before validation. So does the
first of those with differing labels, since nothing tells which is right; they are counted apart.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.shown import brief

Ints = NDArray[np.int64]

_SHOWN = 3


def first_rows(digests: Sequence[str]) -> Ints:
    """int64 [n]: for each row the first one with the same digest."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)


def copies_line(
    frame: pd.DataFrame, digests: Sequence[str], names: Sequence[str], targets: Sequence[str]
) -> str | None:
    """What is to be said of the rows that repeat an earlier one's photograph; None if there are none.

    frame: `Specimens.frame`, with digests and names of its rows, and columns of its targets.
    """
    first = first_rows(digests)
    again = np.flatnonzero(first != np.arange(len(first)))
    if not len(again):
        return None
    labels = frame[["event_id", *targets]].to_numpy()
    n_other = int((labels[again] != labels[first[again]]).any(axis=1).sum())
    others = f", {n_other} of them of another event or with other labels" if n_other else ""
    return (
        f"{len(again)} of {len(first)} specimens repeat the photograph of another, byte for byte{others}: "
        f"{_pairs(again, first[again], names)}; --drop-duplicates keeps the first of each"
    )


def shared_line(digests: Sequence[str], names: Sequence[str], train: Ints, held_out: Ints) -> str | None:
    """What is to be said of held-out rows whose photograph is among those trained on; None if there are none."""
    in_train = {digests[row]: int(row) for row in train[::-1]}
    shared = np.array([row for row in held_out if digests[row] in in_train], dtype=np.int64)
    if not len(shared):
        return None
    twins = [in_train[digests[row]] for row in shared]
    return (
        f"{len(shared)} of {len(held_out)} held-out specimens are, byte for byte, in train too: "
        f"{_pairs(shared, twins, names)}; the scores tell of memory, not of new sites: --drop-duplicates"
    )


def shared_ids_line(given: pd.Series) -> str | None:
    """What is to be said of public_ids that several rows have; None if there are none. given: "" where missing."""
    counts = given[given != ""].value_counts()
    several = counts[counts > 1]
    if several.empty:
        return None
    if several.iloc[0] == len(given):
        return f"all {len(given)} specimens have the public_id {brief(several.index[0])}: it tells none from another"
    listed = ", ".join(f"{brief(name)} {count} times" for name, count in several.iloc[:_SHOWN].items())
    more = ", ..." if len(several) > _SHOWN else ""
    return f"{several.sum()} specimens share their public_id with another: {listed}{more}"


def _pairs(rows: Iterable[int], twins: Iterable[int], names: Sequence[str]) -> str:
    pairs = [f"{names[row]} is {names[twin]}" for row, twin in zip(rows, twins, strict=True)]
    return ", ".join(pairs[:_SHOWN]) + (", ..." if len(pairs) > _SHOWN else "")
