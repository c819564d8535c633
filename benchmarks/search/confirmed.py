"""How often a confirmed choice is worse than the default, and how often the default is kept where better was tried.

python -m benchmarks.search.confirmed [--searches 200] [--data demo]

The program's own search of the made-up fine-tuning, which runs the default first; its three best and the default are
then forecast on the folds that a confirmation takes, with the true gains that they have in the problem, and judged by
the verdict's own functions. Events, folds and worlds of noise are those of `verdict_level.py`; a gain is a share of
what a forecast costs. Two things are simpler than in the program: the three best may be alike, and there is no
ensemble.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.search.ours import Change, Ours
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.regret import bootstrap
from benchmarks.search.simulator import Cluster, simulate
from benchmarks.search.trying import full_seconds, prepare
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
from benchmarks.verdict_race import Chosen
from search_spaces.space import DEFAULT
from trainable.data.specimens import load_specimens
from trainable.data.splits import SPLIT_SEED
from trainable.scoring.crps import Floats, fit_sigma
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import OutOfFold, only_fresh, paired_difference
from trainable.scoring.targets import Targets
from tune.command_line.options import DataOptions
from tune.confirming.choice import DEFAULT_FOLDS
from tune.confirming.fresh_folds import fresh_folds

BUDGETS = (10.0, 24.0)
"""In full lengths; 24 trials of the program are about 10."""

TOP = 3
SCORE = 0.45
"""About what these forecasts score; gains are relative to it."""

CLEARLY = 0.01
"""A gain that counts as truly better; verdicts see it less often than not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A search: true gains on the default of all that it tried, and what it would itself ship. scores: of all."""

    gains: dict[str, float]
    scores: dict[str, float]

    @property
    def own(self) -> str:
        """The lowest score."""
        return min(self.scores, key=self.scores.__getitem__)

    @property
    def confirmed(self) -> list[str]:
        """The best three beside the default, and it."""
        others = sorted((name for name in self.scores if name != DEFAULT), key=self.scores.__getitem__)
        return [*others[:TOP], DEFAULT]


def search(number: int, budget: float) -> Ended:
    """Of one instance."""
    problem, cluster = FineTuning(number), Cluster()
    searcher = Ours(problem, number, change=Change(starts=problem.starts))
    end = budget * full_seconds(problem, cluster) / cluster.n_workers
    simulate(searcher, problem, [end], cluster=cluster, seed=number)
    of_default = problem.truth(problem.starts[DEFAULT])
    gains, scores = (
        {DEFAULT: 0.0},
        {DEFAULT: math.inf},
    )  # also where a worker died with it: it is confirmed all the same
    for record in searcher.decisions.trials():
        if record.best_score is not None and record.state != "failed" and record.values is not None:
            name = DEFAULT if record.variant == DEFAULT else record.trial_id
            gains[name] = of_default - problem.truth(record.values)
            scores[name] = record.best_score
    return Ended(gains=gains, scores=scores)


@dataclass(frozen=True, eq=False, kw_only=True)
class Judges:
    """The events of some data and the folds that a confirmation takes."""

    events: Events
    rows: dict[tuple[int, str], np.ndarray]
    folds: tuple[int, ...]
    seen: np.ndarray
    domain_of_site: dict[str, int]
    sigmas: dict[tuple[int, str], Floats]

    @classmethod
    def of(cls, data: str) -> "Judges":
        """As the program splits them. sigmas: what suits forecasts of that skill; they hardly depend on the draw."""
        frame = load_specimens(data, cache_dir=DataOptions().cache_folder, n_processes=1).frame
        events = events_of(frame)
        rows = held_out_rows(frame, events)
        errors = events.labels - skilled(events, np.random.default_rng(SPLIT_SEED))
        return cls(
            events=events,
            rows=rows,
            folds=fresh_folds(frame, holdout="both", search_fold=SEARCH_FOLD, wanted=DEFAULT_FOLDS).folds,
            seen=events.ids[np.concatenate([rows[SEARCH_FOLD, part] for part in ("id", "ood")])],
            domain_of_site=dict(zip(frame["site_id"].astype(str), frame["domain_id"].astype(int), strict=True)),
            sigmas={key: fit_sigma(errors[at])[0] for key, at in rows.items()},
        )

    def verdict(self, ended: Ended, world: str, rng: np.random.Generator) -> Chosen:
        """On the three best and the default."""
        gathered = self._drawn({name: ended.gains[name] for name in ended.confirmed}, world, rng)
        default, level = gathered.pop(DEFAULT), 1 - (1 - LEVEL) / TOP
        return Chosen({name: paired_difference(own, default, level=level) for name, own in gathered.items()})

    def _drawn(self, gains: Mapping[str, float], world: str, rng: np.random.Generator) -> dict[str, OutOfFold]:
        """Forecasts of configurations with these true gains."""
        base = skilled(self.events, rng)
        lasting = {name: lasting_of(self.events, LASTING[world], rng) for name in gains}
        found = {}
        for name, gain in gains.items():
            runs = {}
            for fold in self.folds:
                mu = Targets.beetles().clip(base + lasting[name] + training_noise(self.events, rng))
                parts = {p: forecast(self.events, mu, self.sigmas[fold, p], self.rows[fold, p]) for p in ("id", "ood")}
                costs = {p: replace(part, crps=part.crps * (1 - gain / SCORE)) for p, part in parts.items()}
                runs[fold] = [only_fresh(costs, self.seen)]
            found[name] = OutOfFold.gather(runs, self.domain_of_site)
        return found


def row(world: str, budget: float, judged: Sequence[tuple[Ended, Chosen]]) -> str:
    """Shares of searches, and true gains on the default in thousandths of a score."""
    own = [ended.gains[ended.own] for ended, _ in judged]
    winner = [ended.gains[chosen.winner] for ended, chosen in judged]
    leader = [ended.gains[chosen.leader] for ended, chosen in judged]
    tried = [max(ended.gains.values()) for ended, _ in judged]
    kept = [chosen.winner == DEFAULT for (_, chosen), best in zip(judged, tried, strict=True) if best > CLEARLY]
    cells = [f"{np.mean(np.array(gains) < 0):.1%}" for gains in (own, winner, leader)]
    cells.append(f"{np.mean(kept):.0%} of {len(kept)}" if kept else "none of 0")
    cells += [f"{1000 * np.mean(gains):+.1f}" for gains in (own, winner, leader, tried)]
    cells += [str(bootstrap((1000 * np.subtract(gains, own)).tolist())) for gains in (winner, leader)]
    return f"| {world} | {budget:g} | {len(judged)} | {' | '.join(cells)} |"


HEAD = (
    (
        "| world | lengths | searches | own best worse | winner worse | leader worse | kept though better was tried "
        "| gain x 1000: own best | winner | leader | best tried | winner less own best | leader less own best |\n"
    )
    + "|---" * 13
    + "|"
)


def main() -> None:
    """Print a row a world and budget."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search.confirmed", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--searches", type=int, default=200, help="of each budget [200]")
    parser.add_argument("--data", default="demo", help="whose events and folds are taken [demo]")
    options = parser.parse_args()
    prepare()
    judges = Judges.of(options.data)
    print(HEAD)
    for budget in BUDGETS:
        ended = [search(number, budget) for number in range(options.searches)]
        for world in LASTING:
            rngs = [np.random.default_rng([SPLIT_SEED, ord(world), number]) for number in range(len(ended))]
            judged = [(one, judges.verdict(one, world, rng)) for one, rng in zip(ended, rngs, strict=True)]
            print(row(world, budget, judged), flush=True)


if __name__ == "__main__":
    main()
