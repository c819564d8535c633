"""How far configurations, folds and seeds move a score is told apart; only what several seeds trained counts."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded_curves import N_FOLDS, Curves
from benchmarks.seed_spread import scores_of, spread, table
from tests.benchmarks.test_choosing import curve, replace


def test_deviations_are_those_that_were_planted_whatever_folds_have_in_common():
    rng = np.random.default_rng(0)
    n = 400, 50, 3
    scores = (
        rng.normal(0.0, 0.03, (n[0], 1, 1))
        + rng.normal(0.4, 0.2, (1, n[1], 1))
        + rng.normal(0.0, 0.02, (*n[:2], 1))
        + rng.normal(0.0, 0.01, n)
    )
    found = spread(scores)

    assert (found.n_configurations, found.n_seeds) == (400, 3)
    assert (found.seed, found.fold, found.configuration) == pytest.approx((0.01, 0.02, 0.03), rel=0.1)


def test_where_seeds_explain_folds_nothing_is_left_for_them():
    scores = np.tile([0.1, 0.3], (3, 4, 1))

    assert (spread(scores).fold, spread(scores).configuration) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_configurations_of_one_seed_and_worlds_without_another_are_left_out(tmp_path: Path):
    file = tmp_path / "curves.parquet"
    of_two = [
        replace(curve(name, fold, [0.9, loss + 0.1 * seed]), seed=seed)
        for name, loss in (("default", 0.5), ("lora", 0.4))
        for fold in range(N_FOLDS)
        for seed in (0, 1)
    ]
    of_one = [curve("drawn", fold, [0.2]) for fold in range(N_FOLDS)]
    elsewhere = [curve("default", fold, [0.2], data="demo:600:2") for fold in range(N_FOLDS)]
    Curves(file).add([*of_two, *of_one, *elsewhere])
    found = scores_of(file)

    assert list(found) == ["demo:600:1"]
    assert found["demo:600:1"] == pytest.approx(np.array([[[0.5, 0.6]] * 5, [[0.4, 0.5]] * 5]), abs=1e-6)
    assert table(found).splitlines()[2].startswith("| demo:600:1 | 2 | 2 | 70.7 | 0.0 | ")
