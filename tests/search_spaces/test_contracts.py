"""What every built-in space and variant must hold."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler

import search_spaces
from search_spaces.space import SearchSpace, list_spaces, list_variants, load_variant, read_variant
from trainable.config import PROJECTIONS, TrialConfig, config_fields

FOLDER = Path(search_spaces.__file__).parent
SPACES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
VARIANTS = sorted(path.stem for path in (FOLDER / "variants").glob("*.yaml"))
LOADED = {name: SearchSpace.load(name) for name in SPACES}

PUBLISHED = {
    "ft_did": {
        "optim.lr": 1e-4,
        "optim.batch_size": 64,
        "tail.n_blocks": 2,
        "adapter.kind": "full",
        "optim.name": "adam",
        "optim.weight_decay": 0.0,
        "optim.schedule": "constant",
        "optim.layer_slope": 0.0,
        "optim.block_multiplier": 0.01,
        "optim.ln_post_multiplier": 0.01,
        "optim.head_multiplier": 1.0,
        "augment.domain_dropout": 0.2,
        "augment.feature_noise": 0.0,
        "augment.specimen_dropout": 0.0,
        "augment.mixup_alpha": 0.0,
        "augment.ramp_fraction": 0.0,
    },
    "lora": {
        "optim.lr": 1e-4,
        "optim.batch_size": 64,
        "tail.n_blocks": 6,
        "adapter.kind": "dora",
        "adapter.rank": 256,
        "adapter.alpha": 256.0,
        "adapter.dropout": 0.0,
        "adapter.rank_stabilized": True,
        "optim.name": "adamw",
        "optim.weight_decay": 0.01,
        "optim.schedule": "cosine",
        "optim.warmup_fraction": 0.0,
        "optim.hold_fraction": 10 / 500,
        "optim.final_lr_fraction": 0.01,
        "optim.layer_slope": 0.5,
        "optim.block_multiplier": 1.0,
        "optim.ln_post_multiplier": 0.5,
        "optim.head_multiplier": 1.5,
        "augment.domain_dropout": 0.2,
        "augment.feature_noise": 0.0,
        "augment.specimen_dropout": 0.0,
        "augment.mixup_alpha": 0.0,
        "augment.ramp_fraction": 0.0,
    },
}
_AUGMENTED = {
    "augment.domain_dropout": 0.35,
    "augment.feature_noise": 0.02,
    "augment.specimen_dropout": 0.25,
    "augment.mixup_alpha": 0.2,
    "augment.ramp_fraction": 0.25,
}
PUBLISHED["data_aug"] = PUBLISHED["ft_did"] | _AUGMENTED
PUBLISHED["combined"] = PUBLISHED["lora"] | _AUGMENTED | {"optim.lr": 3e-3, "optim.batch_size": 128}


class DrawnBy:
    """Stands where Optuna's trial does and lets hypothesis choose, bounds first."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._data.draw(st.sampled_from(list(choices)), label=name)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        assert step == 1 or not log
        return self._data.draw(st.integers(0, (high - low) // step).map(lambda k: low + k * step), label=name)

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        assert low > 0 or not log
        return self._data.draw(st.floats(low, high), label=name)


@pytest.fixture(scope="module", params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SearchSpace.load(request.param)


def test_the_promised_spaces_and_variants_are_listed_with_what_they_are_for() -> None:
    assert {"full", "lora", "augmentation", "smoke"} <= set(list_spaces())
    assert {"ft_did", "data_aug", "lora", "combined", "default"} <= set(list_variants())
    assert list(list_spaces()) == SPACES
    assert list(list_variants()) == VARIANTS
    assert all([*list_spaces().values(), *list_variants().values()])


def test_starting_points_lie_exactly_inside(space: SearchSpace) -> None:
    assert space.start_from
    for start in space.start_from:
        values = space.values_of(start.config)
        assert space.config(values, start.config.epochs) == start.config
        json.dumps(values)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", SPACES)
def test_whatever_is_drawn_gives_a_valid_configuration_that_leads_back(name: str, data: st.DataObject) -> None:
    space = LOADED[name]
    values = space.suggest(DrawnBy(data))
    config = space.config(values, 12)
    assert TrialConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.tail.n_blocks in space.reachable_blocks()
    back = space.values_of(config)
    assert list(back) == list(values)
    assert space.config(back, 12) == config


def test_optuna_draws_what_the_space_understands_and_takes_its_starting_points(space: SearchSpace) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for start in space.start_from:
        study.enqueue_trial(space.values_of(start.config))
    n_starts = len(space.start_from)
    for i in range(n_starts + 30):
        trial = study.ask()
        values = space.suggest(trial)
        assert values == trial.params
        config = space.config(values, 7)
        assert config.epochs == 7
        if i < n_starts:
            assert config == space.start_from[i].config.with_epochs(7)
        study.tell(trial, 0.0)


def test_values_survive_json(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    for _ in range(10):
        values = space.suggest(study.ask())
        assert space.config(json.loads(json.dumps(values)), 5) == space.config(values, 5)


def test_every_parameter_has_role_and_reason_and_the_table_shows_them(space: SearchSpace) -> None:
    table = space.table()
    for parameter in space.parameters:
        assert parameter.role in ("scientific", "nuisance")
        assert len(parameter.why) > 5
        assert parameter.key in table
        assert parameter.why.split()[0] in table
    assert max(map(len, table.splitlines())) <= 140


def test_plain_values_say_all_there_is_to_a_space(space: SearchSpace) -> None:
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space
    assert again.to_dict() == space.to_dict()
    assert again.differences(space) == ()


def test_reachable_blocks_cover_starting_points_and_comparisons(space: SearchSpace) -> None:
    reachable = space.reachable_blocks()
    assert list(reachable) == sorted(set(reachable))
    assert {point.config.tail.n_blocks for point in (*space.start_from, *space.compare_with)} <= set(reachable)
    assert reachable[-1] <= 6


def test_the_full_space_varies_all_that_makes_a_configuration_but_its_fixed_keys() -> None:
    fixed = {
        "epochs",
        "adapter.dropout",
        "optim.accumulation_steps",
        "optim.final_lr_fraction",
        "optim.max_grad_norm",
        "augment.image_copies",
        "augment.test_flips",
    }
    space = SearchSpace.load("full")
    assert {parameter.key for parameter in space.parameters} == set(config_fields()) - fixed
    ours, published = (
        ["default", "probe_first", "probe_bags", "probe_alone"],
        ["ft_did", "data_aug", "lora", "combined"],
    )
    assert [start.name for start in space.start_from] == [*ours, *published]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_complete_in_its_file_and_takes_any_length(name: str) -> None:
    raw = yaml.safe_load((FOLDER / "variants" / f"{name}.yaml").read_text(encoding="utf-8"))
    given_keys = {f"{group}.{key}" for group, keys in raw["config"].items() for key in keys}
    assert given_keys == set(config_fields()) - {"epochs", "length"}
    assert load_variant(name).length == 1
    assert load_variant(name).epochs == raw["epochs"]
    assert load_variant(name, epochs=12) == load_variant(name).with_epochs(12)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_variant_has_the_published_numbers(name: str) -> None:
    config = load_variant(name, epochs=500).flat()
    assert {key: config[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert config["loss.kind"] == "mse"
    assert config["loss.event_exponent"] == 0.0
    assert config["adapter.targets"] == PROJECTIONS
    assert read_variant(name).config.epochs == 500


def test_a_published_adapter_has_the_published_scale() -> None:
    assert load_variant("lora").adapter.scaling == 16.0


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_variant_says_what_was_mended(name: str) -> None:
    variant = read_variant(name)
    text = variant.text()
    assert "domain code is trained" in text
    assert ("adapters on out_proj" in text) == (variant.config.adapter.kind != "full")
    assert ("Mixup" in text) == (variant.config.augment.mixup_alpha > 0)
    assert all(item in text for item in variant.mended)
