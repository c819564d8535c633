"""Curves are recorded as trainings score them, and ways of choosing are judged by sites that none of them looked at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.choosing import TODAY, WAYS, World, judged, table, worlds_of
from benchmarks.forecast_worlds import World as DrawnWorld
from benchmarks.recorded_curves import N_FOLDS, Curve, Curves, configurations, record
from search_spaces.space import SearchSpace
from search_spaces.task_space import fit_to_task
from search_spaces.variant import load_variant
from trainable.data.task import beetles
from trainable.frozen.backbone import load_backbone
from trainable.training.trainer import TailTrainer


def curve(name: str, fold: int, losses: list[float], *, data: str = "demo:600:1", shared: str = "S9") -> Curve:
    """An ID site and two OOD ones, one of which every fold holds out; each loses the same in an epoch."""
    sites = (f"id/7/K{fold}", f"ood/{fold}/S{fold}", f"ood/9/{shared}")
    crps = np.array(losses, dtype=np.float32)[:, None, None] * np.ones((1, 3, 3), dtype=np.float32)
    return Curve(data=data, name=name, fold=fold, config={}, sites=sites, n_events=np.array([6, 3, 1]), crps=crps)


def made_world() -> World:
    """Fold 0 praises `lucky`, which loses everywhere else; `good` is the best of all in the second epoch."""
    losses = {"default": [0.6, 0.5], "good": [0.6, 0.4], "lucky": [0.3, 0.7]}
    of_others = {**losses, "lucky": [0.8, 0.7]}
    return World(
        {
            (name, fold): curve(name, fold, (of_others if fold else losses)[name])
            for name in losses
            for fold in range(N_FOLDS)
        }
    )


def test_what_is_looked_at_judges_nothing():
    world = made_world()
    looked_at = world.searched([0, 1])
    fresh = world.fresh([2, 3, 4], looked_at=[0, 1])

    assert [world.of["default", fold].sites[row] for fold, row in looked_at] == [
        "id/7/K0", "ood/0/S0", "ood/9/S9", "ood/1/S1", "ood/9/S9",
    ]  # fmt: skip
    assert [world.of["default", fold].sites[row] for fold, row in fresh] == [
        f"{part}{fold}" for fold in (2, 3, 4) for part in ("id/7/K", f"ood/{fold}/S")
    ]


def test_a_way_is_worth_what_its_choice_gains_where_it_did_not_look():
    found = judged(made_world(), pool=2)
    one, two = found[TODAY[0], 1], found[TODAY]

    # by fold 0 alone `lucky` promises 0.2 and loses 0.3 elsewhere; by any other fold `good` gains 0.1
    assert one.promised == pytest.approx((0.2 + 4 * 0.1) / 5, abs=1e-6)
    assert one.gained == pytest.approx((-0.3 + 4 * 0.1) / 5, abs=1e-6)
    assert one.score == pytest.approx((0.8 + 4 * 0.4) / 5, abs=1e-6)
    # fold 1 beside fold 0, or fold 0 beside fold 4, makes no other one of it: `lucky` is too far ahead in its half
    assert two.gained >= one.gained
    assert {way for way, _ in found} == set(WAYS)


def test_the_table_has_a_row_a_way_and_counts_worlds():
    curves = [*made_world().of.values()]
    other = [Curve(**{**vars_of(one), "data": "demo:600:2"}) for one in curves]
    rows = table(worlds_of([*curves, *other]), pool=2).splitlines()

    assert len(rows) == 2 + 2 * len(WAYS)
    assert all("±" in row for row in rows[2:])


def vars_of(one: Curve) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


def test_curves_are_kept_as_they_were_and_a_table_of_other_trainings_is_refused(tmp_path: Path, monkeypatch):
    file = tmp_path / "curves.parquet"
    drawn = load_variant("lora", epochs=2)
    one, other = curve("default", 0, [0.5, 0.25]), replace(curve("drawn", 3, [0.75]), config=drawn.to_dict(), seed=2)
    of_one, of_another = Curves(file), Curves(file)  # two processes
    of_one.add([one])
    of_another.add([other])
    kept = list(Curves(file))

    for found, given in zip(kept, (one, other), strict=True):
        assert (found.data, found.name, found.fold, found.sites) == (given.data, given.name, given.fold, given.sites)
        assert found.seed == given.seed
        assert np.array_equal(found.crps, given.crps)
        assert np.array_equal(found.n_events, given.n_events)
    assert Curves(file).has("demo:600:1", drawn, 3, seed=2)  # by its values, however it is named
    assert not Curves(file).has("demo:600:1", drawn, 3)
    assert not Curves(file).has("demo:600:1", drawn, 2, seed=2)
    assert not Curves(file).has("demo:600:1", drawn.with_epochs(3), 3, seed=2)
    of_before = pd.read_parquet(file).drop(columns="seed")
    of_before.to_parquet(file, index=False)
    assert {kept.seed for kept in Curves(file)} == {0}
    monkeypatch.setattr("benchmarks.recorded_curves.TRAINING_VERSION", 10_000)
    with pytest.raises(ValueError, match="must be of version 10000"):
        Curves(file)


def test_drawn_configurations_stay_the_same_when_more_are_drawn():
    space, _ = fit_to_task(SearchSpace.load("full"), beetles())
    few, more = (configurations(space, n, epochs=20) for n in (3, 6))

    assert list(few)[: len(space.named)] == [point.name for point in space.named]
    assert few == dict(list(more.items())[: len(few)])
    assert len({str(config.to_dict()) for config in more.values()}) == len(more)


@pytest.mark.slow
def test_a_recorded_epoch_scores_as_the_training_did(tmp_path: Path):
    torch.set_num_threads(1)
    space, _ = fit_to_task(SearchSpace.load("smoke"), beetles())
    config = configurations(space, 0, epochs=2)["default"]
    drawn = DrawnWorld("demo:152:1", load_backbone("tiny"), tmp_path, set(space.reachable_blocks()))
    recorded = record(drawn, "default", config, 0)
    trainer = TailTrainer(config, drawn.trial_data(0), seed=0)
    scores = [trainer.train_epoch()["score/all"] for _ in range(2)]

    world = World({("default", 0): recorded})
    found = WAYS[TODAY[0]](world.seen("default", world.searched([0])))
    assert found.tolist() == pytest.approx(scores, abs=1e-4)  # kept to four digits
