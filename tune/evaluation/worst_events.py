"""The events that a model forecast worst, with pictures of their specimens."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainable.config import NO_DOMAIN
from trainable.counts import counted
from trainable.data.decoding import open_image
from trainable.data.task_words import PART_NAMES, short_names
from trainable.plain_values import JsonObject
from trainable.scoring.evaluation import ModelForecasts

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens

N_EVENTS = 6
N_THUMBNAILS = 5
"""Specimens of an event that are shown."""

_SIZE = 150
_GAP = 6
_MAX_NAME = 24  # of a site; longer ones would run into the next picture
_PAPER = (255, 255, 255)


@dataclass(frozen=True, eq=False, kw_only=True)
class WorstEvent:
    """One event: where, what was observed and forecast, what it cost, and its first specimens side by side."""

    event_id: int | str
    site: str
    domain: int | str
    part: str
    n_images: int
    crps: float
    observed: dict[str, float]
    mu: dict[str, float]
    sigma: dict[str, float]
    thumbnails: Image.Image

    @property
    def title(self) -> str:
        """Which event it is."""
        of_domain = "" if self.domain == NO_DOMAIN else f"domain {self.domain} ({PART_NAMES[self.part]}) · "
        return (
            f"event {self.event_id} · site {_shortened(self.site)} · {of_domain}"
            f"{counted(self.n_images, 'specimen')} · CRPS {self.crps:.2f}"
        )

    @property
    def caption(self) -> str:
        """Observed and forecast values of each target."""
        return "    ".join(
            f"{short} {self.observed[target]:+.2f} → {self.mu[target]:+.2f} ± {self.sigma[target]:.2f}"
            for target, short in zip(self.observed, short_names(list(self.observed)), strict=True)
        ).replace("-", "−")

    def to_dict(self) -> JsonObject:
        """All but the pictures, as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "thumbnails"}


def find_worst_events(
    forecasts: ModelForecasts, specimens: "Specimens", rows: NDArray[np.int64], n: int = N_EVENTS
) -> list[WorstEvent]:
    """The n events of the highest mean CRPS, the worst first; rows: of the forecast specimens in the data."""
    found = []
    for place in forecasts.worst_events(n):
        of_event = rows[forecasts.event_of_image == place]
        encoded = specimens.images.read(of_event[:N_THUMBNAILS].tolist())
        values = {
            name: forecasts.targets.by_name(getattr(forecasts, name)[place]) for name in ("labels", "mu", "sigma")
        }
        found.append(
            WorstEvent(
                event_id=forecasts.event_ids[place].item(),
                site=str(forecasts.sites[place]),
                domain=forecasts.domains[place].item(),
                part="id" if forecasts.is_known[place] else "ood",
                n_images=len(of_event),
                crps=float(forecasts.scaled_crps[place].mean()),
                observed=values["labels"],
                mu=values["mu"],
                sigma=values["sigma"],
                thumbnails=_side_by_side([_thumbnail(image) for image in encoded]),
            )
        )
    return found


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _thumbnail(encoded: bytes) -> Image.Image:
    """As large as fits a square, also where the picture is smaller."""
    with open_image(encoded) as image:
        image.draft("RGB", (_SIZE, _SIZE))
        opened = image.convert("LA") if image.mode == "La" else image  # PIL makes no RGB of "La"
        return ImageOps.contain(opened.convert("RGB"), (_SIZE, _SIZE))


def _side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """As wide for one image as for many, so that all events are drawn at one scale."""
    strip = Image.new("RGB", (N_THUMBNAILS * (_SIZE + _GAP) - _GAP, _SIZE), _PAPER)
    for place, image in enumerate(images):
        strip.paste(image, (place * (_SIZE + _GAP), 0))
    return strip
