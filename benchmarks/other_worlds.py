"""Pictures of worlds that no demo has, to pretrain the built-in tower on: every beetle drawn at two places."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from trainable.data.decoding import decode
from trainable.data.demo import N_WORLDS
from trainable.data.demo_pictures import Looks, draw_specimen, make_looks
from trainable.data.demo_world import N_SITES, World, make_world

FIRST_SEED = N_WORLDS
"""Of the worlds that are kept for pretraining: `draw_demo` refuses it and all above."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What the tower is pretrained on; of the labels that the worlds have, nothing is in it.

    pixels: uint8 [specimens, 2, S, S, 3], the beetle at its own place, and elsewhere. species: int64 [specimens],
    counted over all worlds: those of one world are others than those of the next, whatever they are called.
    """

    pixels: NDArray[np.uint8]
    species: NDArray[np.int64]


def draw_pictures(*, n_worlds: int, n_specimens: int, image_size: int, n_processes: int) -> Pictures:
    """`n_specimens` of each of `n_worlds` worlds; all but n_processes decides what is drawn, to the bit.

    The second picture is taken in the light and before the background of any site of any world, and in a pose of its
    own: what both have in common is the beetle.
    """
    draw = partial(_draw_world, n_worlds=n_worlds, n_specimens=n_specimens, image_size=image_size)
    if n_processes == 1:
        drawn = list(map(draw, range(n_worlds)))
    else:  # no fork: torch, which is loaded by now, has threads
        with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as processes:
            drawn = list(processes.map(draw, range(n_worlds)))
    n_species = np.cumsum([0, *(int(species.max()) + 1 for _, species in drawn)])
    return Pictures(
        pixels=np.concatenate([pixels for pixels, _ in drawn]),
        species=np.concatenate([first + species for first, (_, species) in zip(n_species, drawn, strict=False)]),
    )


def _draw_world(
    index: int, *, n_worlds: int, n_specimens: int, image_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One world's pixels, and its specimens' species among those that were caught at all."""
    world, looks, rng = _make(index, n_specimens)
    places = [place for other in range(n_worlds) for place in _places(_make(other, n_specimens)[1])]
    pixels = np.empty((n_specimens, 2, image_size, image_size, 3), dtype=np.uint8)
    for specimen in range(n_specimens):
        light, background = places[rng.integers(len(places))]
        elsewhere = replace(
            looks,
            site_light=np.broadcast_to(light, (N_SITES, 3)),
            site_background=np.broadcast_to(background, (N_SITES, 3)),
        )
        for view, seen in enumerate((looks, elsewhere)):
            pixels[specimen, view] = decode(draw_specimen(world, seen, specimen, rng), image_size)
    return pixels, np.unique(world.specimen_species, return_inverse=True)[1].astype(np.int64)


def _make(index: int, n_specimens: int) -> tuple[World, Looks, np.random.Generator]:
    of_world, of_looks, of_pictures = np.random.default_rng(FIRST_SEED + index).spawn(3)
    world = make_world(n_specimens, of_world)
    return world, make_looks(world, of_looks), of_pictures


def _places(looks: Looks) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The light and background of each site."""
    return zip(looks.site_light, looks.site_background, strict=True)
