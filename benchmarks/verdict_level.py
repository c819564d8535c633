"""How often a confirmation's verdict is wrong: equal candidates that "win", intervals that miss, gains that are seen.

python benchmarks/verdict_level.py [--draws 2000] [--data demo]

Three candidates and the default forecast the held-out events of the data's own folds, in three worlds of noise; the
verdict's own functions judge them. A: equal configurations that differ by the noise of training alone, as measured over
19 trainings of the default (SD of a prediction's error common to a run, to a domain, to a site, and of an event; SPEI
units). B: each also has lasting strengths, by domain and by event, which are zero on average. C: stronger by domain.
"any win": draws in which one of the three is said to beat the default, 5 % claimed. "coverage": of the interval of each
difference, 96.7 % claimed. "power": draws in which one candidate that is truly better by so much is seen to be.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd

from trainable.data.specimens import load_specimens
from trainable.data.splits import SPLIT_SEED, make_split
from trainable.data.task import beetles
from trainable.scoring.crps import Floats, crps_normal, fit_sigma
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import OutOfFold, only_fresh, paired_difference
from trainable.scoring.scoring import EventForecast
from trainable.scoring.targets import Targets
from tune.command_line.options import DataOptions
from tune.confirming.fresh_folds import fresh_folds

TRAINING_NOISE = {"run": 0.025, "domain": 0.052, "site": 0.006, "event": 0.035}
LASTING = {"A": (0.0, 0.0), "B": (0.10, 0.17), "C": (0.25, 0.17)}
"""World -> SD of what is lasting of a configuration, by domain and by event."""

N_CANDIDATES, N_FOLDS, N_SEEDS = 3, 5, 2
GAINS = (0.01, 0.02, 0.05)
SEARCH_FOLD = 0


@dataclass(frozen=True, slots=True)
class Events:
    """All events of the data, one row each; domains and sites as numbers from 0."""

    labels: Floats
    ids: np.ndarray
    domains: np.ndarray
    sites: np.ndarray
    site_names: np.ndarray


def main() -> None:
    """Print a row a world, number of folds and number of seeds."""
    arguments = parse_arguments()
    cache = DataOptions().cache_folder
    frame = load_specimens(arguments.data, cache_dir=cache, n_processes=1).frame
    print("world  folds x seeds  any win  coverage  half-width  power " + "  ".join(f"{gain:g}" for gain in GAINS))
    folds_of = {
        n: fresh_folds(frame, holdout="both", search_fold=SEARCH_FOLD, wanted=n).folds for n in range(2, N_FOLDS + 1)
    }
    for world in LASTING:
        judged: dict[tuple[int, int], list[list[float]]] = {}
        for forecasts in draws(frame, world, arguments.draws):
            for n_folds, folds in folds_of.items():
                for n_seeds in range(1, N_SEEDS + 1):
                    judged.setdefault((n_folds, n_seeds), []).append(judge(forecasts, folds, n_seeds))
        for (n_folds, n_seeds), rows in judged.items():
            any_win, coverage, half, *power = np.mean(rows, axis=0)
            error = math.sqrt(any_win * (1 - any_win) / len(rows))
            print(
                f"{world:<6} {n_folds} x {n_seeds}        {any_win:6.1%} +- {error:.1%}  {coverage:6.1%}  {half:.4f}   "
                + "  ".join(f"{value:4.0%}" for value in power),
                flush=True,
            )


@dataclass(frozen=True, slots=True)
class Drawn:
    """forecasts[configuration][fold][seed]: part -> forecasts; the default is the last configuration."""

    forecasts: list[dict[int, list[dict[str, EventForecast]]]]
    domain_of_site: dict[str, int]


def judge(drawn: Drawn, folds: tuple[int, ...], n_seeds: int) -> list[float]:
    """Whether any equal candidate wins, coverage, half-width, and whether one with each of the gains wins."""
    gathered = [
        OutOfFold.gather({fold: by_fold[fold][:n_seeds] for fold in folds}, drawn.domain_of_site)
        for by_fold in drawn.forecasts
    ]
    *candidates, default = gathered
    level = 1 - (1 - LEVEL) / N_CANDIDATES
    found = [paired_difference(candidate, default, level=level) for candidate in candidates]
    score = default.metrics()["score/all"]
    better = [paired_difference(scaled(candidates[0], 1 - gain / score), default, level=level) for gain in GAINS]
    return [
        float(any(difference.is_win for difference in found)),
        float(np.mean([difference.low <= 0 <= difference.high for difference in found])),
        float(np.mean([(difference.high - difference.low) / 2 for difference in found])),
        *(float(difference.is_win) for difference in better),
    ]


def scaled(forecasts: OutOfFold, factor: float) -> OutOfFold:
    """The same forecasts at so much of their cost."""
    parts = {name: replace(part, crps=part.crps * factor) for name, part in forecasts.parts.items()}
    return OutOfFold(parts=parts)


def draws(frame: pd.DataFrame, world: str, n: int) -> Iterator[Drawn]:
    """Forecasts of all configurations on all folds, with all seeds; n times, each with other noise."""
    events = events_of(frame)
    rows = held_out_rows(frame, events)
    domain_of_site = dict(zip(frame["site_id"].astype(str), frame["domain_id"].astype(int), strict=True))
    search = [rows[SEARCH_FOLD, part] for part in ("id", "ood")]
    seen = events.ids[np.concatenate(search)]
    rng = np.random.default_rng([SPLIT_SEED, ord(world)])
    for _ in range(n):
        base = skilled(events, rng)
        sigmas = {key: fit_sigma(events.labels[at] - base[at])[0] for key, at in rows.items()}
        lasting = [lasting_of(events, LASTING[world], rng) for _ in range(N_CANDIDATES + 1)]
        forecasts: list[dict[int, list[dict[str, EventForecast]]]] = []
        for own in lasting:
            by_fold: dict[int, list[dict[str, EventForecast]]] = {}
            for fold in range(N_FOLDS):
                for _ in range(N_SEEDS):
                    mu = Targets.beetles().clip(base + own + training_noise(events, rng))
                    parts = {p: forecast(events, mu, sigmas[fold, p], rows[fold, p]) for p in ("id", "ood")}
                    by_fold.setdefault(fold, []).append(only_fresh(parts, seen))
            forecasts.append(by_fold)
        yield Drawn(forecasts, domain_of_site)


def events_of(frame: pd.DataFrame) -> Events:
    """One row an event."""
    first = frame.drop_duplicates("event_id")
    return Events(
        labels=first[list(beetles().names)].to_numpy(np.float64),
        ids=first["event_id"].to_numpy(),
        domains=np.unique(first["domain_id"], return_inverse=True)[1],
        sites=np.unique(first["site_id"], return_inverse=True)[1],
        site_names=first["site_id"].to_numpy().astype(np.str_),
    )


def held_out_rows(frame: pd.DataFrame, events: Events) -> dict[tuple[int, str], np.ndarray]:
    """(fold, part) -> rows of its events."""
    found = {}
    for fold in range(N_FOLDS):
        split = make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED)
        for part, specimens in (("id", split.id_), ("ood", split.ood)):
            found[fold, part] = np.flatnonzero(np.isin(events.ids, frame["event_id"].to_numpy()[specimens]))
    return found


def skilled(events: Events, rng: np.random.Generator, rows: np.ndarray | slice = slice(None)) -> Floats:
    """Forecasts about as good as a fair model's: a third of the way from the mean to the labels, and an error each.

    rows: of which events; of all unless given.
    """
    mean, labels = events.labels.mean(axis=0), events.labels[rows]
    return mean + 0.35 * (labels - mean) + rng.normal(0, 0.2, labels.shape)


def lasting_of(events: Events, spreads: tuple[float, float], rng: np.random.Generator) -> Floats:
    """What a configuration's forecasts always have, by domain and by event."""
    of_domain = rng.normal(0, spreads[0], (events.domains.max() + 1, len(beetles().names)))
    return of_domain[events.domains] + rng.normal(0, spreads[1], events.labels.shape)


def training_noise(events: Events, rng: np.random.Generator) -> Floats:
    """What one training gets right or wrong by chance."""
    n = len(beetles().names)
    return (
        rng.normal(0, TRAINING_NOISE["run"], n)
        + rng.normal(0, TRAINING_NOISE["domain"], (events.domains.max() + 1, n))[events.domains]
        + rng.normal(0, TRAINING_NOISE["site"], (events.sites.max() + 1, n))[events.sites]
        + rng.normal(0, TRAINING_NOISE["event"], events.labels.shape)
    )


def forecast(events: Events, mu: Floats, sigma: Floats, rows: np.ndarray) -> EventForecast:
    """Of some events; sigma is what suits the forecasts without noise, on which it hardly depends."""
    labels = events.labels[rows]
    spread = np.broadcast_to(sigma, labels.shape)
    return EventForecast(
        labels,
        mu[rows],
        spread,
        crps_normal(labels, mu[rows], spread),
        sigma,
        events.site_names[rows],
        events.ids[rows],
    )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--data", default="demo", help="whose events and folds are taken")
    return parser.parse_args()


if __name__ == "__main__":
    main()
