"""A search's best run further folds beside the default, within the same budget, and the lowest mean is chosen."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from benchmarks.search.confirming import confirmed, lowest_of_mean, n_runs
from benchmarks.search.methods import FOLDS, STARTED
from benchmarks.search.problems.fine_tuning import FOLD_SD, FineTuning
from benchmarks.search.problems.problem import Training, drawn_at_random
from benchmarks.search.results import looks_until
from benchmarks.search.simulator import Cluster, simulate
from benchmarks.search.trying import Job, Places, run

NAMES = "abcde"


@dataclass
class Told:
    """Each configuration scores on each further fold as told; one epoch and a worse one."""

    scores: dict[str, list[float]]
    runs: list[tuple[str, int]] = field(default_factory=list)

    @property
    def starts(self):
        return {"default": {"x": "default"}}

    def train_elsewhere(self, values, fold):
        self.runs.append((values["x"], fold))
        score = self.scores[values["x"]][fold - 1]
        return Training(scores=(score + 0.1, score), epoch_seconds=1.0)


def ranked() -> list[dict[str, str]]:
    return [{"x": name} for name in NAMES]


def test_who_goes_on_has_the_lowest_mean_so_far_and_the_lowest_of_all_folds_is_chosen():
    told = Told(
        {"a": [0.5, 0.1, 0.1], "b": [0.3, 0.4, 0.4], "c": [0.4, 0.3, 0.2], "d": [0.6] * 3, "default": [0.45] * 3}
    )

    assert confirmed(told, ranked(), (4, 2, 2)) == {"x": "c"}
    assert [(name, fold) for name, fold in told.runs if name != "default"] == [
        *((name, 1) for name in "abcd"), *((name, fold) for fold in (2, 3) for name in "bc"),
    ]  # fmt: skip
    assert len(told.runs) == n_runs((4, 2, 2)) == 11
    assert confirmed(told, ranked(), (3, 3, 3)) == {"x": "a"}  # which no race goes on with


def test_the_default_may_be_chosen_and_is_not_run_twice():
    told = Told({"a": [0.5], "b": [0.5], "default": [0.4]})

    assert confirmed(told, [told.starts["default"], *ranked()], (2,)) == {"x": "default"}
    assert told.runs == [("a", 1), ("b", 1), ("default", 1)]


def test_a_mean_curve_is_lowest_at_one_epoch_and_infinite_where_a_run_diverged():
    assert lowest_of_mean([[0.3, 0.5, 0.4], [0.5, 0.2, 0.4]]) == pytest.approx(0.35)
    assert lowest_of_mean([[0.3, 0.2, 0.1], [0.3, math.nan]]) == math.inf


def test_a_further_fold_differs_from_the_truth_by_noise_of_its_own():
    problem = FineTuning(3)
    all_values = [values for values in (drawn_at_random(problem.space, i) for i in range(400)) if fair(problem, values)]
    there = np.array([problem.train(values).scores[-1] for values in all_values])
    elsewhere = np.array([[problem.train_elsewhere(v, fold).scores[-1] for fold in (1, 2)] for v in all_values])
    between = np.array([there - elsewhere[:, 0], there - elsewhere[:, 1], elsewhere[:, 0] - elsewhere[:, 1]])

    assert len(all_values) > 200
    assert (np.abs(between.mean(axis=1)) < 4 * between.std(axis=1) / math.sqrt(len(all_values))).all()
    assert (between.std(axis=1) > FOLD_SD).all()  # two draws of a mean of two folds, and of seed and epoch
    assert problem.train_elsewhere(all_values[0], 1) == problem.train_elsewhere(all_values[0], 1)


def fair(problem: FineTuning, values) -> bool:
    return math.isfinite(problem.train(values).scores[-1])


@pytest.mark.parametrize("method", STARTED)
def test_every_way_begins_with_the_default_and_ends_within_the_budget(method: str):
    problem = FineTuning(1)
    searcher = STARTED[method](problem, 1)
    first = searcher.start()
    found = run(Job(problem="fine-tuning", instance=1, method=method, lengths=15.0, places=Places()))
    kept = n_runs(FOLDS.get(method, ()))
    names = [method, f"{method}, lowest"] if method.startswith("stock") else [method]

    assert first.values == problem.starts["default"]
    assert list(found.chosen) == names
    before = [at for at, look in zip(found.trials, looks_until(15.0), strict=True) if look <= kept]
    assert before == [Cluster().n_workers] * len(before)  # a budget that further folds use up searches nothing
    assert found.chosen[method][0] == pytest.approx(problem.truth(problem.starts["default"])) or not kept
    if kept:
        alone = STARTED["ours, started"](problem, 1)
        assert len(simulate(alone, problem, [0.0])[0].tried) == before[0]
