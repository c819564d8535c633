"""How often a confirmed choice is worse than the default, and how often the default is kept where better was tried.

python -m benchmarks.search.confirmed [--searches 200] [--data demo]

The program's own search of the made-up fine-tuning, which runs the default first; its three best and the default are
then forecast on the folds that a confirmation takes, as skilled as their true gains in the problem ask for, and judged
by the verdict's own functions, their ensemble first. Events, folds and worlds of noise are those of `verdict_level.py`,
truth and forecasts those of `simulated_search.py`. One thing is simpler than in the program: the three best may be
alike.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.search.ours import Change, Ours
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.regret import bootstrap
from benchmarks.search.simulator import Cluster, simulate
from benchmarks.search.trying import full_seconds, prepare
from benchmarks.simulated_search import Ground, Searched, Truth, runs_of
from benchmarks.verdict_level import LASTING
from benchmarks.verdict_race import confirm
from search_spaces.space import DEFAULT
from trainable.data.specimens import load_specimens
from trainable.data.splits import SPLIT_SEED
from trainable.scoring.intervals import LEVEL
from tune.command_line.options import DataOptions
from tune.confirming.outcome import ENSEMBLE

BUDGETS = (10.0, 24.0)
"""In full lengths; 24 trials of the program are about 10."""

TOP = 3
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


@dataclass(frozen=True, slots=True)
class Shipped:
    """True gains on the default: of the verdict's winner, the default where there is none, and of who leads."""

    winner: float
    leader: float
    is_default: bool


def shipped(ended: Ended, ground: Ground, truth: Truth, world: str, rng: np.random.Generator) -> Shipped:
    """By a confirmation of the three best and the default, on three folds."""
    skills = {name: truth.skill(ended.gains[name]) for name in ended.confirmed}
    scores = {name: ended.scores[name] for name in skills}
    searched = Searched(skills=skills, scores=scores, run=runs_of(skills, ground, world, rng))
    chosen = confirm(searched, ground.held_out, (TOP,) * len(ground.held_out.scorers))
    chosen = replace(chosen, level=1 - (1 - LEVEL) / len(chosen.differences), first=ENSEMBLE)
    gains = ended.gains | {ENSEMBLE: truth.gain([skills[name] for name in chosen.members])}
    return Shipped(gains[chosen.winner], gains[chosen.leader], chosen.winner == DEFAULT)


def row(world: str, budget: float, judged: Sequence[tuple[Ended, Shipped]]) -> str:
    """Shares of searches, and true gains on the default in thousandths of a score."""
    own = [ended.gains[ended.own] for ended, _ in judged]
    winner, leader = [one.winner for _, one in judged], [one.leader for _, one in judged]
    tried = [max(ended.gains.values()) for ended, _ in judged]
    kept = [one.is_default for (_, one), best in zip(judged, tried, strict=True) if best > CLEARLY]
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
    ground = Ground.of(load_specimens(options.data, cache_dir=DataOptions().cache_folder, n_processes=1).frame)
    truths = {w: Truth.of(ground.events, w, np.random.default_rng([SPLIT_SEED, ord(w)])) for w in LASTING}
    print(HEAD)
    for budget in BUDGETS:
        ended = [search(number, budget) for number in range(options.searches)]
        for world, truth in truths.items():
            rngs = [np.random.default_rng([SPLIT_SEED, ord(world), number]) for number in range(len(ended))]
            judged = [(one, shipped(one, ground, truth, world, rng)) for one, rng in zip(ended, rngs, strict=True)]
            print(row(world, budget, judged), flush=True)


if __name__ == "__main__":
    main()
