"""How well named configurations forecast: each trained on several worlds, folds and seeds, beside another and floors.

python -m benchmarks.forecasts [--worlds 1 2] [--folds 0 1] [--seeds 0] [--only ARM ...]     train what is missing
python -m benchmarks.forecasts --dealt 0.7 ...                     on worlds whose pictures say little of their labels
python -m benchmarks.forecasts --tables                            write the tables of FORECASTS.md from the results
python -m benchmarks.forecasts --quick                             one world, one fold, 2 epochs, nothing kept

Worlds are demos (`--data demo:SIZE:WORLD`), trained on one thread by the program's own parts, without Ray. Results are
kept a line a training in benchmarks/forecasts.jsonl; what is there is not trained again, whenever this was stopped.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path

import torch

from benchmarks.figure import Figure, Target, Value
from benchmarks.forecast_arms import ARMS, FLOORS, config_of
from benchmarks.forecast_gains import score
from benchmarks.forecast_page import write_tables
from benchmarks.forecast_results import Cell, Result, Results, key_of
from benchmarks.forecast_worlds import World
from benchmarks.setting import Setting
from trainable.config import TrialConfig
from trainable.frozen.backbone import load_backbone
from tune.command_line.options import DataOptions

RESULTS = Path(__file__).with_name("forecasts.jsonl")
SIZE, EPOCHS = 600, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is trained: every arm and floor in every cell.

    size: specimens of a world. epochs: of every training. dealt: share of events with labels dealt anew.
    """

    worlds: Sequence[int]
    folds: Sequence[int]
    seeds: Sequence[int]
    arms: Sequence[str]
    size: int = SIZE
    epochs: int = EPOCHS
    dealt: float = 0.0

    def cells(self, world: int) -> Iterator[Cell]:
        """Those of one world, fold by fold, so that a grid which was stopped has all arms of its cells."""
        for seed, fold in product(self.seeds, self.folds):
            yield Cell(data=f"demo:{self.size}:{world}", fold=fold, seed=seed, dealt=self.dealt)


def run(grid: Grid, results: Results, *, cache: Path) -> Iterator[Result]:
    """Every result of the grid, those that there are no lines of yet after training and adding them."""
    configs: dict[str, TrialConfig | str] = {name: name for name in FLOORS}
    configs |= {name: config_of(name, epochs=grid.epochs) for name in grid.arms}
    backbone = load_backbone("tiny")
    trained = [config for config in configs.values() if isinstance(config, TrialConfig)]
    blocks = {config.tail.n_blocks for config in trained}
    n_copies = max((config.augment.n_copies for config in trained), default=0)
    if blocks != {0}:
        import_module("trainable.tail.adapters")  # seconds that are no training's
    for number in grid.worlds:
        world = World(f"demo:{grid.size}:{number}", backbone, cache, blocks, grid.dealt, n_copies)
        for cell, (name, config) in product(grid.cells(number), configs.items()):
            found = results.get(key_of(config, cell, backbone=backbone.fingerprint))
            if found is None:
                is_floor = isinstance(config, str)
                found = world.floor(name, cell) if is_floor else world.train(name, config, cell)
                results.add(found)
            yield found


def measure(setting: Setting) -> list[Figure]:
    """Figure 16: the default's score / that of the best floor, at the last epoch, the mean over a world's folds."""
    grid = Grid(
        worlds=(1,),
        folds=range(setting.sized(4, 1)),
        seeds=(0,),
        arms=("default",),
        size=setting.sized(SIZE, 152),
        epochs=setting.sized(EPOCHS, 2),
    )
    with tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder:
        found = list(run(grid, Results(Path(folder) / "results.jsonl"), cache=Path(folder)))
    scores = {name: _mean_score(result for result in found if result.arm == name) for name in ("default", *FLOORS)}
    best = min(scores[name] for name in FLOORS)
    return [
        Figure(
            number=16,
            name=f"score of the default / of the best floor, tiny, {grid.size} images, {grid.epochs} epochs",
            ratio=scores["default"] / best,
            parts=(Value("default", scores["default"]), Value("best floor", best)),
            target=Target("<=", 0.9),
        )
    ]


def _mean_score(results: Iterable[Result]) -> float:
    scores = [score(result, epoch="last") for result in results]
    return sum(scores) / len(scores)


def main() -> None:
    """Train, or write tables; see the module."""
    arguments = _parse()
    torch.set_num_threads(1)
    if arguments.quick:
        print(*measure(Setting(quick=True)), sep="\n")
        return
    results = Results(arguments.results)
    if arguments.tables:
        write_tables(results, backbone=load_backbone("tiny").fingerprint)
        return
    grid = Grid(
        worlds=arguments.worlds,
        folds=arguments.folds,
        seeds=arguments.seeds,
        arms=arguments.only or tuple(ARMS),
        size=arguments.size,
        epochs=arguments.epochs,
        dealt=arguments.dealt,
    )
    started = time.monotonic()
    for result in run(grid, results, cache=DataOptions().cache_folder):
        told = result.failed or f"best {score(result, epoch='best'):.4f}, last {score(result, epoch='last'):.4f}"
        cell = f"{result.cell.data} fold {result.cell.fold} seed {result.cell.seed}"
        print(f"{time.monotonic() - started:6.0f} s  {cell}  {result.arm}: {told}, {result.cpu_seconds} s", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3], help="of the demo [1 2 3]")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3], help="of each world [0 1 2 3]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of each training [0 1]")
    parser.add_argument("--only", nargs="+", choices=ARMS, metavar="ARM", help=f"of {', '.join(ARMS)} [all]")
    parser.add_argument("--size", type=int, default=SIZE, help=f"specimens of a world [{SIZE}]")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of a training [{EPOCHS}]")
    parser.add_argument("--dealt", type=float, default=0.0, help="share of events with labels dealt anew [0]")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file of lines [benchmarks/forecasts.jsonl]")
    parser.add_argument("--tables", action="store_true", help="write the tables of FORECASTS.md, train nothing")
    parser.add_argument("--quick", action="store_true", help="one world, one fold, 2 epochs, nothing kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
