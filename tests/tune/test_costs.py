"""Costs lie on the line between two measured configurations, and the corners of a space enclose what it can ask for."""

import pytest

from search_spaces.space import SearchSpace, list_spaces
from trainable.architecture import VisionArchitecture
from trainable.config import AdapterConfig, OptimConfig, TailConfig, TrialConfig
from tune.measuring.corners import corners, drawn
from tune.measuring.costs import Costs, Line, MeasuredConfig
from tune.measuring.demand import demand

VIT_L = VisionArchitecture(
    n_blocks=24, width=1024, n_heads=16, mlp_width=4096, n_tokens=257, embed_dim=768, image_size=224
)


def measured(config: TrialConfig, step_seconds: float, peak_bytes: int) -> MeasuredConfig:
    return MeasuredConfig(
        config=config, step_seconds=step_seconds, predict_seconds=0.01, build_seconds=0.1, save_seconds=0.5,
        peak_bytes=peak_bytes, n_trainable=10, checkpoint_bytes=40,
    )  # fmt: skip


def test_a_block_of_vit_l_works_as_much_as_the_literature_says():
    full = demand(TrialConfig(epochs=1, tail=TailConfig(n_blocks=1)), VIT_L)

    assert full.predict_flops == pytest.approx(6.74e9, rel=0.01)
    assert full.train_flops == pytest.approx(3 * full.predict_flops)
    assert full.n_trainable == pytest.approx(12.6e6, rel=0.01)


def test_adapters_train_fewer_numbers_and_more_with_rank():
    def n(kind: str, rank: int) -> float:
        config = TrialConfig(epochs=1, adapter=AdapterConfig(kind=kind, rank=rank), tail=TailConfig(n_blocks=6))
        return demand(config, VIT_L).n_trainable

    assert n("lora", 8) * 4 == pytest.approx(3.5e6, rel=0.02)  # bytes of a file in float32: 3.5 MB
    assert n("lora", 8) < n("dora", 8) < n("lora", 64) < n("full", 64)


@pytest.mark.parametrize(
    ("y", "at_3", "why"),
    [
        ((1.0, 2.0), 3.0, "between and beyond, on the line"),
        ((2.0, 1.0), 2.0, "noise: more work never costs less"),
        ((0.1, 2.0), 3.0, "no cost below zero without work"),
    ],
)
def test_a_line_through_two_points_neither_falls_nor_starts_below_nothing(y, at_3, why):
    line = Line.through((1.0, 2.0), y)

    assert line.at(3.0) == pytest.approx(at_3), why
    assert line.at(0.0) >= 0


def test_costs_at_the_measured_configurations_are_what_was_measured():
    small = TrialConfig(epochs=1, tail=TailConfig(n_blocks=1), optim=OptimConfig(batch_size=32))
    large = TrialConfig(epochs=1, tail=TailConfig(n_blocks=6), optim=OptimConfig(batch_size=128))
    between = TrialConfig(epochs=1, tail=TailConfig(n_blocks=3), optim=OptimConfig(batch_size=128))
    costs = Costs(VIT_L, measured(small, 0.1, 10**9), measured(large, 2.0, 8 * 10**9))

    assert costs.memory_bytes(small) == pytest.approx(10**9)
    assert costs.memory_bytes(large) == pytest.approx(8 * 10**9)
    assert 10**9 < costs.memory_bytes(between) < 8 * 10**9
    assert costs.epoch_seconds(small, n_train=64, n_held_out=100) == pytest.approx(2 * 0.1 + 100 * 0.01 + 0.05 * 1.2)
    assert costs.probe_seconds(small, n_train=100) == 0
    assert costs.probe_seconds(small.with_values({"tail.probe_first": True}), n_train=100) == pytest.approx(100 * 0.01)
    assert costs.epoch_seconds(large, n_train=129, n_held_out=0) == pytest.approx(1.05 * 2 * 2.0)


@pytest.mark.seconds
@pytest.mark.parametrize("name", list_spaces())
def test_nothing_drawn_from_a_space_asks_for_less_or_more_than_its_corners(name):
    space = SearchSpace.load(name)
    ends = corners(space, VIT_L, epochs=5)
    low, high = (demand(config, VIT_L).bytes for config in (ends.smallest, ends.largest))
    configs = drawn(space, 100, epochs=5, seed=0)

    assert all(low <= demand(config, VIT_L).bytes <= high for config in configs)
    assert {config.epochs for config in (ends.smallest, ends.largest, *configs)} == {5}
    assert configs == drawn(space, 100, epochs=5, seed=0) != drawn(space, 100, epochs=5, seed=1)
    for config in configs:
        space.values_of(config)  # lies in the space
