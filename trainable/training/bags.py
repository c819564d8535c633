"""Specimens of one event as one bag: what the loss sees of them is their mean forecast, as the score does.

A label belongs to an event and no picture tells all of it: of a specimen alone it asks for what is not there to be
seen, which a tail then learns by heart.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor


def bags_of(
    event_ids: Shaped[NDArray[np.generic], " specimens"], *, size: int
) -> Int64[NDArray[np.int64], " specimens"]:
    """The bag of each specimen, numbered from 0 in the order in which the bags begin.

    event_ids: of the specimens in an order drawn at random. A bag holds `size` specimens of an event that follow one
    another in it, the last bag of an event what is left.
    """
    by_event = np.argsort(event_ids, kind="stable")
    ordered, places = event_ids[by_event], np.arange(len(event_ids))
    in_event = places - np.searchsorted(ordered, ordered)
    first = np.empty_like(places)  # of each specimen's bag, its place as drawn
    first[by_event] = by_event[places - in_event % size]
    return np.unique(first, return_inverse=True)[1]


def side_by_side(
    rows: Int64[NDArray[np.int64], " train"],
    event_ids: Shaped[NDArray[np.generic], " specimens"],
    *,
    size: int,
) -> tuple[Int64[NDArray[np.int64], " train"], Int64[Tensor, " specimens"] | None]:
    """The rows with each bag's side by side, and every specimen's bag; as they were and None where a bag holds one.

    rows: of specimens, in an order drawn at random. event_ids: of all specimens.
    """
    if size == 1:
        return rows, None
    own = bags_of(event_ids[rows], size=size)
    bags = torch.zeros(len(event_ids), dtype=torch.int64)
    bags[torch.from_numpy(rows)] = torch.from_numpy(own)
    return rows[np.argsort(own, kind="stable")], bags


def over_bags(
    values: Float[Tensor, "batch ..."], bags: Int64[Tensor, " batch"], reduce: Literal["mean", "sum"]
) -> Float[Tensor, "bags ..."]:
    """What a batch's bags have of its specimens' values. bags: ascending, on the CPU.

    Adds in the order of the batch, on a GPU too, where sums by index add in any; and in full float32, where a product
    would be rounded as products are.
    """
    sizes = torch.unique_consecutive(bags, return_counts=True)[1].to(values.device, non_blocking=True)
    return torch.segment_reduce(values, reduce, lengths=sizes, unsafe=True)


def places_of(bags: Int64[Tensor, " batch"]) -> Int64[Tensor, " batch"]:
    """Each specimen's bag by its place among the batch's bags. bags: ascending."""
    places: Tensor = torch.unique_consecutive(bags, return_inverse=True)[1]
    return places


def partners_in(places: Int64[Tensor, " batch"], other: Int64[Tensor, " bags"]) -> Int64[Tensor, " batch"]:
    """A specimen of `other` of its bag for each one: the first for the first, and again from the first when they end.

    places: as of `places_of`.
    """
    sizes = torch.bincount(places)
    starts = sizes.cumsum(0) - sizes
    in_bag = torch.arange(len(places)) - starts[places]
    partner = other[places]
    return starts[partner] + in_bag % sizes[partner]


def borders(bags: Int64[Tensor, " batch"], n_parts: int) -> list[int]:
    """Where to cut a batch into at most `n_parts` parts, as equal as can be, so that no bag is cut."""
    starts = (torch.nonzero(torch.diff(bags)).ravel() + 1).tolist()
    wanted = [round(len(bags) * i / n_parts) for i in range(1, n_parts)]
    return sorted({min(starts, key=lambda start: abs(start - at)) for at in wanted}) if starts else []
