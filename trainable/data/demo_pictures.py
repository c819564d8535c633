"""Pictures of the demo's specimens: what drought, species and place do to a beetle's looks, and the drawing itself.

The signs of drought are coarse on purpose, so that a randomly initialised small tower passes them on: the 30-day
index shows in the gloss, the 1-year index in the elytra's colour, the 2-year index in the body's size. Species shift
the same features, and so does a domain's lighting: what is learnt at some sites holds at other sites of the domain,
and less so in other domains.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainable.data.demo_world import DOMAINS, N_SITES, World

Floats = NDArray[np.float64]
Canvas = NDArray[np.float32]

SIDES = (64, 96)
"""Fewest and most pixels of a picture's side: crops vary."""

# SDs in units of SPEI, around the sign that an event's index gives: what no model can undo, set so that signs are
# worth learning but a single specimen tells little (assumption)
_EVENT_NOISE, _SPECIMEN_NOISE, _SPECIES_NOISE = 0.45, 0.9, 0.5

_DRY_TO_WET = np.array([-0.085, 0.015, 0.075])  # RGB per unit of the 1-year index: red-brown to blue-green
_BODY = np.array([0.30, 0.24, 0.20])
_GLOSS, _GLOSS_PER_UNIT = 0.30, 0.13
_SIZE, _SIZE_PER_UNIT = 0.33, 0.035  # half length of the body, in shorter sides of the picture


@dataclass(frozen=True, slots=True)
class Looks:
    """What to draw, for every specimen and event.

    signs: [specimens, 3] gloss, colour and size, in units of SPEI, noise included. species_width, species_colour:
    [species], [species, 3]. site_light: [sites, 3] RGB gain. site_background: [sites, 3] RGB.
    """

    signs: Floats
    species_width: Floats
    species_colour: Floats
    site_light: Floats
    site_background: Floats


def make_looks(world: World, rng: np.random.Generator) -> Looks:
    """Draw the looks of a world's specimens."""
    n_species, n_events, n = len(world.species_names), len(world.event_labels), len(world.specimen_event)
    signs = (
        world.event_labels[world.specimen_event]
        + _EVENT_NOISE * rng.normal(size=(n_events, 3))[world.specimen_event]
        + _SPECIES_NOISE * rng.normal(size=(n_species, 3))[world.specimen_species]
        + _SPECIMEN_NOISE * rng.normal(size=(n, 3))
    )
    light = 1 + 0.10 * rng.normal(size=(len(DOMAINS), 1)) + 0.05 * rng.normal(size=(len(DOMAINS), 3))
    background = np.array([0.78, 0.76, 0.72]) + 0.05 * rng.normal(size=(len(DOMAINS), 3))
    return Looks(
        signs=signs,
        species_width=1 + 0.10 * rng.normal(size=n_species),
        species_colour=0.02 * rng.normal(size=(n_species, 3)),
        site_light=np.clip(light[world.site_domain] + 0.02 * rng.normal(size=(N_SITES, 3)), 0.6, 1.3),
        site_background=np.clip(background[world.site_domain] + 0.015 * rng.normal(size=(N_SITES, 3)), 0.5, 0.9),
    )


def draw_specimen(world: World, looks: Looks, specimen: int, rng: np.random.Generator) -> bytes:
    """One specimen's crop, JPEG."""
    site = world.event_site[world.specimen_event[specimen]]
    species = world.specimen_species[specimen]
    gloss, colour, size = looks.signs[specimen]
    height, width = rng.integers(SIDES[0], SIDES[1] + 1, 2)
    along, across, scale = _body_axes(int(height), int(width), np.clip(_SIZE + _SIZE_PER_UNIT * size, 0.15, 0.48), rng)
    body = _BODY + looks.species_colour[species] + _DRY_TO_WET * colour
    picture = np.broadcast_to(looks.site_background[site].astype(np.float32), (height, width, 3)).copy()
    picture += 0.012 * rng.standard_normal((height, width, 1), dtype=np.float32)
    stoutness = float(np.clip(looks.species_width[species], 0.7, 1.3))
    _draw_limbs(picture, along, across, scale, body)
    for centre, length, breadth, shade in (
        (0.30, 0.68, 0.40, 1.0),
        (-0.48, 0.22, 0.31, 0.85),
        (-0.80, 0.16, 0.19, 0.7),
    ):
        inside = _soft(
            1 - np.hypot((along - np.float32(centre)) / np.float32(length), across / np.float32(breadth * stoutness)),
            scale * breadth,
        )
        _blend(picture, inside, np.clip(body * shade, 0.02, 1.0))
        if shade == 1.0:
            _draw_elytra(picture, along, across, inside, max(_GLOSS + _GLOSS_PER_UNIT * gloss, 0.0))
    return _jpeg(picture * looks.site_light[site].astype(np.float32))


def draw_colorpicker(light: Floats) -> bytes:
    """The colour card beside a photograph, under its light: six patches, JPEG."""
    patches = np.array(
        [[0.9, 0.9, 0.9], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.8, 0.2, 0.2], [0.2, 0.7, 0.3], [0.2, 0.3, 0.8]]
    )
    return _jpeg(np.repeat(np.repeat((patches * light)[None], 16, axis=0), 8, axis=1))


def draw_scalebar(light: Floats) -> bytes:
    """The scale bar beside a photograph: eight black and white steps, JPEG."""
    steps = np.where(np.arange(8) % 2, 0.95, 0.05)
    return _jpeg(np.repeat(np.repeat((steps[:, None] * light)[None], 8, axis=0), 8, axis=1))


def _body_axes(height: int, width: int, half_length: float, rng: np.random.Generator) -> tuple[Canvas, Canvas, float]:
    """Coordinates along and across the body in half lengths, head at -1; and pixels per half length."""
    scale = float(half_length) * min(height, width)
    turn = rng.normal(0, 0.12)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y -= np.float32(height / 2 + rng.normal(0, 1.0))
    x -= np.float32(width / 2 + rng.normal(0, 1.0))
    sin, cos = np.float32(np.sin(turn) / scale), np.float32(np.cos(turn) / scale)
    return y * cos - x * sin, x * cos + y * sin, scale


def _draw_limbs(picture: Canvas, along: Canvas, across: Canvas, scale: float, body: Floats) -> None:
    """Six legs and two antennae: straight, thin, darker than the body, the same on both sides."""
    outward = np.abs(across)
    for root, slope, reach in ((-0.45, -0.7, 0.75), (-0.10, 0.25, 0.80), (0.25, 0.9, 0.85), (-0.85, -1.3, 0.45)):
        distance = np.abs(along - root - slope * outward) / np.float32(np.hypot(1, slope))
        _blend(picture, 0.8 * _soft(0.03 - distance, scale) * (outward < reach), np.clip(body * 0.6, 0.02, 1.0))


def _draw_elytra(picture: Canvas, along: Canvas, across: Canvas, inside: Canvas, gloss: float) -> None:
    """Grooves, the seam, and the sheen of the wing covers."""
    grooves = 1 - 0.18 * (0.5 + 0.5 * np.cos(across * np.float32(2 * np.pi / 0.12))) * inside
    seam = 1 - 0.4 * np.exp(-((across / 0.02) ** 2)) * inside
    picture *= (grooves * seam)[..., None]
    sheen = np.exp(-(((np.abs(across) - 0.16) / 0.11) ** 2) - ((along - 0.2) / 0.38) ** 2)
    picture += np.float32(gloss) * (sheen * inside)[..., None]


def _soft(signed: NDArray[np.floating], pixels_per_unit: float) -> Canvas:
    """0 outside, 1 inside, over about one pixel of a shape's edge."""
    clipped: Canvas = np.clip(signed * np.float32(pixels_per_unit) + np.float32(0.5), 0, 1)
    return clipped


def _blend(picture: Canvas, cover: Canvas, colour: Floats) -> None:
    picture += cover[..., None] * (colour.astype(np.float32) - picture)


def _jpeg(picture: NDArray[np.floating]) -> bytes:
    pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()
