"""Time in a simulated search is what its trials cost; all searchers get the same scores for the same configuration."""

import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.search.methods import METHODS, PEERS
from benchmarks.search.one_epoch import OneEpoch
from benchmarks.search.ours import Change, Ours
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.problems.hartmann import Hartmann
from benchmarks.search.problems.problem import Problem, Values, drawn_at_random, fingerprint
from benchmarks.search.ray_peers import RayAsha
from benchmarks.search.simulator import Cluster, Started, simulate
from trainable.scoring.metrics import SCORE

ROOT = Path(__file__).parents[2]

SAFE = Cluster(loss_rate=0.0)
EVEN = {"x0": 0.5, "x1": 0.5, "x2": 0.5}
"""An epoch of a second."""


@dataclass
class Scripted:
    """Runs some configurations, each for so many epochs; notes what it hears."""

    waiting: list[tuple[Values, int]]
    heard: list[tuple[str, int]] = field(default_factory=list)
    lost_trials: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def start(self) -> Started | None:
        if not self.waiting:
            return None
        values, length = self.waiting.pop(0)
        self.lengths.append(length)
        return Started(trial=str(len(self.lengths) - 1), values=values)

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        assert math.isfinite(score)
        self.heard.append((trial, epoch))
        return epoch < self.lengths[int(trial)] and not is_last

    def diverged(self, trial: str, epoch: int) -> None:
        self.heard.append((trial, -epoch))

    def lost(self, trial: str) -> None:
        self.lost_trials.append(trial)

    def chosen(self) -> Mapping[str, Values]:
        return {"scripted": EVEN} if self.heard else {}


def test_a_trial_begins_after_its_start_up_and_each_epoch_takes_its_configurations_time():
    slow = EVEN | {"x0": 1.0}  # two seconds an epoch
    searcher = Scripted([(EVEN, 2), (slow, 2), (EVEN, 1)])
    looks = simulate(
        searcher, Hartmann(1), [1.9, 2.0, 2.9, 3.0, 4.9, 5.0, 9.0], cluster=Cluster(n_workers=2, loss_rate=0.0)
    )

    # first worker: epochs end at 2 and 3, the third trial's at 3 + 1 + 1; second worker: at 3 and 5
    assert [look.n_epochs for look in looks] == [0, 1, 1, 3, 3, 5, 5]
    assert [look.n_trials for look in looks] == [2, 2, 2, 3, 3, 3, 3]
    assert searcher.heard == [("0", 1), ("1", 1), ("0", 2), ("1", 2), ("2", 1)]
    assert looks[0].chosen == {}
    assert looks[1].chosen == {"scripted": EVEN}


def test_a_training_ends_at_its_length_or_where_it_diverges():
    problem = FineTuning(0)
    hot = next(v for v in map(drawn(problem), range(200)) if not math.isfinite(problem.train(v).scores[-1]))
    searcher = Scripted([(hot, 99), (dict(problem.starts["default"]), 99)])
    simulate(searcher, problem, [1e4], cluster=Cluster(n_workers=1, loss_rate=0.0))
    n_hot = len(problem.train(hot).scores)

    assert searcher.heard == [*(("0", e) for e in range(1, n_hot)), ("0", -n_hot), *(("1", e) for e in range(1, 21))]
    assert problem.truth(hot) > problem.truth(problem.starts["default"])


def drawn(problem: Problem):
    return lambda seed: drawn_at_random(problem.space, seed)


def test_the_program_tries_a_lost_trial_once_more_and_peers_give_it_up():
    always = Cluster(n_workers=1, loss_rate=1.0)
    ours, scripted = Ours(Hartmann(0), 0), Scripted([(EVEN, 27)] * 3)
    simulate(ours, Hartmann(0), [40.0], cluster=always)
    simulate(scripted, Hartmann(1), [1e3], cluster=always)
    first = ours.decisions.trials()[0]

    assert (first.state, first.attempts) == ("failed", 2)
    assert scripted.lost_trials == ["0", "1", "2"]


def test_ours_is_what_the_decisions_alone_decide():
    """One worker, in turn: the same trials, ends and best, without conductor, clock and virtual workers."""
    problem = Hartmann(1)  # where nothing diverges
    ours, alone = Ours(problem, 7), Ours(problem, 7).decisions
    simulate(ours, problem, [300.0], cluster=Cluster(n_workers=1, loss_rate=0.0))
    told = [record for record in ours.decisions.trials() if record.is_told]
    for _ in told:
        ask = alone.ask()
        scores = iter(enumerate(problem.train(ask.values).scores, start=1))
        while not alone.is_told(ask.trial_id):
            epoch, score = next(scores)
            alone.report(ask.trial_id, epoch, {SCORE: score})

    assert len(told) > 10
    assert [(r.values, r.state, r.epoch) for r in alone.trials()] == [(r.values, r.state, r.epoch) for r in told]
    assert {r.state for r in told} == {"pruned", "completed"}


def test_a_change_reaches_the_decisions():
    problem = FineTuning(0)
    changed = METHODS["ours, grace 25 %"](problem, 0)
    first = Ours(problem, 0, change=Change(starts=problem.starts)).start()

    assert changed.decisions.asha.rungs == (5, 15)
    assert Ours(problem, 0).decisions.asha.rungs != changed.decisions.asha.rungs
    assert first.values == problem.starts["default"]
    assert (
        METHODS["ours, 20 first"](problem, 0).decisions.standings.header["sampler"]["arguments"]["n_startup_trials"]
        == 20
    )


@pytest.mark.parametrize("problem", [Hartmann(0), FineTuning(2)], ids=["hartmann", "fine-tuning"])
def test_a_configuration_trains_to_the_same_scores_whoever_asks(problem):
    values = drawn_at_random(problem.space, 5)
    again = type(problem)(problem.number)

    assert problem.train(values) == again.train(dict(reversed(values.items())))
    assert problem.train(values) != type(problem)(problem.number + 2).train(values)
    assert fingerprint({"a": 1, "b": 0.5}) == 3316087779167192  # in every process


def test_random_peers_begin_the_same_configurations():
    problem = Hartmann(0)
    asha, one = RayAsha(problem, 3, name="asha", is_random=True), OneEpoch(problem, 3, name="one")

    assert [asha.start().values for _ in range(4)] == [one.start().values for _ in range(4)]


def test_ray_chooses_by_the_last_score_unless_told_otherwise_and_stops_the_worst():
    asha = RayAsha(Hartmann(0), 0, name="asha", is_random=True)
    trials = [asha.start() for _ in range(5)]
    goes_on = [
        asha.report(t.trial, 1, score, is_last=False) for t, score in zip(trials, [1, 2, 3, 0.5, 4], strict=True)
    ]
    asha.report(trials[3].trial, 2, 5.0, is_last=False)

    assert goes_on == [True, False, False, True, False]
    assert asha.chosen() == {"asha": trials[0].values, "asha, lowest": trials[3].values}
    asha.lost(trials[3].trial)
    assert asha.chosen()["asha, lowest"] == trials[0].values


@pytest.mark.seconds
@pytest.mark.parametrize("name", [name for name in PEERS if name != "GP full"])
def test_every_method_searches_and_chooses_what_it_tried(name):
    problem = FineTuning(1)
    (look,) = simulate(METHODS[name](problem, 0), problem, [60.0], cluster=SAFE)

    assert look.n_trials >= 4
    assert set(look.chosen) <= {name, f"{name}, lowest"}
    assert look.chosen
    assert all(values in look.tried for values in look.chosen.values())


SYNE_TUNE = """
import sys
from benchmarks.search.methods import METHODS
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.simulator import Cluster, simulate
from benchmarks.search.trying import prepare

prepare()
problem = FineTuning(0)
for _ in range(2):
    (look,) = simulate(METHODS["Syne ASHA"](problem, 0), problem, [150.0], cluster=Cluster(loss_rate=0.1))
    for values in look.tried:
        problem.space.check(values)
    print(look.n_trials, look.n_epochs, sorted(look.chosen["Syne ASHA"].items()))
"""


@pytest.mark.slow
def test_syne_tune_searches_the_same_space_and_stops_trials(tmp_path: Path):
    packages = ("syne-tune", "dill", "sortedcontainers")
    subprocess.run(["uv", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, *packages], check=True)
    code = f"import sys; sys.path.append({str(tmp_path)!r})\n{SYNE_TUNE}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, again = done.stdout.splitlines()

    assert first == again
    n_trials, n_epochs = map(int, first.split()[:2])
    assert n_trials > 20
    assert n_epochs < 10 * n_trials  # of 20 of a whole training
    assert done.stderr == ""
