"""Which searches find better: scored by one fold or two, trained once or for each, and from which starting points.

python -m benchmarks.search_folds [--worlds 1 2 3] [--ways 1 2 at-once starts] [--trials 24] [--epochs 20] [--size 600]
python -m benchmarks.search_folds --table             print the table of all searches in benchmarks/search_folds.jsonl

Each search is made by the program's own decisions and trainers, in this process, without Ray, journal or confirmation;
of the starting points only the default is run, or those of `STARTS`. What it finds is then trained on folds 2, 3 and
4, and scored there by the events that no such search chose by: the same for all.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.forecast_worlds import World
from benchmarks.searches import Losses, score_of, shown_gain
from search_spaces.space import DEFAULT, SearchSpace
from search_spaces.task_space import fit_to_task
from search_spaces.variant import load_variant
from trainable.config import TrialConfig
from trainable.data.splits import search_splits
from trainable.data.task import beetles
from trainable.failure import Failure
from trainable.frozen.backbone import load_backbone
from trainable.scoring.out_of_fold import only_fresh
from trainable.training.divergence import TrialDiverged
from trainable.training.folds_trainer import make_trainer
from trainable.training.trial_data import TrialData
from tune.command_line.options import DataOptions, SearchOptions
from tune.decisions.decisions import Decisions
from tune.decisions.diversity import ScoredTrial, best_diverse
from tune.decisions.proposals import starting_queue
from tune.decisions.sampler import sampler_description

RESULTS = Path(__file__).with_name("search_folds.jsonl")
WAYS = {"1": (1, True), "2": (2, True), "at-once": (2, False), "starts": (2, False)}
"""Way -> folds that score a trial, and whether it is trained once for each of them."""

STARTS = {"starts": ("default", "probe_first", "probe_bags", "probe_alone")}
"""Way -> the starting points that are run; of other ways the default alone."""

SITTING = 2
"""Counted up when the space or the program has changed what a search finds."""

JUDGES = (2, 3, 4)
N_BEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One search. own_gain: of its best over the default, by the score that it chose by. cpu_seconds: of its trials.

    way: of scoring a trial, see `WAYS`. losses: the default's and its best three's, unlike one another and best first
    ("1", "2", "3"), on the judging folds. sitting: searches of one are of the same space and program.
    """

    data: str
    way: str
    trials: int
    epochs: int
    own_gain: float
    cpu_seconds: float
    losses: Mapping[str, Losses]
    sitting: int

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What tells one search from another."""
        return self.data, self.way, self.trials, self.epochs, self.sitting

    def gain(self, name: str, folds: Sequence[str]) -> float:
        """How much lower than the default's a candidate's score is on some of the judging folds."""
        of_default, of_candidate = ([self.losses[who][fold] for fold in folds] for who in (DEFAULT, name))
        return score_of(of_default) - score_of(of_candidate)

    @property
    def best(self) -> float:
        """Gain of the search's best."""
        return self.gain("1", list(self.losses[DEFAULT]))

    @property
    def led(self) -> float:
        """Gain of who leads: on each judging fold the one, or the default, that the others score best; their mean."""
        folds = list(self.losses[DEFAULT])
        gains = []
        for fold in folds:
            others = [other for other in folds if other != fold]
            leader = min(self.losses, key=lambda name: score_of([self.losses[name][other] for other in others]))
            gains.append(self.gain(leader, [fold]))
        return float(np.mean(gains))


@dataclass(frozen=True)
class Bench:
    """What all searches of a world share."""

    world: World
    space: SearchSpace
    options: SearchOptions

    def data(self, way: str) -> TrialData:
        """As the trials of a search read it."""
        n, train_each = WAYS[way]
        splits = search_splits(self.world.specimens.frame, holdout="both", fold=0, n=n, train_each=train_each)
        return replace(self.world.trial_data(0), split=splits[0], other_splits=splits[1:])

    def search(self, way: str, trials: int) -> Found:
        """Search, train what was found on the judging folds, score it by events that no search chose by."""
        default = load_variant(DEFAULT, epochs=self.options.epochs)
        decisions = Decisions(self.space, self._header(way, trials))
        started, data = time.process_time(), self.data(way)
        while (ask := decisions.ask()) is not None:
            try:
                trainer = make_trainer(ask.config, data, seed=0)
                while not decisions.is_told(ask.trial_id):
                    decisions.report(ask.trial_id, trainer.epoch + 1, trainer.train_epoch())
            except TrialDiverged as error:
                decisions.fail(ask.trial_id, Failure.of(error))
        seconds = time.process_time() - started
        scored = [(r.best_score, r) for r in decisions.trials() if r.best_score is not None]
        ranked = [
            ScoredTrial(record, score, record.values, record.config)
            for score, record in sorted(scored, key=lambda pair: (pair[0], pair[1].number))
            if record.config != default.to_dict()
        ]
        by_name = {str(i + 1): c.config for i, c in enumerate(best_diverse(ranked, self.space, n=N_BEST))}
        configs = {DEFAULT: default} | {name: TrialConfig.from_dict(config) for name, config in by_name.items()}
        own = next(score for score, record in scored if record.config == default.to_dict())
        return Found(
            data=self.world.data,
            way=way,
            trials=trials,
            epochs=self.options.epochs,
            own_gain=round(own - min(score for score, _ in scored), 6),
            cpu_seconds=round(seconds, 1),
            losses={name: self._judged(config) for name, config in configs.items()},
            sitting=SITTING,
        )

    def _header(self, way: str, trials: int) -> dict[str, object]:
        wanted = {f"start:{name}" for name in STARTS.get(way, (DEFAULT,))}
        queue = [entry for entry in starting_queue(self.space, self.options.epochs) if entry["origin"] in wanted]
        return {
            "seed": 0, "n_trials": trials, "max_epochs": self.options.epochs, "grace_epochs": self.options.grace,
            "reduction_factor": self.options.reduction_factor, "patience": self.options.patience_epochs,
            "sampler": sampler_description(), "queue": queue,
        }  # fmt: skip

    def _judged(self, config: TrialConfig) -> Losses:
        seen = np.concatenate(
            [self.world.trial_data(0).event_ids[np.concatenate([s.id_, s.ood])] for s in self.data("2").splits]
        )
        found: dict[str, dict[str, tuple[int, tuple[float, ...]]]] = {}
        for fold in JUDGES:
            (trainer,) = make_trainer(config, self.world.trial_data(fold), seed=0).trainers
            predictions = None
            while trainer.epoch < trainer.config.n_epochs:
                trainer.train_epoch()
                if trainer.best_epoch == trainer.epoch:
                    predictions = trainer.held_out_predictions
            parts = only_fresh(trainer.scorer.forecasts(predictions), seen)
            found[str(fold)] = {
                name: (len(part.crps), tuple(np.round(part.crps.mean(axis=0), 6).tolist()))
                for name, part in parts.items()
            }
        return found


def table(found: Sequence[Found]) -> str:
    """A row a sitting and way, mean over worlds with Student's interval, and how much more one finds than another."""
    rows = [
        "| sitting | way | gain by its own score x 1000 | of its best, elsewhere | of the three best, elsewhere | "
        "of who leads elsewhere | CPU seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for sitting in sorted({one.sitting for one in found}):
        by_way = {
            way: {one.data: _gains(one) for one in found if (one.sitting, one.way) == (sitting, way)} for way in WAYS
        }
        ways = [way for way in WAYS if by_way[way]]
        for way in ways:
            worlds = list(by_way[way].values())
            cells = [shown_gain([world[i] for world in worlds]) for i in range(4)]
            rows.append(f"| {sitting} | {way} | {' | '.join(cells)} | {np.mean([world[4] for world in worlds]):.0f} |")
        for less, more in pairwise(ways):
            pairs = [
                np.subtract(by_way[more][data], of)[:4] for data, of in by_way[less].items() if data in by_way[more]
            ]
            cells = [shown_gain([pair[i] for pair in pairs]) for i in range(4)]
            rows.append(f"| {sitting} | {more} over {less} | {' | '.join(cells)} | |")
    return "\n".join(rows) + "\n"


def _gains(one: Found) -> tuple[float, ...]:
    folds = list(one.losses[DEFAULT])
    three = float(np.mean([one.gain(str(i + 1), folds) for i in range(N_BEST)]))
    return one.own_gain, one.best, three, one.led, one.cpu_seconds


def kept() -> Iterator[Found]:
    """Those that there are lines of."""
    if RESULTS.exists():
        for line in RESULTS.read_text(encoding="utf-8").splitlines():
            yield Found(**json.loads(line))


def main() -> None:
    """Search what is missing, or print the table; see the module."""
    options = _parse()
    torch.set_num_threads(1)
    if not options.table:
        space, _ = fit_to_task(SearchSpace.load("full"), beetles())
        searching = SearchOptions(epochs=options.epochs)
        for number in options.worlds:
            data = f"demo:{options.size}:{number}"
            blocks = set(space.reachable_blocks())
            world = World(data, load_backbone("tiny"), DataOptions().cache_folder, blocks)
            for way in options.ways:
                if (data, way, options.trials, options.epochs, SITTING) not in [one.key for one in kept()]:
                    one = Bench(world, space, searching).search(way, options.trials)
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(one)) + "\n")
    print(table(list(kept())))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_folds", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--worlds", type=int, nargs="+", default=[1, 2, 3, 9, 10, 11, 12, 13], help="of the demo [1 2 3 9 to 13]"
    )
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="of scoring a trial [all]")
    parser.add_argument("--size", type=int, default=600, help="images of a world [600]")
    parser.add_argument("--trials", type=int, default=24, help="of a search [24]")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial at most [20]")
    parser.add_argument("--table", action="store_true", help="search nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
