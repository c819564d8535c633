"""What every epoch of many configurations scores on every fold: curves to try ways of searching and choosing on.

python -m benchmarks.recorded_curves [--worlds 1 2 3] [--configs 76] [--seeds 1] [--epochs 20] [--size 600]
                                     [--results FILE]

Each configuration is trained in full, alone, on each of the five folds of each world, with nothing stopped or chosen;
what is missing in benchmarks/recorded_curves.parquet is trained, configuration by configuration, so that a run which
is cut off leaves as many of each world. Several processes may fill one file, each with worlds of its own. Of those that
are drawn every second is drawn evenly from the space; in the others each value is the default's as often as not, as a
search comes to propose them. A drawn one is named by its values: when the space changes, what was recorded of it before
stays, and stays true. Named ones may be trained with more than one seed, which tells noise from differences.
"""

import argparse
import fcntl
import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler

from benchmarks.forecast_results import TRAINING_VERSION, losses_of
from benchmarks.forecast_worlds import World
from search_spaces.parameter import Plain
from search_spaces.space import DEFAULT, SearchSpace
from search_spaces.task_space import fit_to_task
from trainable.config import TrialConfig
from trainable.data.demo import DEMO_VERSION
from trainable.data.task import beetles
from trainable.frozen.backbone import load_backbone
from trainable.plain_values import JsonObject
from trainable.training.divergence import TrialDiverged
from trainable.training.trainer import TailTrainer
from tune.command_line.options import DataOptions
from tune.decisions.define_by_run import StandIn
from tune.decisions.tpe import draw_uniform

RESULTS = Path(__file__).with_name("recorded_curves.parquet")
N_FOLDS = 5
DIGITS = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """One configuration on one fold of one world, trained with one seed.

    sites: those held out, as "PART/DOMAIN/SITE", PART being "id" or "ood"; n_events: of each. crps: float32
    [epochs, sites, 3], means over a site's events, each with the sigma that fits the other sites best, in SPEI units;
    shorter where the training diverged.
    """

    data: str
    name: str
    fold: int
    config: JsonObject
    sites: tuple[str, ...]
    n_events: NDArray[np.int64]
    crps: NDArray[np.float32]
    seed: int = 0

    def row(self) -> dict[str, object]:
        """Of the table."""
        return {
            "data": self.data, "name": self.name, "fold": self.fold, "config": json.dumps(self.config, sort_keys=True),
            "sites": list(self.sites), "n_events": self.n_events.tolist(), "crps": self.crps.ravel().tolist(),
            "seed": self.seed,
        }  # fmt: skip

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Inverse of `row`."""
        sites, crps = tuple(row["sites"]), np.asarray(row["crps"], dtype=np.float32)
        return cls(
            data=row["data"],
            name=row["name"],
            fold=int(row["fold"]),
            config=json.loads(row["config"]),
            sites=sites,
            n_events=np.asarray(row["n_events"], dtype=np.int64),
            crps=crps.reshape(-1, len(sites), 3),
            seed=int(row["seed"]),
        )


class Curves:
    """The table, written anew as it grows, whole or not at all; other processes may add to it meanwhile."""

    def __init__(self, path: Path = RESULTS) -> None:
        """Raises: ValueError for a table of another version of what trains or draws."""
        self._path = path
        self._rows = self._read()

    def __iter__(self) -> Iterator[Curve]:
        return map(Curve.of_row, self._rows)

    def has(self, data: str, config: TrialConfig, fold: int, seed: int = 0) -> bool:
        """Whether it was recorded."""
        own, key = config.to_dict(), (data, fold, seed)
        return any(
            (row["data"], row["fold"], row["seed"]) == key and json.loads(row["config"]) == own for row in self._rows
        )

    def add(self, curves: list[Curve]) -> None:
        """Append and write."""
        if not curves:
            return
        with _alone_in(self._path.parent):
            self._rows = [*self._read(), *(curve.row() for curve in curves)]
            table = pd.DataFrame(self._rows).astype({"fold": "int8", "seed": "int8"})
            table.attrs["version"] = _version()
            scratch = self._path.with_suffix(".part")
            table.to_parquet(scratch, compression="zstd", index=False)
            os.replace(scratch, self._path)

    def _read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        table = pd.read_parquet(self._path)
        if table.attrs.get("version") != _version():
            raise ValueError(f"{self._path} must be of version {_version()}, but is of {table.attrs.get('version')}")
        one_seed = {"seed": 0}  # of tables from before there were more
        return [one_seed | dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Other processes that would write a table there wait."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def configurations(space: SearchSpace, n: int, *, epochs: int) -> dict[str, TrialConfig]:
    """By name: the named ones, the default first, then `n` drawn ones, the first of them the same for every `n`."""
    found = {point.name: point.config.with_epochs(epochs) for point in space.named}
    default = space.values_of(found[DEFAULT])
    for number in range(n):
        drawing = _Drawing(number, default if number % 2 else {})
        config = space.config(space.suggest(StandIn(drawing.value)), epochs)
        found[drawn_name(config.to_dict())] = config
    return found


def drawn_name(config: JsonObject) -> str:
    """Of a configuration that has no name, by its values."""
    return "d" + hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:7]


class _Drawing:
    """One configuration's values: even over a range, or, where there is a default, as often as not that."""

    def __init__(self, seed: int, default: Mapping[str, Plain]) -> None:
        self._sampler, self._coin, self._default = RandomSampler(seed=seed), random.Random(seed), default

    def value(self, name: str, distribution: BaseDistribution) -> Plain:
        drawn = draw_uniform(self._sampler, name, distribution)
        return self._default.get(name, drawn) if self._coin.random() < 0.5 else drawn


def record(world: World, name: str, config: TrialConfig, fold: int, seed: int = 0) -> Curve:
    """Train to the end, and keep what each epoch scores."""
    data = world.trial_data(fold)
    domains = dict(zip(data.site_ids.tolist(), data.domain_ids.tolist(), strict=True))
    sites: dict[str, int] = {}
    epochs: list[list[tuple[float, ...]]] = []
    trainer = TailTrainer(config, data, seed=seed)
    try:
        while trainer.epoch < trainer.config.n_epochs:
            trainer.train_epoch()
            assert trainer.held_out_predictions is not None  # an epoch was trained
            of_parts = losses_of(trainer.scorer.forecasts(trainer.held_out_predictions), domains)
            found = {f"{part}/{site}": of for part, of_sites in of_parts.items() for site, of in of_sites.items()}
            sites = {site: of.n_events for site, of in found.items()}
            epochs.append([tuple(round(value, DIGITS) for value in of.crps) for of in found.values()])
    except TrialDiverged:
        pass
    return Curve(
        data=world.data,
        name=name,
        fold=fold,
        config=config.to_dict(),
        sites=tuple(sites),
        n_events=np.array(list(sites.values()), dtype=np.int64),
        crps=np.array(epochs, dtype=np.float32).reshape(len(epochs), len(sites), 3),
        seed=seed,
    )


def main() -> None:
    """Record what is missing; see the module."""
    options = _parse()
    torch.set_num_threads(1)
    space, _ = fit_to_task(SearchSpace.load("full"), beetles())
    configs = configurations(space, options.configs, epochs=options.epochs)
    blocks = {config.tail.n_blocks for config in configs.values()} | set(space.reachable_blocks())
    backbone, cache, curves = load_backbone("tiny"), DataOptions().cache_folder, Curves(options.results)
    worlds = [World(f"demo:{options.size}:{number}", backbone, cache, blocks) for number in options.worlds]
    n_seeds = dict.fromkeys((point.name for point in space.named), options.seeds)
    for name, config in configs.items():
        cells = list(product(range(N_FOLDS), range(n_seeds.get(name, 1))))
        for world in worlds:
            missing = [cell for cell in cells if not curves.has(world.data, config, *cell)]
            curves.add([record(world, name, config, *cell) for cell in missing])
        print(f"{name}: recorded on {len(worlds)} worlds", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recorded_curves", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3], help="of the demo [1 2 3]")
    parser.add_argument("--configs", type=int, default=76, help="drawn ones, beside the space's named ones [76]")
    parser.add_argument("--seeds", type=int, default=1, help="of each named configuration [1]")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial at most [20]")
    parser.add_argument("--size", type=int, default=600, help="images of a world [600]")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table to go on with")
    return parser.parse_args()


def _version() -> str:
    return f"{TRAINING_VERSION}.{DEMO_VERSION}"


if __name__ == "__main__":
    main()
