"""What a number that is known when predicting is worth: a beetle's size, in worlds that were drawn to show it.

python -m benchmarks.known_numbers [--worlds 1 2 3 4 5] [--folds 0 1 2 3] [--seeds 0 1]     train what is missing
python -m benchmarks.known_numbers --table            print the table of benchmarks/known_numbers.jsonl

The default is trained with and without the size (`tail.number_scale`) on the same fold and seed of a world of
`--task demo-size`, whose one target depends on it beside what the picture shows.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from benchmarks.forecast_arms import DEFAULT, config_of
from benchmarks.forecast_worlds import World
from benchmarks.searches import shown_gain
from trainable.data.task import Task
from trainable.frozen.backbone import load_backbone
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
from tune.command_line.options import DataOptions

RESULTS = Path(__file__).with_name("known_numbers.jsonl")
SCALES, SIZE, EPOCHS = (0.0, 0.1, 0.3), 600, 20
PARTS = ("all", "id", "ood")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """One training. scale: `tail.number_scale`, 0 being off. scores: of its last epoch, by part."""

    world: int
    fold: int
    seed: int
    scale: float
    scores: dict[str, float]

    @property
    def key(self) -> tuple[int, int, int, float]:
        """What tells one training from another."""
        return self.world, self.fold, self.seed, self.scale


def train(data: TrialData, *, world: int, fold: int, seed: int, scale: float) -> Trained:
    """The default to its last epoch."""
    config = config_of(DEFAULT, epochs=EPOCHS).with_values({"tail.number_scale": scale})
    trainer = TailTrainer(config, data, seed=seed)
    metrics: dict[str, float] = {}
    while trainer.epoch < trainer.config.n_epochs:
        metrics = trainer.train_epoch()
    scores = {part: round(metrics[f"score/{part}"], 6) for part in PARTS}
    return Trained(world=world, fold=fold, seed=seed, scale=scale, scores=scores)


def table(found: Sequence[Trained]) -> str:
    """A row a scale: gain over none, mean over worlds with Student's interval."""
    scores = {one.key: one.scores for one in found}
    worlds = sorted({one.world for one in found})
    rows = [
        "| size | gain over no size x 1000 | on ID | on OOD | worlds x trainings of each |",
        "|---|---|---|---|---|",
    ]
    for scale in SCALES[1:]:
        of_scale = [(key, (*key[:3], 0.0)) for key in scores if key[3] == scale and (*key[:3], 0.0) in scores]
        pairs = {world: [pair for pair in of_scale if pair[0][0] == world] for world in worlds}
        gains = [
            [float(np.mean([scores[off][part] - scores[on][part] for on, off in pairs[w]])) for w in worlds]
            for part in PARTS
        ]
        counts = " to ".join(map(str, sorted({len(of_world) for of_world in pairs.values()})))
        cells = [f"`tail.number_scale: {scale}`", *map(shown_gain, gains), f"{len(worlds)} x {counts}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def kept() -> Iterator[Trained]:
    """Those that there are lines of."""
    if RESULTS.exists():
        for line in RESULTS.read_text(encoding="utf-8").splitlines():
            yield Trained(**json.loads(line))


def main() -> None:
    """Train what is missing, or print the table; see the module."""
    options = _parse()
    torch.set_num_threads(1)
    if not options.table:
        task, backbone, cache = Task.load("demo-size"), load_backbone("tiny"), DataOptions().cache_folder
        blocks = {config_of(DEFAULT, epochs=EPOCHS).tail.n_blocks}
        for number in options.worlds:
            world = World(f"demo:{SIZE}:{number}", backbone, cache, blocks, task=task)
            for fold in options.folds:
                data = world.trial_data(fold)
                for seed, scale in product(options.seeds, SCALES):
                    if (number, fold, seed, scale) not in [one.key for one in kept()]:
                        one = train(data, world=number, fold=fold, seed=seed, scale=scale)
                        with RESULTS.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(asdict(one)) + "\n")
    print(table(list(kept())))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.known_numbers", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="of the demo [1 to 5]")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3], help="of a world [0 to 3]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of a training [0 1]")
    parser.add_argument("--table", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
