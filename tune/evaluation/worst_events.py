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
from trainable.data.task_words import loss_name, short_names
from trainable.plain_values import JsonObject
from trainable.scoring.class_rule import probabilities
from trainable.scoring.evaluation import ModelForecasts
from tune.evaluation.worst_class_event import N_TOLD, WorstClassEvent

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens

N_EVENTS = 6
N_THUMBNAILS = 5
"""Specimens of an event that are shown."""

_SIZE = 150
_GAP = 6
_MAX_NAME = 24  # of a site; longer ones would run into the next picture
_KNOWN = {"id": "known", "ood": "unknown"}
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
        place = (self.event_id, self.site, self.domain, self.part)
        return f"{_which(*place, n_images=self.n_images)} · CRPS {self.crps:.2f}"

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
) -> Sequence[WorstEvent | WorstClassEvent]:
    """The n events of the highest mean loss, the worst first; rows: of the forecast specimens in the data."""
    if forecasts.of_classes is not None:
        return _of_classes(forecasts, specimens, rows, n)
    found = []
    for place in forecasts.worst_events(n):
        of_event = rows[forecasts.event_of_image == place]
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
                thumbnails=_pictures(specimens, of_event),
            )
        )
    return found


def _of_classes(
    forecasts: ModelForecasts, specimens: "Specimens", rows: NDArray[np.int64], n: int
) -> list[WorstClassEvent]:
    names, loss = forecasts.targets.task.classes, loss_name(forecasts.targets.task)
    found = []
    for place in forecasts.worst_events(n):
        of_event = rows[forecasts.event_of_image == place]
        (of_class,) = probabilities(forecasts.mu[[place]], forecasts.sigma[[place]])
        true, cost = int(forecasts.labels[place, 0]), float(forecasts.crps[place, 0])
        which = {
            "event_id": forecasts.event_ids[place].item(),
            "site": str(forecasts.sites[place]),
            "domain": forecasts.domains[place].item(),
            "part": "id" if forecasts.is_known[place] else "ood",
        }
        found.append(
            WorstClassEvent(
                **which,
                n_images=len(of_event),
                loss=cost,
                observed=names[true],
                probability=float(of_class[true]),
                forecast={names[c]: float(of_class[c]) for c in np.argsort(-of_class, kind="stable")[:N_TOLD]},
                title=f"{_which(*which.values(), n_images=len(of_event))} · {loss} {cost:.2f}",
                thumbnails=_pictures(specimens, of_event),
            )
        )
    return found


def _which(event_id: int | str, site: str, domain: int | str, part: str, *, n_images: int) -> str:
    of_domain = "" if domain == NO_DOMAIN else f"domain {domain} ({_KNOWN[part]}) · "
    return f"event {event_id} · site {_shortened(site)} · {of_domain}{counted(n_images, 'specimen')}"


def _pictures(specimens: "Specimens", rows: NDArray[np.int64]) -> Image.Image:
    encoded = specimens.images.read(rows[:N_THUMBNAILS].tolist())
    return _side_by_side([_thumbnail(image) for image in encoded])


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
