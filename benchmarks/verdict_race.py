"""Whether a race in front of the verdict would choose better: at as many runs, regrets, false wins, proofs.

python benchmarks/verdict_race.py [--draws 500] [--data demo] [--worlds A B C] [--spreads 0 0.013 0.037]

A search has tried 24 configurations, whose true gains on the default are drawn with an SD of `spread` (0.013: from a
constant forecast to the best public entry; 0.037: SD of recorded values), and ranks them by its own fold. Its best are
then confirmed on two folds: three on both, as the program does; or four on the first, of which the two with the best
mean gain, shrunk by the noise measured, go on to the second: 8 runs either way. Intervals are widened for three; with
the race also for all four that entered. Worlds and forecasts are those of `verdict_level.py`. "led by": true regret of
the best mean, or of the default where that has it; "shipped": of the winner, or of the default where nothing wins; in
SPEI units, of the best tried or the default.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.shrinkage import shrunk
from benchmarks.verdict_level import (
    LASTING,
    SEARCH_FOLD,
    Events,
    events_of,
    forecast,
    held_out_rows,
    lasting_of,
    skilled,
    training_noise,
)
from search_spaces.space import DEFAULT
from trainable.data.specimens import load_specimens
from trainable.data.splits import SPLIT_SEED
from trainable.scoring.clustered_error import score_of
from trainable.scoring.crps import Floats, fit_sigma
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import Difference, OutOfFold, only_fresh, paired_difference
from trainable.scoring.scoring import EventForecast
from trainable.scoring.targets import Targets
from tune.command_line.options import DataOptions
from tune.confirming.fresh_folds import fresh_folds

N_TRIED, TOP, N_FOLDS = 24, 3, 2
SCORE = 0.45
"""About what these forecasts score; gains are relative to it."""

WAYS = {"none": (3, 3), "race": (4, 3), "race, for 4": (4, 4)}
"""Way of confirming -> who enter the first fold, and for how many candidates intervals are widened."""

Key = tuple[int, str]
"""Fold and part."""

Parts = dict[str, EventForecast]


@dataclass(frozen=True, slots=True)
class Searched:
    """gains: name -> true gain on the default. scores: on the search's fold. run: name, fold -> forecasts."""

    gains: dict[str, float]
    scores: dict[str, float]
    run: Callable[[str, int], Parts]


@dataclass(frozen=True, slots=True)
class Chosen:
    """differences: of those that were judged."""

    differences: dict[str, Difference]

    @property
    def leader(self) -> str:
        """The best mean, which may be the default's."""
        best = min(self.differences, key=lambda name: self.differences[name].mean)
        return best if self.differences[best].mean < 0 else DEFAULT

    @property
    def winner(self) -> str:
        """The default where nothing is proven."""
        wins = [name for name, difference in self.differences.items() if difference.is_win]
        return min(wins, key=lambda name: self.differences[name].mean, default=DEFAULT)


def main() -> None:
    """Print a row a world, spread and way."""
    arguments = parse_arguments()
    frame = load_specimens(arguments.data, cache_dir=DataOptions().cache_folder, n_processes=1).frame
    events = events_of(frame)
    rows = held_out_rows(frame, events)
    domain_of_site = dict(zip(frame["site_id"].astype(str), frame["domain_id"].astype(int), strict=True))
    folds = fresh_folds(frame, holdout="both", search_fold=SEARCH_FOLD, wanted=N_FOLDS).folds
    seen = events.ids[np.concatenate([rows[SEARCH_FOLD, part] for part in ("id", "ood")])]
    print(
        "world  spread  way          any win         led by  less none          shipped  less none        winner worse"
    )
    for world in arguments.worlds:
        for spread in arguments.spreads:
            rng = np.random.default_rng([SPLIT_SEED, ord(world), round(spread * 1000)])
            sigmas = sigmas_of(events, rows, rng)
            found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
            for _ in range(arguments.draws):
                searched = search(events, rows, sigmas, world, spread, rng)
                for way, results in found.items():
                    chosen = confirm(searched, folds, seen, domain_of_site, way=way)
                    results.append(judged(chosen, searched.gains))
            for way in found:
                print(line(world, spread, found, way), flush=True)


def sigmas_of(events: Events, rows: dict[Key, np.ndarray], rng: np.random.Generator) -> dict[Key, Floats]:
    """What suits forecasts of that skill, on each fold's parts; it hardly depends on the draw."""
    errors = events.labels - skilled(events, rng)
    return {key: fit_sigma(errors[at])[0] for key, at in rows.items()}


def search(
    events: Events,
    rows: dict[Key, np.ndarray],
    sigmas: dict[Key, Floats],
    world: str,
    spread: float,
    rng: np.random.Generator,
) -> Searched:
    """One search's trials and the default."""
    names = [*(f"t{i:04d}" for i in range(N_TRIED)), DEFAULT]
    gains = {name: 0.0 if name == DEFAULT else float(rng.normal(0.0, spread)) for name in names}
    run = runs_of(gains, events, rows, sigmas, world, rng)
    return Searched(gains, {name: score(run(name, SEARCH_FOLD)) for name in names}, run)


def runs_of(
    gains: Mapping[str, float],
    events: Events,
    rows: dict[Key, np.ndarray],
    sigmas: dict[Key, Floats],
    world: str,
    rng: np.random.Generator,
) -> Callable[[str, int], Parts]:
    """Forecasts by name and fold, of configurations with these true gains; each is drawn when it is first asked for."""
    base = skilled(events, rng)
    lasting = {name: lasting_of(events, LASTING[world], rng) for name in gains}
    runs: dict[tuple[str, int], Parts] = {}

    def run(name: str, fold: int) -> Parts:
        if (name, fold) not in runs:
            mu = Targets.beetles().clip(base + lasting[name] + training_noise(events, rng))
            parts = {p: forecast(events, mu, sigmas[fold, p], rows[fold, p]) for p in ("id", "ood")}
            factor = 1 - gains[name] / SCORE
            runs[name, fold] = {p: replace(part, crps=part.crps * factor) for p, part in parts.items()}
        return runs[name, fold]

    return run


def score(parts: Parts) -> float:
    """Of all held-out events of a fold, as a trial reports it."""
    return score_of([part.crps.mean(axis=0) for part in parts.values()])


def confirm(
    searched: Searched, folds: tuple[int, ...], seen: np.ndarray, domain_of_site: dict[str, int], *, way: str
) -> Chosen:
    """The best of a search on the folds, with as many runs either way."""
    n_entrants, n_chances = WAYS[way]
    ranked = sorted((name for name in searched.gains if name != DEFAULT), key=lambda name: searched.scores[name])
    names = ranked[:n_entrants]
    if n_entrants > TOP:
        names = better_half(searched, names, folds[0])
    *gathered, default = (
        OutOfFold.gather({f: [only_fresh(searched.run(name, f), seen)] for f in folds}, domain_of_site)
        for name in (*names, DEFAULT)
    )
    level = 1 - (1 - LEVEL) / n_chances
    pairs = zip(names, gathered, strict=True)
    return Chosen({name: paired_difference(own, default, level=level) for name, own in pairs})


def better_half(searched: Searched, names: list[str], fold: int) -> list[str]:
    """By the mean difference to the default over the search's fold and this one, shrunk."""
    differences = {}
    for name in names:
        there, here = searched.scores, {n: score(searched.run(n, fold)) for n in (name, DEFAULT)}
        differences[name] = {SEARCH_FOLD: there[name] - there[DEFAULT], fold: here[name] - here[DEFAULT]}
    standing = shrunk(differences)
    return sorted(names, key=lambda name: standing[name].value)[: len(names) // 2]


def judged(chosen: Chosen, gains: dict[str, float]) -> list[float]:
    """Any win, regrets of leader and winner, whether the winner is worse than the default."""
    best = max(gains.values())
    leader, winner = chosen.leader, chosen.winner
    return [winner != DEFAULT, best - gains[leader], best - gains[winner], gains[winner] < 0]


def line(world: str, spread: float, found: dict[str, list[list[float]]], way: str) -> str:
    """One row."""
    results = {key: np.array(values, dtype=np.float64) for key, values in found.items()}
    any_win, led, shipped, worse = results[way].mean(axis=0)
    less = results[way] - results["none"]
    half, mean, n = 1.96 * less.std(axis=0) / math.sqrt(len(less)), less.mean(axis=0), len(less)
    by = [f"{mean[i]:+.4f} +- {half[i]:.4f}" if way != "none" else " " * 17 for i in (1, 2)]
    error = math.sqrt(any_win * (1 - any_win) / n)
    return (
        f"{world:<6} {spread:<6g}  {way:<11}  {any_win:6.1%} +- {error:.1%}  "
        f"{led:.4f}  {by[0]}  {shipped:.4f}  {by[1]}  {worse:.1%}"
    )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--data", default="demo", help="whose events and folds are taken")
    parser.add_argument("--worlds", nargs="+", default=list(LASTING), choices=list(LASTING))
    parser.add_argument("--spreads", nargs="+", type=float, default=[0.0, 0.013, 0.037])
    return parser.parse_args()


if __name__ == "__main__":
    main()
