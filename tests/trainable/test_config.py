import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.config import TrialConfig, config_fields, later_keys
from trainable.errors import UserError


def test_plain_values_round_trip():
    config = TrialConfig.from_dict(
        {"epochs": 7, "adapter": {"kind": "dora", "targets": ["q_proj", "c_fc"]}, "optim": {"lr": 1}}
    )

    assert TrialConfig.from_dict(config.to_dict()) == config
    assert config.optim.lr == 1.0
    assert list(config.flat()) == list(config_fields())
    assert TrialConfig.from_dict(config.complete()) == config


RECORDED_KEYS = {
    "epochs": None,
    "adapter": ("kind", "rank", "alpha", "rank_stabilized", "dropout", "targets"),
    "tail": ("n_blocks", "domain_scale", "head_dropout"),
    "optim": (
        "name", "lr", "batch_size", "accumulation_steps", "weight_decay", "schedule", "warmup_fraction",
        "hold_fraction", "final_lr_fraction", "layer_slope", "block_multiplier", "ln_post_multiplier",
        "head_multiplier", "domain_multiplier", "max_grad_norm",
    ),
    "augment": ("feature_noise", "mixup_alpha", "specimen_dropout", "domain_dropout", "ramp_fraction"),
    "loss": ("kind", "event_exponent"),
}  # fmt: skip
"""Of the first studies that were recorded."""


def test_a_key_that_came_later_is_written_only_where_it_says_something_new():
    """So a configuration of an old study is equal to what today's code writes for it, wherever the two are compared."""
    config = TrialConfig(epochs=3)
    of_group = {n: tuple(group) if isinstance(group, dict) else None for n, group in config.to_dict().items()}

    assert of_group == RECORDED_KEYS
    assert TrialConfig.from_dict(config.to_dict()) == config
    later = later_keys()
    assert set(later) == set(config.flat()) - {
        f"{group}.{key}" for group, keys in RECORDED_KEYS.items() for key in keys or ()
    } - {"epochs"}
    assert {name: config.flat()[name] for name in later} == later
    assert config.with_values({"tail.head": "linear"}).to_dict()["tail"]["head"] == "linear"


def test_every_problem_is_named_at_once():
    with pytest.raises(UserError) as caught:
        TrialConfig.from_dict(
            {"optim": {"lrr": 1, "lr": "1e-4"}, "tail": {"n_blocks": -1}, "adapter": {"kind": "qlora", "rank": 2.5}}
        )

    problems = caught.value.problems
    assert len(problems) == 6
    for name in ("epochs", "optim.lrr", "optim.lr`", "tail.n_blocks", "adapter.kind", "adapter.rank"):
        assert any(name in problem for problem in problems), name
    assert "full, lora, dora" in str(caught.value)
    assert "1.0e-4" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"adapter": {"targets": ["attn"]}}, "q_proj"),
        ({"adapter": {"targets": []}}, "at least one"),
        ({"adapter": {"targets": "q_proj"}}, "a list of names"),
        ({"optim": {"warmup_fraction": 0.6, "hold_fraction": 0.6}}, "<= 1"),
        ({"optim": {"batch_size": 2, "accumulation_steps": 4}}, "accumulation_steps"),
        ({"optim": {"lr": math.nan}}, "optim.lr"),
        ({"tail": {"head_dropout": 1.0}}, "[0, 1)"),
        ({"tail": {"head": "wide"}}, "mlp, narrow, linear"),
        ({"loss": {"kind": "crps", "event_exponent": True}}, "a number"),
    ],
)
def test_contradictions_and_values_out_of_range_are_refused(values, rule):
    with pytest.raises(UserError, match="must") as caught:
        TrialConfig.from_dict({"epochs": 1, **values})

    assert rule in str(caught.value)


def test_dotted_names_set_single_values():
    config = TrialConfig(epochs=3)

    assert config.with_values({"optim.lr": 0.5, "epochs": 4}).flat() == config.flat() | {"optim.lr": 0.5, "epochs": 4}
    with pytest.raises(UserError, match=r"optim\.learning_rate"):
        config.with_values({"optim.learning_rate": 0.5})


@settings(deadline=None)
@given(rank=st.integers(1, 1024), alpha=st.floats(0.01, 1000), stabilized=st.booleans())
def test_scaling_is_alpha_over_rank_or_its_root(rank, alpha, stabilized):
    values = {"rank": rank, "alpha": alpha, "rank_stabilized": stabilized}
    adapter = TrialConfig.from_dict({"epochs": 1, "adapter": values}).adapter

    assert adapter.scaling == pytest.approx(alpha / (math.sqrt(rank) if stabilized else rank))
