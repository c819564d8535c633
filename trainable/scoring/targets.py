"""A task's targets as arrays: names, bounds, the rule they are scored by, and how large an error of each is."""

from dataclasses import dataclass
from functools import cache
from typing import Self, cast

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped
from numpy.typing import ArrayLike, NDArray

from trainable.data.task import Task, beetles
from trainable.data.task_parts import ClassScore
from trainable.plain_values import JsonObject
from trainable.scoring.class_rule import ClassRule
from trainable.scoring.crps import Floats, crps_normal, fit_sigma
from trainable.scoring.normal_rule import NormalRule
from trainable.scoring.rule import Rule
from trainable.shown import brief


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Targets:
    """What every array `[..., targets]` is of, and every array `[..., outputs]`: classes have an output each.

    spread: SD of the events' labels, which sigmas are fitted in units of; 1 where a target's own unit is one, and for
    classes. floor: what a mean loss is divided by in a score: that of one constant forecast for all events, or 1 for
    scores in the targets' own units.
    """

    task: Task
    spread: Float64[Floats, " targets"]
    floor: Float64[Floats, " targets"]

    @classmethod
    def of(
        cls,
        task: Task,
        labels: Float64[Floats, "specimens targets"],
        event_ids: Shaped[NDArray[np.generic], " specimens"],
    ) -> Self:
        """labels, event_ids: of all specimens; each event counts once."""
        events = event_labels(labels, event_ids, np.arange(len(labels)))
        if task.has_classes:
            constant = _class_rule(task).constant_loss(events)
            return cls(task=task, spread=np.ones(1), floor=np.ones(1) if task.score.scale == "raw" else constant)
        found = _spread(events)
        spread = np.where([target.is_standard for target in task.targets], 1.0, found)
        floor = np.ones(len(task.targets)) if task.score.scale == "raw" else _constant_crps(events, found)
        return cls(task=task, spread=spread, floor=floor)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the arrays."""
        return self.task.names

    def __len__(self) -> int:
        return len(self.task.targets)

    @property
    def rule(self) -> Rule:
        """How these targets are calibrated and scored."""
        if self.task.has_classes:
            return _class_rule(self.task)
        return NormalRule(spread=self.spread, low=self.low, high=self.high)

    @property
    def low(self) -> Float64[Floats, " targets"]:
        """Lower bounds; minus infinity where there is none."""
        return np.array([-np.inf if target.low is None else target.low for target in self.task.targets])

    @property
    def high(self) -> Float64[Floats, " targets"]:
        """Upper bounds; infinity where there is none."""
        return np.array([np.inf if target.high is None else target.high for target in self.task.targets])

    def clip(self, predictions: ArrayLike) -> Float64[Floats, "*rows outputs"]:
        """Predictions within the bounds."""
        return self.rule.clip(np.asarray(predictions, dtype=np.float64))

    def by_name(self, values: Float64[Floats, " targets"]) -> dict[str, float]:
        """Target -> its value."""
        return {name: float(value) for name, value in zip(self.names, values, strict=True)}

    def to_dict(self) -> JsonObject:
        """Plain values for JSON; floats exact."""
        return {"task": self.task.to_dict(), "spread": self.spread.tolist(), "floor": self.floor.tolist()}

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Inverse of `to_dict`. Raises: UserError or ValueError for anything else."""
        if not isinstance(values, dict):
            raise ValueError(f"`targets` must be an object, but is {brief(values)}")
        task = Task.from_dict(values.get("task", {}))
        arrays = {name: np.asarray(values.get(name, ()), dtype=np.float64) for name in ("spread", "floor")}
        for name, array in arrays.items():
            if array.shape != (len(task.targets),) or not (np.isfinite(array) & (array > 0)).all():
                raise ValueError(f"`{name}` must be a number above 0 for each target, but is {values.get(name)}")
        return cls(task=task, **arrays)

    @classmethod
    def beetles(cls) -> "Targets":
        """Those of files that name no task."""
        return _beetles()


def kinds_of(task: Task) -> tuple[str, ...]:
    """What a trial's metrics tell of a part and target, as in `r2_id/TARGET`; the last is the calibration."""
    return (ClassRule if task.has_classes else NormalRule).kinds


def event_labels(
    labels: Float[NDArray[np.floating], "specimens targets"],
    event_ids: Shaped[NDArray[np.generic], " specimens"],
    rows: Int64[NDArray[np.int64], " rows"],
) -> Float64[Floats, "events targets"]:
    """Labels of the events among `rows`, each event once."""
    _, first = np.unique(event_ids[rows], return_index=True)
    return labels[rows[first]].astype(np.float64)


def _class_rule(task: Task) -> ClassRule:
    return ClassRule(n_classes=len(task.classes), kind=cast(ClassScore, task.score.kind))


@cache
def _beetles() -> Targets:
    n = len(beetles().targets)
    return Targets(task=beetles(), spread=np.ones(n), floor=np.ones(n))


def _spread(events: Float64[Floats, "events targets"]) -> Float64[Floats, " targets"]:
    """SDs; 1 for a target that never differs."""
    spread = events.std(axis=0)
    return np.where(spread > 0, spread, 1.0)


def _constant_crps(
    events: Float64[Floats, "events targets"], spread: Float64[Floats, " targets"]
) -> Float64[Floats, " targets"]:
    """Mean CRPS of the events' mean label with the best sigma, one for all events."""
    mean = events.mean(axis=0)
    sigma = fit_sigma((events - mean) / spread)[0] * spread
    found: Floats = crps_normal(events, mean, sigma).mean(axis=0)
    return found
