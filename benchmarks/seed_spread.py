"""How far a training's score is its configuration's, and how far its fold's and its seed's.

python -m benchmarks.seed_spread                     print the table

Of the configurations in benchmarks/recorded_curves.parquet that were trained with several seeds, on every fold: each
training's lowest score on what its fold holds out, half ID and half OOD. Scores of one world are analysed in two ways,
configurations by folds, with seeds inside: what folds have in common is taken out, as pairs take it out of a verdict.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.choosing import TODAY, WAYS, worlds_of
from benchmarks.recorded_curves import N_FOLDS, RESULTS, Curves

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations of a score: of one seed about another; of a fold about what its configuration scores on all
    folds, seeds apart; of configurations.
    """

    n_configurations: int
    n_seeds: int
    seed: float
    fold: float
    configuration: float


def spread(scores: Floats) -> Spread:
    """scores: `[configurations, folds, seeds]`; two of each at least. By the moments of a two-way layout."""
    n_configs, n_folds, n_seeds = scores.shape
    of_seed = scores.var(axis=2, ddof=1).mean()
    cells = scores.mean(axis=2)
    left = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
    of_cell = (left**2).sum() / ((n_configs - 1) * (n_folds - 1))
    of_config = cells.mean(axis=1).var(ddof=1)
    return Spread(
        n_configurations=n_configs,
        n_seeds=n_seeds,
        seed=float(np.sqrt(of_seed)),
        fold=float(np.sqrt(max(0.0, of_cell - of_seed / n_seeds))),
        configuration=float(np.sqrt(max(0.0, of_config - of_cell / n_folds))),
    )


def scores_of(file: Path) -> Mapping[str, Floats]:
    """World -> scores of the configurations that all its seeds trained on every fold; without worlds of one seed."""
    curves = list(Curves(file))
    found: dict[str, list[dict[str, list[float]]]] = {}
    score = WAYS[TODAY[0]]
    for seed in sorted({curve.seed for curve in curves}):
        for world in worlds_of(curves, seed=seed):
            of_name = {
                name: [float(score(world.seen(name, world.searched([fold]))).min()) for fold in range(N_FOLDS)]
                for name in world.names
            }
            found.setdefault(next(iter(world.of.values())).data, []).append(of_name)
    return {data: _stacked(seeds) for data, seeds in found.items() if len(seeds) > 1}


def _stacked(seeds: Sequence[Mapping[str, Sequence[float]]]) -> Floats:
    names = [name for name in seeds[0] if all(name in of_name for of_name in seeds)]
    return np.array([[of_name[name] for of_name in seeds] for name in names]).transpose(0, 2, 1)


def table(scores: Mapping[str, Floats]) -> str:
    """A row a world, in thousandths."""
    rows = ["| world | configurations | seeds | SD of seed x 1000 | of fold | of configuration |", "|---" * 6 + "|"]
    for data, of_world in scores.items():
        found = spread(of_world)
        sds = [f"{1000 * sd:.1f}" for sd in (found.seed, found.fold, found.configuration)]
        rows.append(f"| {data} | {found.n_configurations} | {found.n_seeds} | {' | '.join(sds)} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Print the table; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.seed_spread", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table of curves")
    print(table(scores_of(parser.parse_args().results)))


if __name__ == "__main__":
    main()
