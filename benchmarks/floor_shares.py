"""Whether floors beside an ensemble forecast better than it alone, on worlds whose pictures say much or little.

python -m benchmarks.floor_shares FOLDER [--worlds 4 5] [--dealt 0 0.7 0.9]       train what is missing, print the table

On each world (`--data demo:600:WORLD`, a share of its labels dealt anew) three configurations are trained on four
folds. Each fold in turn is what a search chose by; the others are confirmed on, by the confirmation's own parts: only
events count that the search did not choose by, and what a fold's events are forecast by is chosen on the other folds.
Predictions are kept in FOLDER.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.ensembles import FOLDS, Pool, trained_pool
from benchmarks.forecast_arms import config_of
from benchmarks.forecast_worlds import World
from benchmarks.searches import shown_gain
from trainable.frozen.backbone import load_backbone
from tune.command_line.options import DataOptions
from tune.confirming.ensemble import EVIDENCE, ensemble_predictions, floor_shares, near_best
from tune.confirming.held_out import HeldOutFolds, in_known_domains, predicted_floors
from tune.confirming.predicted import Predictions, scored

ARMS = ("default", "no mixup (default)", "strong augmentation (default)")
EPOCHS = 20
WEIGHED_BY = (EVIDENCE // 2, EVIDENCE, EVIDENCE * 2)

ALONE = "the ensemble alone"
KEYS = ("score/all", "score/id", "score/ood")


def confirmations(world: World, pool: Pool) -> Iterator[dict[str, dict[str, float]]]:
    """Forecast -> metrics, and "shares" -> floor -> share on all folds, for each fold as that of the search."""
    floors = {fold: predicted_floors(world.trial_data(fold)) for fold in range(FOLDS)}
    for search in range(FOLDS):
        folds = [fold for fold in range(FOLDS) if fold != search]
        held_out = HeldOutFolds(
            scorers={fold: pool.scorers[fold] for fold in folds},
            floors={},
            group_floors={fold: floors[fold] for fold in folds},
            is_known={fold: in_known_domains(world.trial_data(fold)) for fold in folds},
            seen=pool.seen(search),
            domain_of_site=pool.domain_of_site,
            n_left_out=0,
            n_seen=0,
        )
        members = [pool.predicted(name, folds) for name in pool.values]
        found: dict[str, dict[int, list[Predictions]]] = {
            name: {fold: [floors[fold][name]] for fold in folds} for name in floors[folds[0]]
        }
        found[ALONE] = ensemble_predictions(members, held_out, with_floors=False)
        found |= {_name(n): ensemble_predictions(members, held_out, with_floors=True, evidence=n) for n in WEIGHED_BY}
        shares = floor_shares(near_best(members, held_out), held_out)
        yield {name: scored(held_out, of).metrics for name, of in found.items()} | {"shares": shares}


def _name(evidence: float) -> str:
    return f"with floors, by {evidence:g} errors"


def rows(dealt: float, worlds: Sequence[Sequence[Mapping[str, Mapping[str, float]]]]) -> Iterator[str]:
    """Of one share of dealt labels: a row a forecast, its score and its gain over the ensemble alone."""
    shares = {name: [one["shares"].get(name, 0.0) for world in worlds for one in world] for name in _floors(worlds)}
    shown = ", ".join(f"{name} {np.mean(values):.0%}" for name, values in shares.items())
    for name in [*_floors(worlds), ALONE, *map(_name, WEIGHED_BY)]:
        gains = [
            shown_gain([float(np.mean([one[ALONE][key] - one[name][key] for one in world])) for world in worlds])
            for key in KEYS
        ]
        score = np.mean([one[name]["score/all"] for world in worlds for one in world])
        better = np.mean([one[name]["score/all"] < one[ALONE]["score/all"] for world in worlds for one in world])
        cells = ["-"] * 4 if name == ALONE else [*gains, f"{better:.0%} of {FOLDS * len(worlds)}"]
        yield f"| {dealt:g} | {name} | {score:.3f} | {' | '.join(cells)} | {shown if name == _name(EVIDENCE) else ''} |"


def _floors(worlds: Sequence[Sequence[Mapping[str, Mapping[str, float]]]]) -> list[str]:
    return [name for name in worlds[0][0] if name.endswith("_mean")]


def main() -> None:
    """Train and print; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floor_shares", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="where predictions are kept")
    parser.add_argument("--worlds", type=int, nargs="+", default=[4, 5, 6, 7, 8], help="of the demo [4 5 6 7 8]")
    parser.add_argument("--dealt", type=float, nargs="+", default=[0.0, 0.7, 0.9], help="shares of events [0 0.7 0.9]")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    configs = {name: config_of(name, epochs=EPOCHS) for name in ARMS}
    print("| labels dealt anew | forecast by | score | gain x 1000 | on ID | on OOD | better in | mean shares |")
    print("|---|---|---|---|---|---|---|---|")
    for dealt in given.dealt:
        found = []
        for number in given.worlds:
            world = World(f"demo:600:{number}", load_backbone("tiny"), DataOptions().cache_folder, {2}, dealt)
            pool = trained_pool(
                world, configs, {name: {} for name in configs}, given.folder, prefix=f"{EPOCHS}-{number}-{dealt:g}"
            )
            found.append(list(confirmations(world, pool)))
        print("\n".join(rows(dealt, found)), flush=True)


if __name__ == "__main__":
    main()
