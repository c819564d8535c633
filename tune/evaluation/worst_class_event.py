"""An event that a model of classes forecast worst."""

from dataclasses import dataclass, fields

from PIL import Image

from trainable.plain_values import JsonObject

N_TOLD = 3
"""Most probable classes that are told."""

_LONGEST_NAME = 18  # so that a line of three stays beside the next picture


@dataclass(frozen=True, eq=False, kw_only=True)
class WorstClassEvent:
    """One event: which, what it was and was forecast as, what it cost, and its first specimens side by side.

    loss: that of the score. probability: of the class that it is. forecast: the most probable classes, the first first.
    """

    event_id: int | str
    site: str
    domain: int | str
    part: str
    n_images: int
    loss: float
    observed: str
    probability: float
    forecast: dict[str, float]
    title: str
    thumbnails: Image.Image

    @property
    def caption(self) -> str:
        """What it is, how probable that was; in a second line what was most so."""
        told = ", ".join(f"{_cut(name)} {p:.2f}" for name, p in self.forecast.items())
        return f"{self.observed[:60]} ({self.probability:.2f})\n→ {told}"

    def to_dict(self) -> JsonObject:
        """All but title and pictures, as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("title", "thumbnails")}


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
