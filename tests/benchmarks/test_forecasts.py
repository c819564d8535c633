"""Forecasts are compared in pairs, worlds being the draws; what was trained once is not trained again."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t

from benchmarks.forecast_arms import ARMS, DEFAULT, FLOORS, REFERENCE, config_of
from benchmarks.forecast_gains import cost, gain, score
from benchmarks.forecast_page import PAGE, write_tables
from benchmarks.forecast_results import Cell, Result, Results, SiteLosses, key_of, losses_of
from benchmarks.forecasts import RESULTS, Grid, run
from trainable.config import TrialConfig
from trainable.frozen.backbone import load_backbone
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import OutOfFold, paired_difference
from trainable.scoring.scoring import EventForecast

GRID = Grid(worlds=(5,), folds=(0,), seeds=(0,), arms=("0 blocks",), size=76, epochs=2)


def made(cell: Cell, *, id_: float, ood: float, failed: str = "", seconds: float = 1.0) -> Result:
    """Three ID events at two sites, and two OOD events, all of one loss a part."""
    losses = {
        "id": {"1/A": SiteLosses(2, (id_,) * 3), "2/B": SiteLosses(1, (id_,) * 3)},
        "ood": {"3/C": SiteLosses(1, (ood,) * 3), "4/D": SiteLosses(1, (ood,) * 3)},
    }
    key = f"{cell}"
    return Result(arm="a", key=key, cell=cell, cpu_seconds=seconds, best=losses, last=losses, failed=failed)


def test_a_gain_is_the_mean_over_worlds_of_pairs_and_its_interval_that_of_worlds():
    cells = [Cell(f"demo:600:{world}", 0, seed) for world in range(3) for seed in range(2)]
    gains = np.array([0.1, 0.2, 0.3])
    other = {cell: made(cell, id_=0.6, ood=0.6) for cell in cells}
    one = {cell: made(cell, id_=0.6 - gains[i // 2], ood=0.6 - gains[i // 2]) for i, cell in enumerate(cells)}

    found = gain(one, other, epoch="last")

    assert found is not None
    assert (found.mean, found.score) == (pytest.approx(0.2), pytest.approx(0.4))
    assert found.half_width == pytest.approx(student_t.ppf((1 + LEVEL) / 2, 2) * 0.1 / math.sqrt(3))
    assert (found.n_worlds, found.n_trainings, found.is_beyond_chance) == (3, 6, True)


def test_what_one_arm_lacks_or_failed_in_is_left_out_of_both():
    cells = [Cell("demo:600:1", fold, 0) for fold in range(3)]
    one = {cell: made(cell, id_=0.5, ood=0.4, seconds=3.0) for cell in cells}
    other = {
        cells[0]: made(cells[0], id_=0.6, ood=0.4, seconds=2.0),
        cells[1]: made(cells[1], id_=9, ood=9, failed="x"),
    }

    on_id, on_ood = (gain(one, other, epoch="last", parts=(part,)) for part in ("id", "ood"))

    assert (on_id.mean, on_id.n_trainings) == (pytest.approx(0.1), 1)
    assert (on_ood.mean, on_ood.is_beyond_chance) == (0.0, False)
    assert cost(one, other) == 1.5
    assert not on_id.is_beyond_chance  # whatever its interval, of one world
    assert gain(one, {}, epoch="last") is None


def test_sums_by_site_give_the_difference_and_interval_that_events_give():
    rng = np.random.default_rng(0)
    domain_of_site = {f"{domain}{site}": domain for domain in range(4) for site in "AB"}

    def drawn(fold: int, shift: float) -> dict[str, EventForecast]:
        parts = {}
        for i, part in enumerate(("id", "ood")):
            sites = np.repeat([name for name, d in domain_of_site.items() if d % 2 == i], 3 + fold)
            labels, crps = np.zeros((len(sites), 3)), rng.uniform(0.3, 0.9, (len(sites), 3)) + shift
            ids = np.arange(len(sites)) + 100 * fold
            parts[part] = EventForecast(labels, labels, labels + 1, crps, np.ones(3), sites, ids)
        return parts

    forecasts = [{fold: [drawn(fold, shift) for _ in range(2)] for fold in range(3)} for shift in (0.0, 0.05)]
    expected = paired_difference(*(OutOfFold.gather(runs, domain_of_site) for runs in forecasts))
    arms = [
        {
            (cell := Cell("demo:600:1", fold, seed)): replace(
                made(cell, id_=0, ood=0), last=losses_of(parts, domain_of_site)
            )
            for fold, seeds in runs.items()
            for seed, parts in enumerate(seeds)
        }
        for runs in forecasts
    ]

    found = gain(*arms, epoch="last")

    assert found.mean == pytest.approx(-expected.mean, abs=2e-5)  # five digits are kept
    assert found.half_width == pytest.approx((expected.high - expected.low) / 2, abs=2e-5)


@pytest.mark.seconds
def test_a_run_goes_on_where_a_kill_left_it_and_ends_as_if_there_had_been_none(tmp_path: Path):
    file = tmp_path / "forecasts.jsonl"
    whole = list(run(GRID, Results(file), cache=tmp_path))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]) + lines[-1][:40])  # killed while it wrote

    again = list(run(GRID, Results(file), cache=tmp_path))

    assert [result.arm for result in again] == [*FLOORS, "0 blocks"]
    assert again[:-1] == whole[:-1]
    assert replace(again[-1], cpu_seconds=0) == replace(whole[-1], cpu_seconds=0)
    assert len(file.read_text().splitlines()) == len(lines)
    assert Results(file).get(whole[-1].key) == again[-1]
    assert 0.2 < score(again[-1], epoch="best") <= score(again[-1], epoch="last")


HERE = Cell("demo:76:1", 0, 0)


def key(config: TrialConfig | str, cell: Cell = HERE, backbone: str = "b") -> str:
    return key_of(config, cell, backbone=backbone)


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(TrialConfig(epochs=3)),
        lambda: key(TrialConfig(epochs=2).with_values({"optim.lr": 1e-4})),
        lambda: key(TrialConfig(epochs=2), Cell("demo:76:2", 0, 0)),
        lambda: key(TrialConfig(epochs=2), Cell("demo:76:1", 1, 0)),
        lambda: key(TrialConfig(epochs=2), Cell("demo:76:1", 0, 1)),
        lambda: key(TrialConfig(epochs=2), backbone="c"),
        lambda: key("constant"),
    ],
)
def test_a_line_of_anything_else_is_not_reused(other: Callable[[], str]):
    assert key(TrialConfig(epochs=2)) == key(TrialConfig(epochs=2)) != other()


def test_every_arm_is_a_configuration_and_is_held_against_one():
    for name, arm in ARMS.items():
        assert config_of(name, epochs=3).epochs == 3
        assert arm.against in ARMS
    assert config_of(DEFAULT, epochs=3) != config_of(REFERENCE, epochs=3)


@pytest.mark.seconds
def test_the_tables_of_the_page_are_those_of_the_results(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())

    write_tables(Results(RESULTS), backbone=load_backbone("tiny").fingerprint, page=page)

    assert page.read_text() == PAGE.read_text()
