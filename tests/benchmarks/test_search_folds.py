"""Searches by one fold and by two are held against each other on the same events, that neither chose by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.forecast_worlds import World
from benchmarks.search_folds import JUDGES, RESULTS, Bench, Found, kept, table
from search_spaces.space import SearchSpace
from search_spaces.task_space import fit_to_task
from trainable.data.task import beetles
from trainable.frozen.backbone import load_backbone
from tune.command_line.options import SearchOptions


def made(way: str, loss: float, *, data: str = "demo:600:1") -> Found:
    """A search whose best loses so much on every judging fold, where the default loses 0.6 and the others 0.7."""
    losses = {"default": 0.6, "1": loss, "2": 0.7, "3": 0.7}
    return Found(
        data=data, way=way, trials=24, epochs=20, own_gain=0.02, cpu_seconds=50.0, sitting=1,
        losses={
            name: {str(fold): {"ood": (5, (value,) * 3)} for fold in JUDGES} for name, value in losses.items()
        },
    )  # fmt: skip


def test_two_folds_are_held_against_one_on_the_same_world():
    worlds = [made("1", 0.61), made("2", 0.59), made("2", 0.58, data="demo:600:2"), made("1", 0.60, data="demo:600:2")]
    one, two, pair = [[cell.strip() for cell in row.strip("|").split("|")] for row in table(worlds).splitlines()[2:]]

    assert [row[1] for row in (one, two, pair)] == ["1", "2", "2 over 1"]
    assert [row[3].strip("*").split(" ")[0] for row in (one, two, pair)] == ["-5.0", "+15.0", "+20.0"]
    assert one[5].strip("*").startswith("+0.0")  # the default leads, or what equals it
    assert pair[2].strip("*") == "+0.0 ± 0.0"


@pytest.mark.slow
def test_a_search_is_judged_by_events_that_neither_chose_by(tmp_path):
    torch.set_num_threads(1)
    space, _ = fit_to_task(SearchSpace.load("smoke"), beetles())
    world = World("demo:152:1", load_backbone("tiny"), tmp_path, set(space.reachable_blocks()))
    bench = Bench(world, space, SearchOptions(epochs=2))
    one, two = bench.search("1", 3), bench.search("at-once", 3)
    frame = world.specimens.frame
    chosen_by = {e for s in bench.data("2").splits for e in frame["event_id"].to_numpy()[np.r_[s.id_, s.ood]].tolist()}

    for found in (one, two):
        assert list(found.losses) == ["default", "1", "2"]
        for fold in JUDGES:
            split = world.trial_data(fold).split
            left = {
                name: set(frame["event_id"].to_numpy()[rows].tolist()) - chosen_by
                for name, rows in (("id", split.id_), ("ood", split.ood))
            }
            assert {n: c for n, (c, _) in found.losses["1"][str(fold)].items()} == {
                n: len(e) for n, e in left.items() if e
            }
    assert one.losses["default"] == two.losses["default"]
    assert replace(one, cpu_seconds=0) == replace(bench.search("1", 3), cpu_seconds=0)  # repeats to the bit


def test_the_page_holds_the_table_of_what_is_kept():
    assert table(list(kept())) in RESULTS.with_name("SEARCHES.md").read_text(encoding="utf-8")
