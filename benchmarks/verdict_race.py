"""Whom to ask first, and whether a race in front of the verdict would choose better: gains, false wins, proofs.

python benchmarks/verdict_race.py [--rounds 100] [--data demo] [--worlds A B C] [--spreads 0 0.013 0.037]

A search has tried 24 configurations, whose true gains on the default are drawn with an SD of `spread` (0.013: from a
constant forecast to the best public entry; 0.037: SD of recorded values), and ranks them by what it scores its trials
by. Its best are confirmed on three folds with the default, in 12 runs: three on every fold, as the program does; or a
race, in which more enter and fewer go on. Who goes on has the best mean difference to the default, over the search's
score and the folds run so far, each counted once and of the folds only events that the search did not choose by; it is
shrunk by the noise measured. Those that ran every fold and their ensemble, without floors, get a verdict from the
verdict's own functions: intervals are widened for all that entered and the ensemble; that of the ensemble is not where
it is asked first, and nothing wins before it does. "all alike": it is one of several, as before it was asked first.

Worlds of noise are those of `verdict_level.py`, the truth that of `simulated_search.py`: the expected gain where
nothing was measured, of an ensemble as of one configuration. "any win": some candidate is said to beat the default.
"false": some that truly does not is. "led by": true gain of the best mean, be it the default's, which `retrain
--leading` takes; "shipped": of the winner, or of the default where nothing wins; in SPEI units. "worse": below 0.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shrinkage import shrunk
from benchmarks.simulated_search import SEARCHED, Ground, Searched, Truth, score, search
from benchmarks.verdict_level import LASTING
from search_spaces.space import DEFAULT
from trainable.data.specimens import load_specimens
from trainable.data.splits import SPLIT_SEED
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import Difference, OutOfFold, paired_difference
from tune.command_line.options import DataOptions
from tune.confirming.ensemble import ensemble_predictions, near_best
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import ENSEMBLE
from tune.confirming.predicted import Predicted, Predictions
from tune.confirming.verdict import winner_of

TODAY = "none"
ROUNDING = 1e-6
"""A smaller gain is none."""

N_DRAWS, N_DRAWS_OF_EQUALS, SHOWN_EVERY = 3, 5, 5
"""Searches of a round in each world and spread; of equals more, since false wins are rare."""

WAYS = {
    (3, 3, 3): {TODAY: True, "all alike": False},
    (5, 2, 2): {"race 5": True},
    (4, 3, 2): {"race 4": True},
}
"""How many run each fold beside the default -> way of confirming -> whether the ensemble is asked first."""


Results = dict[str, list[float]]
"""Way of confirming -> what `judged` finds."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """differences: of those that were judged. members: of the ensemble, if any. level: that of the intervals, if it is
    another than the differences' own. first: who is asked first, at `LEVEL`, if anyone.
    """

    differences: Mapping[str, Difference]
    members: tuple[str, ...] = ()
    level: float | None = None
    first: str | None = None

    @property
    def leader(self) -> str:
        """The best mean, which may be the default's."""
        best = min(self.differences, key=lambda name: self.differences[name].mean)
        return best if self.differences[best].mean < 0 else DEFAULT

    @property
    def winners(self) -> list[str]:
        """All that are said to beat the default, best first."""
        wins = [name for name in self.differences if self._is_win(name)]
        wins.sort(key=lambda name: self.differences[name].mean)
        return [] if winner_of(wins, first=self.first) is None else wins

    @property
    def winner(self) -> str:
        """The default where nothing is proven."""
        return next(iter(self.winners), DEFAULT)

    def _is_win(self, name: str) -> bool:
        difference, level = self.differences[name], LEVEL if name == self.first else self.level
        if level is None:
            return difference.is_win
        assert difference.p_better is not None
        return difference.p_better > (1 + level) / 2  # of the same t as the interval


def main() -> None:
    """Print a row a world, spread and way, after every `SHOWN_EVERY` rounds anew."""
    arguments = parse_arguments()
    ground = Ground.of(load_specimens(arguments.data, cache_dir=DataOptions().cache_folder, n_processes=1).frame)
    cells = list(product(arguments.worlds, arguments.spreads))
    truths = {w: Truth.of(ground.events, w, np.random.default_rng([SPLIT_SEED, ord(w)])) for w in arguments.worlds}
    rngs = {(w, spread): np.random.default_rng([SPLIT_SEED, ord(w), round(spread * 1000)]) for w, spread in cells}
    found: dict[tuple[str, float], list[Results]] = {cell: [] for cell in cells}
    for n in range(1, arguments.rounds + 1):
        for (world, spread), results in found.items():
            for _ in range(N_DRAWS if spread else N_DRAWS_OF_EQUALS):
                searched = search(ground, truths[world], world, spread, rngs[world, spread])
                results.append(results_of(searched, ground.held_out, truths[world]))
        if n % SHOWN_EVERY == 0 or n == arguments.rounds:
            print(HEAD)
            for (world, spread), results in found.items():
                for way in results[0]:
                    print(line(world, spread, results, way), flush=True)


def results_of(searched: Searched, held_out: HeldOutFolds, truth: Truth) -> Results:
    """Of one search."""
    found: Results = {}
    for n_of_fold, ways in WAYS.items():
        level = 1 - (1 - LEVEL) / (n_of_fold[0] + 1)
        chosen = replace(confirm(searched, held_out, n_of_fold), level=level)
        for way, asks_first in ways.items():
            found[way] = judged(replace(chosen, first=ENSEMBLE if asks_first else None), searched, truth)
    return found


def confirm(searched: Searched, held_out: HeldOutFolds, n_of_fold: Sequence[int]) -> Chosen:
    """The best of a search on the folds, so many of them on each."""
    folds = list(held_out.scorers)
    names = sorted((name for name in searched.scores if name != DEFAULT), key=searched.scores.__getitem__)
    for i, n in enumerate(n_of_fold):
        if n < len(names) and i > 0:
            names = standing(searched, held_out, names, folds[:i])
        names = names[:n]
    members = [predicted(searched, name, folds) for name in (*names, DEFAULT)]
    forecasts = {of.name: gathered({fold: of.of(fold, 1) for fold in folds}, held_out) for of in members}
    forecasts[ENSEMBLE] = gathered(ensemble_predictions(members, held_out, with_floors=False), held_out)
    default = forecasts.pop(DEFAULT)
    return Chosen(
        {name: paired_difference(of, default) for name, of in forecasts.items()},
        members=tuple(of.name for of in near_best(members, held_out)),
    )


def standing(searched: Searched, held_out: HeldOutFolds, names: Sequence[str], folds: Sequence[int]) -> list[str]:
    """Best first by the mean difference to the default over the search and these folds, shrunk."""
    scores = {
        name: {SEARCHED: searched.scores[name]}
        | {fold: score(held_out.forecasts(fold, searched.run(name, fold))) for fold in folds}
        for name in (*names, DEFAULT)
    }
    default = scores.pop(DEFAULT)
    known = shrunk({name: {at: own[at] - default[at] for at in own} for name, own in scores.items()})
    return sorted(names, key=lambda name: known[name].value)


def predicted(searched: Searched, name: str, folds: Sequence[int]) -> Predicted:
    """As a confirmation has it, of one epoch and one seed."""
    run = partial(searched.run, name)
    return Predicted(name=name, curves={fold: np.zeros(1) for fold in folds}, read=lambda fold, _: [run(fold)])


def gathered(predictions: Mapping[int, Sequence[Predictions]], held_out: HeldOutFolds) -> OutOfFold:
    """predictions: fold -> one array a seed."""
    runs = {fold: [held_out.forecasts(fold, of) for of in seeds] for fold, seeds in predictions.items()}
    return OutOfFold.gather(runs, held_out.domain_of_site)


def judged(chosen: Chosen, searched: Searched, truth: Truth) -> list[float]:
    """Any win, any false win, true gains of leader and of what is shipped, and whether these are below 0."""
    gains = {name: truth.gain([skill]) for name, skill in searched.skills.items()}
    gains[ENSEMBLE] = truth.gain([searched.skills[name] for name in chosen.members])
    led, shipped = gains[chosen.leader], gains[chosen.winner]
    is_false = any(gains[name] < ROUNDING for name in chosen.winners)
    return [bool(chosen.winners), is_false, led, shipped, led < -ROUNDING, shipped < -ROUNDING]


HEAD = (
    "world  spread  draws  way            any win         false          led by   less none          worse  "
    "shipped  less none          worse"
)


def line(world: str, spread: float, found: Sequence[Results], way: str) -> str:
    """One row."""
    of_way, of_today = (np.array([results[name] for results in found], dtype=np.float64) for name in (way, TODAY))
    any_win, is_false, led, shipped, led_worse, shipped_worse = of_way.mean(axis=0)
    less = of_way - of_today
    half, mean, n = 1.96 * less.std(axis=0) / math.sqrt(len(less)), less.mean(axis=0), len(less)
    by = [f"{mean[i]:+.4f} +- {half[i]:.4f}" if way != TODAY else " " * 17 for i in (2, 3)]
    shares = [f"{share:6.1%} +- {math.sqrt(share * (1 - share) / n):.1%}" for share in (any_win, is_false)]
    return (
        f"{world:<6} {spread:<6g}  {n:<5}  {way:<13}  {'  '.join(shares)}  {led:+.4f}  {by[0]}  {led_worse:5.1%}  "
        f"{shipped:+.4f}  {by[1]}  {shipped_worse:5.1%}"
    )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="of 3 searches each, and 5 where the spread is 0")
    parser.add_argument("--data", default="demo", help="whose events and folds are taken")
    parser.add_argument("--worlds", nargs="+", default=list(LASTING), choices=list(LASTING))
    parser.add_argument("--spreads", nargs="+", type=float, default=[0.0, 0.013, 0.037])
    return parser.parse_args()


if __name__ == "__main__":
    main()
