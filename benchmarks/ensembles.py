"""Whether the mean of a few confirmed configurations forecasts better than the best of them: ENSEMBLE.md's table.

python -m benchmarks.ensembles FOLDER [--worlds 4 5] [--pool 8] [--epochs 20]     train what is missing, print the table

On each world (`--data demo:600:WORLD`) the default and a pool of configurations, drawn from `full.yaml` with one
trained block at most, are trained on four folds. Each fold in turn is what a search chose its best three by; these and
the default are confirmed on the two or three folds after it, by the confirmation's own parts: only events that the
search did not choose by, each fold at the epoch that the others found best. What is chosen for a fold (a configuration,
a half, weights) is chosen on the other folds, and on none of the fold's events. Predictions are kept in FOLDER.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.forecast_worlds import World
from search_spaces.space import SearchSpace
from search_spaces.variant import load_variant
from trainable.config import TrialConfig
from trainable.data.splits import SPLIT_SEED, make_split
from trainable.frozen.backbone import load_backbone
from trainable.plain_values import JsonObject
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.divergence import TrialDiverged
from trainable.training.trainer import TailTrainer
from tune.command_line.options import DataOptions
from tune.confirming.ensemble import error_without, near_best
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.predicted import Predicted, scored
from tune.decisions.diversity import MIN_DISTANCE, distance

FOLDS, SEED, N_BEST = 4, 1, 3

Weigh = Callable[[Sequence[Predicted], HeldOutFolds, int], NDArray[np.float64]]
"""(members, folds, the fold to be forecast) -> a weight each."""


@dataclass(frozen=True)
class Pool:
    """One world's trained configurations. values: of the space, by name. kept: (name, fold) -> [epochs, rows, 3]."""

    values: Mapping[str, JsonObject]
    kept: Mapping[tuple[str, int], NDArray[np.float32]]
    scorers: Mapping[int, HeldOutScorer]
    domain_of_site: dict[str, int]
    curves: Mapping[tuple[str, int], NDArray[np.float64]]

    def seen(self, fold: int) -> NDArray[np.int64]:
        """Ids of a fold's held-out events."""
        parts = self.scorers[fold].forecasts(next(p[0] for (_, f), p in self.kept.items() if f == fold))
        return np.concatenate([part.event_ids for part in parts.values()])

    def predicted(self, name: str, folds: Sequence[int]) -> Predicted:
        """As a confirmation has it, of one seed."""
        curves = {fold: self.curves[name, fold] for fold in folds}
        return Predicted(name=name, curves=curves, read=lambda fold, epoch: [self.kept[name, fold][epoch - 1]])

    def best(self, space: SearchSpace, fold: int) -> list[str]:
        """What a search on one fold would have confirmed: its best, unlike one another."""
        taken: list[str] = []
        for name in sorted(self.values, key=lambda n: float(self.curves[n, fold].min())):
            is_new = all(distance(space, self.values[name], self.values[t]) >= MIN_DISTANCE for t in taken)
            if name != "default" and is_new and len(taken) < N_BEST:
                taken.append(name)
        return taken


def draw_configs(space: SearchSpace, *, n: int, epochs: int, seed: int) -> dict[str, tuple[TrialConfig, JsonObject]]:
    """Name -> configuration and its values; the default first."""
    import optuna

    default = load_variant("default", epochs=epochs)
    found = {"default": (default, space.values_of(default))}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    while len(found) < n + 1:
        values = space.suggest(study.ask())
        config = space.config(values, epochs)
        if config.tail.n_blocks <= 1:  # deeper ones take four times as long
            found[f"d{len(found)}"] = config, values
    return found


def make_pool(number: int, space: SearchSpace, folder: Path, *, n: int, epochs: int) -> Pool:
    """Train what is not there; a configuration that diverged on a fold is left out."""
    drawn = draw_configs(space, n=n, epochs=epochs, seed=number)
    configs, values = ({name: pair[i] for name, pair in drawn.items()} for i in (0, 1))
    blocks = {config.tail.n_blocks for config in configs.values()}
    world = World(f"demo:600:{number}", load_backbone("tiny"), DataOptions().cache_folder, blocks)
    return trained_pool(world, configs, values, folder, prefix=f"{epochs}-{number}")


def trained_pool(
    world: World, configs: Mapping[str, TrialConfig], values: Mapping[str, JsonObject], folder: Path, *, prefix: str
) -> Pool:
    """Train what is not there; prefix: of its files. A configuration that diverged on a fold is left out."""
    kept = {}
    for fold in range(FOLDS):
        for name, config in configs.items():
            file = folder / f"{prefix}-{fold}-{name}.npy"
            if not file.exists():
                np.save(file, _train(world, config, fold))
            kept[name, fold] = np.load(file)
    whole = [name for name, c in configs.items() if all(len(kept[name, fold]) == c.n_epochs for fold in range(FOLDS))]
    frame = world.specimens.frame
    events, sites = frame["event_id"].to_numpy(np.int64), frame["site_id"].to_numpy(np.str_)
    splits = [make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED) for fold in range(FOLDS)]
    scorers = {fold: HeldOutScorer(world.labels, events, sites, split) for fold, split in enumerate(splits)}
    kept = {(name, fold): predictions for (name, fold), predictions in kept.items() if name in whole}
    return Pool(
        values={name: values[name] for name in whole},
        kept=kept,
        scorers=scorers,
        domain_of_site=dict(zip(sites.tolist(), frame["domain_id"].tolist(), strict=True)),
        curves={k: np.array([scorers[k[1]].score(p)["score/all"] for p in found]) for k, found in kept.items()},
    )


def _train(world: World, config: TrialConfig, fold: int) -> NDArray[np.float32]:
    """[epochs, held-out rows, 3]; shorter where it diverged."""
    found: list[NDArray[np.float32]] = []
    try:
        trainer = TailTrainer(config, world.trial_data(fold), seed=SEED)
        while trainer.epoch < config.n_epochs:
            trainer.train_epoch()
            found.append(np.asarray(trainer.held_out_predictions, dtype=np.float32))
    except TrialDiverged:
        pass
    return np.array(found, dtype=np.float32)


def _near(members: Sequence[Predicted], held_out: HeldOutFolds, fold: int) -> NDArray[np.float64]:
    near = near_best(members, held_out, without=fold)
    return np.array([member in near for member in members]) / len(near)


def _half(members: Sequence[Predicted], held_out: HeldOutFolds, fold: int) -> NDArray[np.float64]:
    errors = [error_without(fold, [(member, 1.0)], held_out) for member in members]
    n = max(2, math.ceil(len(members) / 2))
    if not all(map(math.isfinite, errors)):  # nothing is left to choose by
        n = len(members)
    return np.isin(np.arange(len(members)), np.argsort(errors, kind="stable")[:n]) / n


def _best(members: Sequence[Predicted], held_out: HeldOutFolds, fold: int) -> NDArray[np.float64]:
    errors = [error_without(fold, [(member, 1.0)], held_out) for member in members]
    return np.eye(len(members))[int(np.argmin(errors))]


def _greedy(start: int, rounds: int) -> Weigh:
    """Selection with replacement (Caruana 2004): the bag begins with each member `start` times."""

    def weigh(members: Sequence[Predicted], held_out: HeldOutFolds, fold: int) -> NDArray[np.float64]:
        bag = np.full(len(members), float(start))
        for _ in range(rounds * len(members)):
            grown = [bag + more for more in np.eye(len(members))]
            shares = [[(m, float(w)) for m, w in zip(members, b / b.sum(), strict=True)] for b in grown]
            bag = grown[int(np.argmin([error_without(fold, of, held_out) for of in shares]))]
        return bag / bag.sum()

    return weigh


WAYS: dict[str, Weigh] = {
    "the best one": _best,
    "mean of those near the best": _near,
    "mean of the better half": _half,
    "mean of all": lambda members, *_: np.full(len(members), 1 / len(members)),
    "greedy weights": _greedy(0, 2),
    "greedy weights, shrunk": _greedy(1, 1),
}


def pseudo_searches(pool: Pool, space: SearchSpace, *, n_folds: int) -> Iterator[dict[str, dict[str, float]]]:
    """Way, or "default" -> metrics, for each fold as that of the search."""
    for search in range(FOLDS):
        folds = [(search + 1 + i) % FOLDS for i in range(n_folds)]
        held_out = HeldOutFolds(
            scorers={fold: pool.scorers[fold] for fold in folds},
            floors={},
            group_floors={},
            is_known={},
            seen=pool.seen(search),
            domain_of_site=pool.domain_of_site,
            n_left_out=0,
            n_seen=0,
        )
        members = [pool.predicted(name, folds) for name in [*pool.best(space, search), "default"]]
        ways = {**WAYS, "default": lambda members, *_: np.eye(len(members))[-1]}
        yield {name: scored(held_out, _forecasts(members, held_out, way)).metrics for name, way in ways.items()}


def _forecasts(
    members: Sequence[Predicted], held_out: HeldOutFolds, weigh: Weigh
) -> dict[int, list[NDArray[np.float64]]]:
    found = {}
    for fold in held_out.scorers:
        of_each = [member.of(fold, member.epoch(without=fold))[0].astype(np.float64) for member in members]
        found[fold] = [np.tensordot(weigh(members, held_out, fold), np.stack(of_each), axes=1)]
    return found


def _gains(worlds: Sequence[Sequence[Mapping[str, Mapping[str, float]]]], way: str, over: str) -> str:
    """Thousandths by which a score is lower, ± half of Student's 90 % interval over the worlds."""
    from scipy import stats

    cells = []
    for part in ("all", "id", "ood"):
        key = f"score/{part}"
        of_world = np.array([np.mean([r[over][key] - r[way][key] for r in rows]) for rows in worlds]) * 1000
        half = stats.t.ppf(0.95, len(of_world) - 1) * of_world.std(ddof=1) / np.sqrt(len(of_world))
        cells.append(f"{of_world.mean():+.1f} ± {half:.1f}")
    rows = [row for rows in worlds for row in rows]
    share = np.mean([row[way]["score/all"] < row[over]["score/all"] for row in rows])
    return f"| {' | '.join(cells)} | {share:.0%} of {len(rows)} |"


def main() -> None:
    """Train and print; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ensembles", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where predictions are kept")
    parser.add_argument("--worlds", type=int, nargs="+", default=[4, 5, 6, 7, 8], help="of the demo [4 5 6 7 8]")
    parser.add_argument("--pool", type=int, default=8, help="configurations beside the default [8]")
    parser.add_argument("--epochs", type=int, default=20, help="of a training [20]")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    space = SearchSpace.load("full")
    pools = [make_pool(number, space, given.folder, n=given.pool, epochs=given.epochs) for number in given.worlds]
    print("| folds | forecast by | against | gain x 1000 | on ID | on OOD | better in |\n|---|---|---|---|---|---|---|")
    for n_folds in (2, 3):
        worlds = [list(pseudo_searches(pool, space, n_folds=n_folds)) for pool in pools]
        for over in ("the best one", "default"):
            for way in (way for way in WAYS if way != over):
                print(f"| {n_folds} | {way} | {over} {_gains(worlds, way, over)}", flush=True)


if __name__ == "__main__":
    main()
