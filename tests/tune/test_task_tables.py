"""Tables speak of a task's own targets, and of no part that the task does not have."""

import itertools

import pytest

from trainable.data.task import Task, beetles
from trainable.data.task_words import SHARED_OF, groups_of, parts_of, score_words, short_names
from tune.report.results import COLUMNS, metrics_table


def a_task(*targets: str, **columns: str) -> Task:
    return Task.from_dict(
        {"columns": {"image": "i", **columns}, "targets": {name: {"real": "any"} for name in targets}}
    )


def metrics_of(task: Task) -> dict[str, float]:
    """A number for each that no other has."""
    parts = [part for part in parts_of(task) if part != "all"] or ["id"]
    numbers = itertools.count(1)
    values = {f"score/{part}": next(numbers) / 1000 for part in {"all", *parts}}
    return values | {
        f"{kind}_{part}/{name}": next(numbers) / 100 for kind in ("r2", "mae") for part in parts for name in task.names
    }


def test_names_are_short_without_the_words_that_all_begin_with():
    assert short_names(beetles().names) == ("30d", "1y", "2y")
    assert short_names(("leaf_area", "leaf_mass_dry", "leaf_mass_fresh")) == ("area", "mass_dry", "mass_fresh")
    assert short_names(("mass", "mass_dry")) == ("mass", "mass_dry")
    assert short_names(("SPEI_1y",)) == ("SPEI_1y",)
    assert short_names(("a_b", "a_b")) == ("b", "b")


def test_a_score_is_told_by_what_it_is_a_mean_of():
    assert score_words(beetles()) == "RMS of CRPS over targets, ID and OOD"
    assert score_words(a_task("mass")) == f"mean CRPS, each a share of {SHARED_OF}"
    assert score_words(a_task("a", "b")) == f"RMS of CRPS, each a share of {SHARED_OF}, over targets"
    assert groups_of(beetles()) == ("domain", "site")
    assert groups_of(a_task("a")) == ("image",)


def test_without_domains_a_table_tells_no_parts():
    task = a_task("mass", site="place")
    table = metrics_table([("best", metrics_of(task))], task)

    assert "OOD" not in table
    assert "ID" not in table
    assert "SPEI" not in table
    heads = table.splitlines()[:2]
    assert heads[0].split() == ["score", "R2", "MAE"]
    assert heads[1].split() == ["all", "mass", "mass"]


@pytest.mark.parametrize("domain", [{}, {"domain": "region"}], ids=["no domains", "domains"])
@pytest.mark.parametrize("n", [1, 2, 4, 7, 30])
def test_a_table_of_any_targets_fits_and_leaves_no_number_out(n, domain):
    task = a_task(*(f"trait {'x' * (7 * i % 50)}{i}" for i in range(n)), **domain)
    metrics = metrics_of(task)
    table = metrics_table([("best", metrics), ("a floor of which there is nothing known", {})], task)

    assert max(map(len, table.splitlines())) <= COLUMNS
    words = table.split()
    for name, value in metrics.items():
        if name.partition("/")[0] != "score" or name.partition("/")[2] in parts_of(task):
            assert f"{value:.{3 if name.startswith('score') else 2}f}" in words, name
