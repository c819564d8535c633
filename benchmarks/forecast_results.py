"""What trainings forecast, kept as it grows: a line of JSON a training, sums of CRPS by site, never by event."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from trainable.config import TrialConfig
from trainable.data.demo import DEMO_VERSION
from trainable.scoring.scoring import EventForecast

TRAINING_VERSION = 1
"""Raise it with any change to what a training computes from the same values: no line of another version is reused."""

_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """Where an arm is trained.

    data: a demo, as `--data` names it. dealt: share of its events whose labels were dealt anew, see `dealt_labels`.
    """

    data: str
    fold: int
    seed: int
    dealt: float = 0.0

    def facts(self) -> dict[str, object]:
        """What is kept of it; a world of which nothing was dealt anew says so by silence."""
        return {name: value for name, value in asdict(self).items() if name != "dealt" or value}


@dataclass(frozen=True, slots=True)
class SiteLosses:
    """One part's events at one site: how many, and the mean CRPS of each target in SPEI units."""

    n_events: int
    crps: tuple[float, float, float]


Losses = Mapping[str, Mapping[str, SiteLosses]]
"""Part ("id", "ood") -> "DOMAIN/SITE" -> its events' losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One training of an arm. key: what `key_of` gives. epochs: best one and last one. cpu_seconds: of the training.

    failed: why there are no losses, empty where there are.
    """

    arm: str
    key: str
    cell: Cell
    epochs: tuple[int, int] = (0, 0)
    cpu_seconds: float = 0.0
    best: Losses = field(default_factory=dict)
    last: Losses = field(default_factory=dict)
    failed: str = ""

    def to_line(self) -> str:
        """One line of JSON."""
        values = asdict(self) | {"best": _plain(self.best), "last": _plain(self.last), "cell": self.cell.facts()}
        return json.dumps(values) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Inverse of `to_line`.

        Raises: ValueError, KeyError or TypeError for anything else.
        """
        values = json.loads(line)
        losses = {name: _losses(values.pop(name)) for name in ("best", "last")}
        cell, epochs = Cell(**values.pop("cell")), tuple(values.pop("epochs"))
        return cls(cell=cell, epochs=epochs, **losses, **values)


class Results:
    """A file of results, appended to as they come; a last line that a kill cut off is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):
            os.truncate(path, sum(len(line.encode()) for line in whole))
        self._found = {result.key: result for result in map(Result.from_line, whole)}

    def get(self, key: str) -> Result | None:
        """The result of that key, if there is one."""
        return self._found.get(key)

    def cells(self) -> list[Cell]:
        """Those that there is any result of, in the order in which they came."""
        return list(dict.fromkeys(result.cell for result in self._found.values()))

    def add(self, result: Result) -> None:
        """Append it, on the disk before this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(result.to_line())
            file.flush()
            os.fsync(file.fileno())
        self._found[result.key] = result


def key_of(config: TrialConfig | str, cell: Cell, *, backbone: str) -> str:
    """Changes with all that decides a result: values, data, fold, seed, tower, and the versions of what computes it.

    config: or a floor's name. backbone: the tower's fingerprint. Values that are the configuration's own defaults do
    not count, so that a new part which is off leaves the keys as they were.
    """
    if isinstance(config, TrialConfig):
        own = TrialConfig(epochs=config.epochs).flat()
        values: Any = {name: value for name, value in config.flat().items() if value != own[name]} | {
            "epochs": config.epochs
        }
    else:
        values = config
    facts = [values, cell.facts(), backbone, TRAINING_VERSION, DEMO_VERSION]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def losses_of(forecasts: Mapping[str, EventForecast], domain_of_site: Mapping[str, int]) -> Losses:
    """Mean CRPS of each site's events, as `HeldOutScorer.forecasts` gives them, to five digits."""
    found: dict[str, dict[str, SiteLosses]] = {}
    for part, forecast in forecasts.items():
        found[part] = {}
        for site in np.unique(forecast.sites):
            crps = forecast.crps[forecast.sites == site]
            a, b, c = (round(float(value), _DIGITS) for value in crps.mean(axis=0))
            found[part][f"{domain_of_site[str(site)]}/{site}"] = SiteLosses(len(crps), (a, b, c))
    return found


def _plain(losses: Losses) -> dict[str, dict[str, list[float]]]:
    return {part: {name: [of.n_events, *of.crps] for name, of in sites.items()} for part, sites in losses.items()}


def _losses(values: Mapping[str, Mapping[str, list[float]]]) -> Losses:
    return {
        part: {name: SiteLosses(int(n), (a, b, c)) for name, (n, a, b, c) in sites.items()}
        for part, sites in values.items()
    }
