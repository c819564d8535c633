"""Ways of confirming take equal runs, a race drops who forecasts worst, and choices are judged by what is true."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.search.confirmed import Ended, shipped
from benchmarks.simulated_search import SEARCHED, Ground, Searched, Truth, runs_of, score, search
from benchmarks.verdict_race import WAYS, Chosen, confirm, gathered, judged
from search_spaces.space import DEFAULT
from trainable.data.task import beetles
from trainable.scoring.out_of_fold import Difference, paired_difference
from tune.confirming.outcome import ENSEMBLE

N_RUNS = 12


@pytest.fixture(scope="module")
def ground() -> Ground:
    """Ten domains of two sites, each with eight events."""
    rng = np.random.default_rng(0)
    rows = [
        {"domain_id": d, "site_id": f"S{d}-{s}", "event_id": 1000 * d + 100 * s + e, "split": "train"}
        | dict(zip(beetles().names, rng.uniform(-2, 2, 3), strict=True))
        for d in range(10)
        for s in range(2)
        for e in range(8)
    ]
    return Ground.of(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def truths(ground: Ground) -> dict[str, Truth]:
    return {world: Truth.of(ground.events, world, np.random.default_rng(1), n=2000) for world in "ABC"}


def made(ground: Ground, skills: dict[str, float], scores: dict[str, float]) -> Searched:
    """What the search saw, whatever is true."""
    run = runs_of(skills | {DEFAULT: 0.0}, ground, "A", np.random.default_rng(2))
    return Searched(skills=skills | {DEFAULT: 0.0}, scores=scores | {DEFAULT: 0.5}, run=run)


@pytest.mark.parametrize("n_of_fold", WAYS)
def test_every_way_takes_as_many_runs(ground: Ground, truths: dict[str, Truth], n_of_fold: tuple[int, ...]):
    searched = search(ground, truths["B"], "B", 0.02, np.random.default_rng(3))
    asked: set[tuple[str, int]] = set()

    def run(name: str, fold: int) -> np.ndarray:
        asked.add((name, fold))
        return searched.run(name, fold)

    chosen = confirm(replace(searched, run=run), ground.held_out, n_of_fold)
    of_fold = [sum(fold == at for _, at in asked) for fold in ground.held_out.scorers]

    assert len(asked) == N_RUNS
    assert of_fold == [n + 1 for n in n_of_fold]  # the default runs every fold
    assert len(chosen.differences) == n_of_fold[-1] + 1
    assert set(chosen.members) < {*chosen.differences, DEFAULT}


def test_who_forecasts_worst_on_the_folds_so_far_goes_no_further(ground: Ground):
    skills = {"a": -0.5, "b": 0.4, "c": -0.5, "d": 0.5, "e": -0.4, "never": 0.9}
    searched = made(ground, skills, {name: 0.400 + 0.001 * i for i, name in enumerate(skills)})
    ended = {n: confirm(searched, ground.held_out, n) for n in WAYS}

    assert list(ended[5, 2, 2].differences) == ["d", "b", ENSEMBLE]
    assert list(ended[4, 3, 2].differences) == ["d", "b", ENSEMBLE]
    assert list(ended[3, 3, 3].differences) == ["a", "b", "c", ENSEMBLE]
    assert ended[5, 2, 2].members == ("d", "b")
    assert ended[5, 2, 2].winner in ("d", ENSEMBLE)
    assert ended[3, 3, 3].members == ("b", DEFAULT)


def test_what_the_search_saw_counts_as_one_fold(ground: Ground):
    skills = {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.2}
    apart = made(ground, skills, {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.9})  # 0.9 - 0.1 is more than a fold tells

    assert set(confirm(apart, ground.held_out, (4, 2, 2)).differences) == {"a", "b", ENSEMBLE}


@pytest.mark.parametrize("level", [0.5, 0.9, 0.98])
def test_a_win_at_a_level_is_that_of_its_interval(ground: Ground, level: float):
    skills = {f"t{i}": 0.02 * i - 0.04 for i in range(6)}
    searched = made(ground, skills, dict.fromkeys(skills, 0.4))
    chosen = confirm(searched, ground.held_out, (6, 6, 6))
    runs = {name: gathered({f: [searched.run(name, f)] for f in ground.held_out.scorers}, ground.held_out)
            for name in (*skills, DEFAULT)}  # fmt: skip
    wins = {name for name in skills if paired_difference(runs[name], runs[DEFAULT], level=level).is_win}

    assert {name for name in replace(chosen, level=level).winners if name != ENSEMBLE} == wins
    assert 0 < len(wins) < len(skills)


def test_who_is_asked_first_needs_no_wider_interval_and_others_wait_for_it(ground: Ground):
    skills = {f"t{i}": 0.02 * i - 0.04 for i in range(6)}
    searched = made(ground, skills, dict.fromkeys(skills, 0.4))
    alike = replace(confirm(searched, ground.held_out, (6, 6, 6)), level=0.98)
    p_of_first = alike.differences["t0"].p_better

    assert p_of_first < 0.5 < 0.99 < max(of.p_better for of in alike.differences.values())
    assert alike.winners
    assert not replace(alike, first="t0").winners
    (between,) = (name for name in ("t3",) if 0.95 < alike.differences[name].p_better <= 0.99)
    assert between not in alike.winners
    assert {between, *alike.winners} == set(replace(alike, first=between).winners)


def test_a_mean_is_worth_more_the_more_of_their_errors_are_its_members_own(truths: dict[str, Truth]):
    of_equals = [truths[world].gain([0.0, 0.0]) for world in "ABC"]

    assert 0.0 < of_equals[0] < of_equals[1] < of_equals[2]
    for truth in truths.values():
        assert truth.gain([truth.skill(0.03)]) == pytest.approx(0.03)
        assert truth.gain([0.0]) == pytest.approx(0.0, abs=1e-12)
        assert truth.gain([0.0, 0.0]) < truth.gain([0.0, truth.skill(0.03)]) < truth.gain([truth.skill(0.03)] * 2)


def scored(ground: Ground, truth: Truth, fold: int, mu: np.ndarray) -> float:
    """On all of a fold's events, or as a search scores."""
    if fold == SEARCHED:
        return ground.searched_score(mu, truth.sigma)
    return score(ground.held_out.scorers[fold].forecasts(mu))


def test_the_truth_is_what_runs_score_on_average(ground: Ground, truths: dict[str, Truth]):
    truth, rng = truths["A"], np.random.default_rng(4)
    skills = {DEFAULT: 0.0, "a": truth.skill(0.1)}
    measured = []
    for _ in range(20):
        run = runs_of(skills, ground, "A", rng)
        for fold in (SEARCHED, *ground.held_out.scorers):
            one, other = run("a", fold), run(DEFAULT, fold)
            scores = [scored(ground, truth, fold, mu) for mu in (other, one, (one + other) / 2)]
            measured.append([scores[0] - scores[1], scores[0] - scores[2]])
    single, mean = np.mean(measured, axis=0)

    assert single == pytest.approx(0.1, rel=0.15)
    assert mean == pytest.approx(truth.gain([skills["a"], 0.0]), rel=0.15)


def test_a_searchs_choice_is_shipped_at_what_its_members_are_truly_worth(ground: Ground, truths: dict[str, Truth]):
    truth, gains = truths["A"], {DEFAULT: 0.0, "a": 0.1, "b": 0.1, "c": 0.1, "d": 0.15}
    ended = Ended(gains=gains, scores={"a": 0.3, "b": 0.31, "c": 0.32, "d": 0.4, DEFAULT: math.inf})
    found = shipped(ended, ground, truth, "A", np.random.default_rng(0))
    of_all = truth.gain([truth.skill(0.1)] * 3 + [0.0])

    assert not found.is_default
    assert found.winner == found.leader
    assert any(found.winner == pytest.approx(worth) for worth in (0.1, of_all, truth.gain([truth.skill(0.1)] * 3)))
    worse = {name: -gain for name, gain in gains.items()}
    kept = shipped(replace(ended, gains=worse), ground, truth, "A", np.random.default_rng(0))
    assert (kept.is_default, kept.winner) == (True, 0.0)


def between(low: float, high: float) -> Difference:
    return Difference(mean=(low + high) / 2, low=low, high=high, level=0.9)


def test_a_win_is_false_where_nothing_is_gained(ground: Ground, truths: dict[str, Truth]):
    truth = truths["C"]
    searched = made(ground, {"good": 0.2, "none": 0.0, "bad": -0.2}, {"good": 0.4, "none": 0.4, "bad": 0.4})
    of_good, of_bad, of_mean = truth.gain([0.2]), truth.gain([-0.2]), truth.gain([0.0, 0.0])
    win, better, open_, worse = between(-0.03, -0.01), between(-0.04, -0.02), between(-0.06, 0.01), between(0.01, 0.02)

    def result(differences: dict[str, Difference]) -> list[float]:
        return judged(Chosen(differences, ("none", DEFAULT)), searched, truth)

    assert result({"good": win}) == [1, 0, of_good, of_good, 0, 0]
    assert result({"good": win, "bad": better}) == [1, 1, of_bad, of_bad, 1, 1]
    assert result({"good": better, "none": win}) == [1, 1, of_good, of_good, 0, 0]  # another's win is false
    assert result({ENSEMBLE: win, "bad": open_}) == [1, 0, of_bad, of_mean, 1, 0]
    assert result({"good": worse}) == [0, 0, pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9), 0, 0]
