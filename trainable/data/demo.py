"""The built-in demo dataset: beetle-like specimens with the published structure of the real ones, in the hub's own
schema.

Nothing in it was photographed; figures measured on it say how the program works and nothing about beetles.
"""

import json
import os
import shutil
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainable.data.demo_pictures import Looks, draw_colorpicker, draw_scalebar, draw_specimen, make_looks
from trainable.data.demo_world import DOMAINS, MIN_PER_SITE, N_SITES, TARGETS, World, draw_sizes, make_world
from trainable.errors import UserError
from trainable.shown import brief

DEMO_VERSION = 1
"""Raise it with any change to what is drawn: a drawing of another version is not reused."""

TABLE_VERSION = 2
"""Raise it with any column that is added: pictures, labels and splits are what they were."""

N_WORLDS = 2**63
"""Seeds of demos are 0 to this less one; those from it on are of the worlds that `tiny` was pretrained on."""

N_SPECIMENS = 1500
MOST_SPECIMENS = 1_000_000
N_TRAIN_SHARDS = 2
VALIDATION_SHARE = 0.1  # the hub's: 2,486 of 24,856
ROWS_PER_GROUP = 100  # as `datasets` writes tables with images

_IMAGES = ("file_path", "colorpicker_full_path", "scalebar_full_path")
_INTEGERS = ("eventID", "domainID")
_NUMBERS = ("size_mm",)
_STRINGS = (
    "siteID",
    "scientificName",
    "collectDate",
    "public_id",
    "relative_img_loc",
    "colorpicker_path",
    "scalebar_path",
)


def draw_demo(path: Path, *, n_specimens: int = N_SPECIMENS, seed: int = 0) -> None:
    """Write the demo dataset as a folder of parquet shards; the same size and seed give the same rows and bytes.

    path: a folder that does not exist yet; it appears complete or not at all. Its validation split is a random tenth
    of the images, and leaks as the real one does.

    Raises: UserError if path exists, n_specimens is too small for every site to have events, or seed is no demo's.
    """
    path = Path(path)
    if n_specimens < MIN_PER_SITE * N_SITES:
        raise UserError(
            f"the demo needs at least {MIN_PER_SITE} specimens for each of its {N_SITES} sites, "
            f"`n_specimens >= {MIN_PER_SITE * N_SITES}`, but got {n_specimens}"
        )
    if n_specimens > MOST_SPECIMENS:
        raise UserError(f"the demo draws at most {MOST_SPECIMENS} specimens, but got {brief(n_specimens)}")
    if not 0 <= seed < N_WORLDS:
        raise UserError(f"`0 <= seed < 2**63` must hold, but got {brief(seed)}")
    if os.path.lexists(path):
        raise UserError(f"the folder of the demo data must not exist yet, but {path} does; choose another")
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        _write(unfinished / "data", n_specimens, seed)
        os.rename(unfinished, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"the demo data must be written to {path}, but that failed: {reason}; make room, or name another place "
            "(PATH, or --cache)"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, n_specimens: int, seed: int) -> None:
    of_world, of_looks, of_pictures, of_split, of_sizes = np.random.default_rng(seed).spawn(5)
    world = make_world(n_specimens, of_world)
    looks = make_looks(world, of_looks)
    columns = _columns(world, looks, of_pictures) | {"size_mm": draw_sizes(world, of_sizes)}
    order = of_split.permutation(n_specimens)
    n_validation = round(n_specimens * VALIDATION_SHARE)
    folder.mkdir(parents=True)
    shards = np.array_split(np.sort(order[n_validation:]), N_TRAIN_SHARDS)
    for index, rows in enumerate(shards):
        _write_shard(folder / f"train-{index:05d}-of-{N_TRAIN_SHARDS:05d}.parquet", columns, rows)
    _write_shard(folder / "validation-00000-of-00001.parquet", columns, np.sort(order[:n_validation]))


def _columns(world: World, looks: Looks, rng: np.random.Generator) -> dict[str, list[object]]:
    event = world.specimen_event
    site = world.event_site[event]
    names = [f"DEMO.{index:06d}" for index in range(len(event))]
    cards = [draw_colorpicker(light) for light in looks.site_light]
    bars = [draw_scalebar(light) for light in looks.site_light]
    labels = world.event_labels[event]
    crops = [draw_specimen(world, looks, specimen, rng) for specimen in range(len(event))]
    return {
        "file_path": [{"bytes": b, "path": f"{name}.jpg"} for b, name in zip(crops, names, strict=True)],
        "colorpicker_full_path": [{"bytes": cards[s], "path": f"colorpicker_{s}.jpg"} for s in site],
        "scalebar_full_path": [{"bytes": bars[s], "path": f"scalebar_{s}.jpg"} for s in site],
        **{target: labels[:, index].tolist() for index, target in enumerate(TARGETS)},
        "eventID": world.event_ids[event].tolist(),
        "domainID": [DOMAINS[d].id for d in world.site_domain[site]],
        "siteID": [world.site_names[s] for s in site],
        "scientificName": [world.species_names[s] for s in world.specimen_species],
        "collectDate": [world.event_dates[e] for e in event],
        "public_id": names,
        "relative_img_loc": [f"images/{name}.jpg" for name in names],
        "colorpicker_path": [f"colorpickers/{s}.jpg" for s in site],
        "scalebar_path": [f"scalebars/{s}.jpg" for s in site],
    }


def _write_shard(path: Path, columns: dict[str, list[object]], rows: NDArray[np.int64]) -> None:
    chosen = {name: [values[row] for row in rows] for name, values in columns.items()}
    pq.write_table(pa.table(chosen, schema=_schema()), path, row_group_size=ROWS_PER_GROUP)


def _schema() -> pa.Schema:
    """The hub's schema and the sizes, with the features that `datasets` reads from a shard's metadata."""
    types = dict.fromkeys(_IMAGES, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    types |= dict.fromkeys(TARGETS, pa.float64()) | dict.fromkeys(_INTEGERS, pa.int64())
    types |= dict.fromkeys(_STRINGS, pa.string()) | dict.fromkeys(_NUMBERS, pa.float64())
    features = {
        name: {"_type": "Image"} if name in _IMAGES else {"dtype": _dtype_name(type_), "_type": "Value"}
        for name, type_ in types.items()
    }
    return pa.schema(types).with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _dtype_name(type_: pa.DataType) -> str:
    return {"double": "float64"}.get(str(type_), str(type_))
