"""Floors, forecasts that see no image, as what others are measured by: the best of them, and who is not better."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from trainable.scoring.metrics import SCORE


class Floor(NamedTuple):
    """A floor's name, as "species_mean", and its `score/all`."""

    name: str
    score: float


def best_floor(floors: Mapping[str, Mapping[str, float]]) -> Floor | None:
    """floors: name -> metrics. None where none has a finite score."""
    scores = ((name, metrics.get(SCORE)) for name, metrics in floors.items())  # None was no number, as JSON has it
    found = [Floor(name, score) for name, score in scores if score is not None and math.isfinite(score)]
    return min(found, key=lambda floor: floor.score, default=None)


def not_better_words(scores: Mapping[str, float], floors: Mapping[str, Mapping[str, float]]) -> str:
    """Which forecasts are not better than the best floor, in one clause; empty where all are, or no floor is known.

    scores: name of a forecast -> its `score/all` on the events that the floors were scored on.
    """
    floor = best_floor(floors)
    worse = [] if floor is None else [f"{name} ({score:.3f})" for name, score in scores.items() if score >= floor.score]
    if floor is None or not worse:
        return ""
    verb = "is" if len(worse) == 1 else "are"
    return (
        f"{' and '.join(worse)} {verb} not better than the floor {floor.name} ({floor.score:.3f}), which sees no image"
    )
