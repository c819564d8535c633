"""ModelFacts: what is known of an exported model, as its `config.json` and its card tell it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from trainable.errors import UserError
from trainable.frozen.model_folder import name_now
from trainable.plain_values import JsonObject, misfits

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class MemberFacts:
    """One member of an ensemble: the trial or variant it was trained as, for how long, with which seed."""

    name: str
    config: JsonObject
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """How a model was trained and what it scored.

    name: of the trial or variant. config: nested values of its `TrialConfig`. epochs: that were trained, up to the
    configuration's own. seeds: one a member. data, backbone: as they were asked for. n_specimens, n_events: trained
    on. holdout: "all" when nothing was held out, and fold is None then. scores: metrics under a trial's names, of
    scores_of: "confirmation" (this configuration on other folds) or "held-out events" (this very model), or empty.
    intervals: of `score/...`, each holding `interval_level` of the resampled scores. floors: name -> the same metrics
    of a forecast without images. verdict: of the confirmation, in words. precision: trained in,
    in words; empty where it was not recorded. versions: of the libraries. members: of an ensemble of several
    configurations, whose own config is empty, its epochs those of the longest training, and its seeds those of each.
    floor_shares: floor -> its share of forecasts for known domains, beside the networks'.
    """

    name: str
    config: JsonObject
    epochs: int
    seeds: tuple[int, ...]
    backbone: str
    backbone_fingerprint: str
    data: str
    data_fingerprint: str
    n_specimens: int
    n_events: int
    holdout: str
    fold: int | None
    held_out_sites: tuple[str, ...]
    held_out_domains: tuple[int | str, ...]
    n_leaked_events: int
    scores: dict[str, float]
    scores_of: str
    intervals: dict[str, Interval]
    interval_level: float | None
    floors: dict[str, dict[str, float]]
    verdict: str
    study_id: str | None = None
    precision: str = ""
    versions: dict[str, str]
    members: tuple[MemberFacts, ...] = ()
    floor_shares: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> JsonObject:
        """Plain values for strict JSON; metrics that are not finite are left out."""
        values = asdict(self) | {
            "seeds": list(self.seeds),
            "members": [asdict(member) for member in self.members],
            "held_out_sites": list(self.held_out_sites),
            "held_out_domains": list(self.held_out_domains),
            "scores": _finite(self.scores),
            "intervals": {name: list(limits) for name, limits in self.intervals.items()},
            "floors": {name: _finite(metrics) for name, metrics in self.floors.items()},
        }
        if not self.floor_shares:  # as of any model of before there were any
            del values["floor_shares"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; names that a newer version added are passed over.

        Raises: UserError naming everything that is missing or of another type.
        """
        problems = list(misfits(values, cls, "facts"))
        if not problems and values["intervals"] and values.get("interval_level") is None:
            problems = ["`facts.interval_level` must be given where there are intervals, but is not"]
        if problems:
            raise UserError(problems)
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        return cls(
            **known
            | {name: tuple(values[name]) for name in ("seeds", "held_out_sites", "held_out_domains")}
            | {"intervals": {name: (low, high) for name, (low, high) in values["intervals"].items()}}
            | {"members": tuple(MemberFacts(**_named(MemberFacts, member)) for member in values.get("members", ()))}
            | {"backbone": name_now(values["backbone"], values["backbone_fingerprint"])}
        )


def _named(kind: type[MemberFacts], values: JsonObject) -> JsonObject:
    """Without names that a newer version added."""
    return {f.name: values[f.name] for f in fields(kind)}


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
