"""Problems are what they are known to be; regrets are compared in pairs."""

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded_curves import N_FOLDS, Curve, Curves, configurations
from benchmarks.search.__main__ import main
from benchmarks.search.confirmed import Ended, Shipped, row
from benchmarks.search.methods import METHODS
from benchmarks.search.problems import recorded
from benchmarks.search.problems.fine_tuning import FineTuning
from benchmarks.search.problems.hartmann import MINIMUM, Hartmann, hartmann
from benchmarks.search.problems.problem import drawn_at_random
from benchmarks.search.problems.recorded import Recorded, recorded_worlds, surrogate, surrogate_error
from benchmarks.search.regret import bootstrap, courses_of, difference, share_to_reach
from benchmarks.search.results import RESULTS, Found, Results, looks_until
from benchmarks.search.simulator import simulate
from benchmarks.search.tables import tables
from benchmarks.search.trying import PROBLEMS
from search_spaces.space import DEFAULT, SearchSpace
from search_spaces.task_space import fit_to_task
from trainable.data.task import beetles
from trainable.errors import UserError

OPTIMA = {
    3: (0.114614, 0.555649, 0.852547),
    6: (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573),
}


@pytest.mark.parametrize("n", [3, 6])
def test_hartmann_has_its_known_minimum_at_the_end_of_a_training(n):
    problem = Hartmann(6 - n)
    values = {f"x{i}": x for i, x in enumerate(OPTIMA[n])}

    assert problem.n_dimensions == n
    assert problem.truth(values) == pytest.approx(MINIMUM[n], abs=1e-4)
    assert problem.train(values).scores[-1] == pytest.approx(MINIMUM[n], abs=1e-4)
    assert problem.train(values).scores[0] > 0  # what is a pit in the end is a hill at first
    rng = np.random.default_rng(0)
    assert min(float(hartmann(rng.uniform(size=n))) for _ in range(2000)) > MINIMUM[n]


def test_fine_tuning_crosses_overtrains_and_has_a_fair_default():
    problem = FineTuning(4)
    drawn = [drawn_at_random(problem.space, seed) for seed in range(200)]
    truths = np.array([problem.truth(values) for values in drawn])
    curves = np.array([s for s in (problem.train(values).scores for values in drawn) if math.isfinite(s[-1])])

    assert 0.01 < 1 - len(curves) / len(drawn) < 0.15  # diverged
    assert np.mean(truths < problem.truth(problem.starts["default"])) < 0.25
    assert 0.05 < np.mean(curves.argmin(axis=1) < 12) < 0.8  # past their best
    assert np.corrcoef(curves[:, 1].argsort().argsort(), curves[:, -1].argsort().argsort())[0, 1] < 0.9
    with pytest.raises(UserError, match="must hold active parameters alone, but got rank"):
        problem.space.check({**problem.starts["default"], "rank": 8})


def made(method: str, instance: int, chosen: list[float], *, tried: float = 0.0, problem: str = "hartmann") -> Found:
    """Looked at after 6, 12 and 24 lengths; the median is 1 and the best known 0."""
    return Found(
        problem=problem, instance=instance, method=method, basis="", looks=(6.0, 12.0, 24.0), trials=(5, 9, 20),
        chosen={method: tuple(chosen)}, tried=(1.0, 0.5, tried), median=1.0, best=0.0,
    )  # fmt: skip


def test_regrets_are_compared_in_pairs():
    rng = np.random.default_rng(1)
    levels = rng.uniform(0.2, 0.9, 20)
    found = [made("a", i, [level] * 3) for i, level in enumerate(levels)]
    found += [made("b", i, [level - 0.1] * 3) for i, level in enumerate(levels)]
    found.append(made("b", 99, [0.9] * 3))  # which a did not search
    less = difference(courses_of(found), "b", "a", 24.0, problems=["hartmann"])

    assert (less.mean, less.low, less.high) == (pytest.approx(-10), pytest.approx(-10), pytest.approx(-10))
    assert less.n == 20
    assert str(less) == "**-10.0 [-10.0, -10.0]**"
    assert difference(courses_of(found), "b", "a", 24.0, problems=["lcbench"]) is None


def test_an_interval_holds_what_means_of_as_many_spread_over():
    values = np.random.default_rng(2).normal(3.0, 10.0, 400)
    found = bootstrap(values.tolist())

    assert found.mean == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.05)


def test_what_is_best_known_is_the_best_that_anyone_tried():
    courses = courses_of([made("a", 0, [0.5, 0.5, 0.0], tried=-1.0), made("b", 0, [0.0, 0.0, 0.0])])

    assert courses["a"]["hartmann", 0].regret.tolist() == [75.0, 75.0, 50.0]
    assert courses["b"]["hartmann", 0].at(24.0) == 50.0
    assert courses["a"]["hartmann", 0].lost_by_choosing(24.0) == 50.0
    assert courses["a"]["hartmann", 0].at(64.0) is None


def test_the_share_to_reach_is_that_from_which_on_regret_stays_as_low():
    courses = courses_of(
        [made("stock", 0, [0.9, 0.6, 0.5]), made("a", 0, [0.4, 0.6, 0.3]), made("b", 0, [0.5, 0.4, 0.3]),
         made("c", 0, [0.9, 0.9, 0.8])]
    )  # fmt: skip
    shares = [share_to_reach(courses, way, "stock", 24.0, problem="hartmann") for way in ("a", "b", "c", "stock")]

    assert [share and share.share for share in shares] == [1.0, 0.25, math.inf, 1.0]
    assert [str(share) for share in shares] == ["1.00", "0.25", "never", "1.00"]  # one instance has no interval


def test_the_share_to_reach_has_an_interval_of_instances():
    halves = [made("a", i, [0.4, 0.6, 0.3] if i % 2 else [0.9, 0.9, 0.8]) for i in range(8)]
    courses = courses_of([*halves, *(made("stock", i, [0.9, 0.6, 0.5]) for i in range(8))])
    share = share_to_reach(courses, "a", "stock", 24.0, problem="hartmann")

    assert share is not None
    assert math.isinf(share.share)  # on average 0.55 for 0.5
    assert (share.low, share.high, share.n) == (1.0, math.inf, 8)
    assert str(share) == "never [1.00, never]"


def test_the_longest_search_is_kept_and_a_line_that_was_cut_off_is_dropped(tmp_path: Path):
    file = tmp_path / "results.jsonl"
    short = Found(
        problem="hartmann", instance=0, method="a", basis="", looks=looks_until(4.0), trials=(1, 2),
        chosen={"a": (0.5, 0.25)}, tried=(0.5, 0.25), median=1.0, best=0.0,
    )  # fmt: skip
    results = Results(file)
    for n in (6.0, 4.0):
        looks = looks_until(n)
        values = (0.5,) * len(looks)
        results.add(
            Found(
                problem="hartmann", instance=0, method="a", basis="", looks=looks, trials=(1,) * len(looks),
                chosen={"a": values}, tried=values, median=1.0, best=0.0,
            )
        )  # fmt: skip
    with file.open("a") as out:
        out.write('{"problem": "hart')

    assert looks_until(10.0) == (2.0, 4.0, 6.0, 9.0, 10.0)
    assert Results(file).reaches(short.key) == 6.0
    assert len(file.read_text().splitlines()) == 2
    file.write_text(short.to_line())
    assert list(Results(file)) == [short]


def curves_of(names: dict[str, float], file: Path) -> Path:
    """A world in which a configuration loses so much more than its epochs take off."""
    space, _ = fit_to_task(SearchSpace.load("full"), beetles())
    made = configurations(space, len(names), epochs=recorded.MAX_EPOCHS)
    drawn = [config for name, config in made.items() if name not in {point.name for point in space.named}]
    configs = dict(zip(names, [made[DEFAULT], *drawn], strict=False))
    curves = []
    for name, loss in names.items():
        n = configs[name].n_epochs
        crps = (loss + 0.3 / np.arange(1, n + 1))[:, None, None] * np.ones((1, 2, 3))
        curves += [
            Curve(
                data="demo:600:1", name=name, fold=fold, config=configs[name].to_dict(),
                sites=(f"id/7/K{fold}", f"ood/{fold}/S{fold}"), n_events=np.array([6, 3]), crps=crps + 0.01 * fold,
            )
            for fold in range(N_FOLDS)
        ]  # fmt: skip
    Curves(file).add(curves)
    return file


def test_recorded_configurations_are_as_they_were_recorded_and_others_between(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(recorded, "FEWEST", 6)
    losses = {DEFAULT: 0.5} | {f"d{i:03d}": 0.4 + 0.02 * i for i in range(8)}
    problem = Recorded(0, curves_of(losses, tmp_path / "curves.parquet"))
    model = surrogate(problem.file, 0, 0)
    other = drawn_at_random(problem.space, 12345)
    lowest, drawn = model.truths.min(axis=1), problem.train(other)

    assert problem.truth(problem.starts["default"]) == pytest.approx(lowest[model.names.index(DEFAULT)])
    assert problem.truth(problem.starts["default"]) == pytest.approx(
        0.5 + 0.3 / 20 + 0.03
    )  # the mean of folds 2, 3 and 4
    assert lowest.min() < problem.truth(other) < lowest.max()
    assert len(drawn.scores) == problem.space.config(other, 20).n_epochs
    assert model.deviations[1].mean() == pytest.approx(-0.03)  # fold 0 alone
    assert model.out_of_fold()[1] < 1.0


@pytest.mark.parametrize("method", ["ours", "stock", "TPE + median", "random + ASHA"])
def test_all_search_the_space_of_the_recorded_configurations(method, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(recorded, "FEWEST", 6)
    losses = {DEFAULT: 0.5} | {f"d{i:03d}": 0.4 + 0.02 * i for i in range(8)}
    problem = Recorded(0, curves_of(losses, tmp_path / "curves.parquet"))
    (look,) = simulate(METHODS[method](problem, 0), problem, [60.0])

    assert look.n_trials > 4
    for values in look.tried:
        problem.space.check(values)


@pytest.mark.slow
def test_the_surrogates_error_is_of_what_it_did_not_see(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(recorded, "FEWEST", 6)
    losses = {DEFAULT: 0.5} | {f"d{i:03d}": 0.4 + 0.02 * (i * 5 % 8) for i in range(8)}
    error = surrogate_error(curves_of(losses, tmp_path / "curves.parquet"))

    assert error.n_configurations == 9
    assert error.seen_by[2] == pytest.approx(1.0)  # the folds agree
    assert error.r2 < 0.5  # of what is drawn by chance


def test_too_few_recorded_configurations_are_refused_with_what_to_do(tmp_path: Path, capsys):
    file = curves_of({DEFAULT: 0.5, "d000": 0.4}, tmp_path / "curves.parquet")
    with pytest.raises(SystemExit) as ended:
        main(["--problems", "recorded", "--curves", str(file)])

    assert ended.value.code == 2
    assert "`--curves` must hold 30 configurations of a world on all folds" in capsys.readouterr().err
    assert recorded_worlds(file) == ()


def test_a_confirmed_choice_is_counted_by_what_is_true():
    ended = Ended(gains={DEFAULT: 0.0, "a": -0.01, "b": 0.02}, scores={DEFAULT: 0.5, "a": 0.4, "b": 0.45})
    kept, won = Shipped(0.0, -0.01, is_default=True), Shipped(0.02, 0.02, is_default=False)
    cells = [cell.strip() for cell in row("B", 10.0, [(ended, kept), (ended, won)]).strip("|").split("|")]

    assert ended.confirmed == ["a", "b", DEFAULT]
    assert cells[:7] == ["B", "10", "2", "100.0%", "0.0%", "50.0%", "50% of 2"]
    assert cells[7:11] == ["-10.0", "+10.0", "+5.0", "+20.0"]


def test_the_page_holds_the_tables_of_what_is_kept():
    page = RESULTS.parents[1].joinpath("SEARCH.md").read_text(encoding="utf-8")

    assert tables(courses_of(list(Results())), list(PROBLEMS)).strip() in page


@pytest.mark.slow
def test_the_quick_benchmark_says_how_all_methods_did(capsys):
    assert main(["--quick"]) == 0
    shown = capsys.readouterr().out

    assert "### hartmann" in shown
    assert "| stock, lowest | 1 |" in shown
