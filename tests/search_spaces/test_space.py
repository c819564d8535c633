"""Spaces of one's own: conditions, factors, and mistakes with file, line and allowed values."""

import textwrap
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from search_spaces.space import SearchSpace, load_variant
from trainable.config import PROJECTIONS
from trainable.errors import UserError

GOOD = """\
about: for a test
base: default
start_from: [default, {name: deep, tail.n_blocks: 4}]
compare_with: [lora]
parameters:
  tail.n_blocks: {int: [0, 6], step: 2, role: scientific, why: depth}
  adapter.kind: {choices: [full, lora, dora], role: scientific, why: kind}
  adapter.rank: {int: [4, 64], log: true, when: {adapter.kind: [lora, dora]}, role: scientific, why: size}
  adapter.alpha:
    float: [0.5, 4.0]
    log: true
    times: adapter.rank
    when: {adapter.kind: [lora, dora]}
    otherwise: 3
    role: nuisance
    why: scale
  adapter.targets:
    choices: [[q_proj, v_proj], [q_proj, k_proj, v_proj, out_proj, c_fc, c_proj]]
    role: scientific
    why: where
  optim.lr: {float: [1.0e-5, 3.0e-3], log: true, role: nuisance, why: speed}
"""
HEAD = "about: for a test\nbase: default\nparameters:\n"
LR = "  optim.lr: {float: [1.0e-5, 3.0e-3], log: true, role: nuisance, why: speed}\n"


def load(tmp_path: Path, text: str) -> SearchSpace:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return SearchSpace.load(path)


def problems_of(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    return [problem.replace(str(tmp_path / "mine.yaml"), "mine.yaml") for problem in caught.value.problems]


def suggest(space: SearchSpace, **values: Any) -> dict[str, Any]:
    """The space's values out of fixed ones; dots are written __, slashes ___."""
    return space.suggest(FixedTrial({k.replace("___", "/").replace("__", "."): v for k, v in values.items()}))


def test_a_condition_switches_parameters_off_and_their_keys_to_otherwise_or_the_base(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    values = suggest(space, tail__n_blocks=2, adapter__kind="full", adapter__targets="q_proj+v_proj", optim__lr=1e-4)
    config = space.config(values, 5)
    assert "adapter.rank" not in values
    assert config.adapter.rank == 16
    assert config.adapter.alpha == 3.0
    assert config.adapter.targets == ("q_proj", "v_proj")


def test_a_factor_is_multiplied_with_the_other_parameter_and_sampled_under_both_names(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    given = {
        "tail.n_blocks": 2,
        "adapter.kind": "dora",
        "adapter.rank": 10,
        "adapter.alpha/adapter.rank": 0.7,
        "adapter.targets": "+".join(PROJECTIONS),
        "optim.lr": 1e-4,
    }
    values = space.suggest(FixedTrial(given))
    assert values == given
    config = space.config(values, 5)
    assert config.adapter.alpha == 7.0
    assert space.config(space.values_of(config), 5) == config


def test_starting_points_may_be_written_in_place_as_changes_of_the_base(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    assert [start.name for start in space.start_from] == ["default", "deep"]
    assert space.start_from[1].config == load_variant("default").with_values({"tail.n_blocks": 4})
    assert space.values_of(space.start_from[1].config)["adapter.alpha/adapter.rank"] == 1.0


def test_comparisons_may_lie_outside_but_count_as_reachable(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    assert space.reachable_blocks() == (0, 2, 4, 6)
    with pytest.raises(UserError, match=r"adapter\.rank"):
        space.values_of(load_variant("lora"))


def test_parameters_are_plain(tmp_path: Path) -> None:
    rank = next(p for p in load(tmp_path, GOOD).parameters if p.name == "adapter.rank")
    assert (rank.kind, rank.low, rank.high, rank.log, rank.step) == ("int", 4, 64, True, 1)


def test_wrong_values_are_named_all_at_once(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    with pytest.raises(UserError) as caught:
        space.config({"tail.n_blocks": 3, "adapter.kind": "full", "adapter.rank": 8, "optim.lr": True}, 5)
    assert caught.value.problems == (
        "`tail.n_blocks` must be in the space, [0, 6] in steps of 2, but got 3",
        "`adapter.targets` must be given, one of q_proj+v_proj, q_proj+k_proj+v_proj+out_proj+c_fc+c_proj",
        "`optim.lr` must be in the space, [1e-05, 0.003] log, but got true",
        "`adapter.rank` is no active parameter of the space; "
        "active: tail.n_blocks, adapter.kind, adapter.targets, optim.lr",
    )


def test_a_configuration_outside_says_which_keys_are_and_what_is_allowed(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    outside = load_variant("default").with_values(
        {"optim.lr": 0.1, "adapter.kind": "full", "adapter.alpha": 5, "optim.batch_size": 32}
    )
    with pytest.raises(UserError) as caught:
        space.values_of(outside)
    assert caught.value.problems == (
        "`adapter.alpha` must be 3.0 unless adapter.kind is lora or dora, but got 5.0",
        "`optim.lr` must be in the space, [1e-05, 0.003] log, but got 0.1",
        "`optim.batch_size` does not vary in the space and must be 64, but got 32",
    )


def test_true_is_not_taken_for_one(tmp_path: Path) -> None:
    text = HEAD + "  adapter.rank_stabilized: {choices: [true, false], role: scientific, why: scale}\n"
    space = load(tmp_path, text)
    with pytest.raises(UserError, match=r"one of true, false, but got 1"):
        space.config({"adapter.rank_stabilized": 1}, 5)
    assert space.config({"adapter.rank_stabilized": True}, 5).adapter.rank_stabilized


def test_differences_name_what_changed_and_words_do_not_count(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    reworded = load(tmp_path, GOOD.replace("why: speed", "why: other words").replace("for a test", "renamed"))
    assert space.differences(reworded) == ()
    changed = load(
        tmp_path, GOOD.replace("1.0e-5, 3.0e-3", "1.0e-5, 1.0e-3").replace("tail.n_blocks: 4", "tail.n_blocks: 6")
    )
    assert space.differences(changed) == (
        "`start_from.deep.tail.n_blocks`: 4, 6",
        "`parameters.optim.lr.float`: [1e-05, 0.003], [1e-05, 0.001]",
    )


def test_optuna_can_load_the_ranges_as_they_are(tmp_path: Path) -> None:
    space = load(tmp_path, GOOD)
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    space.suggest(trial)
    assert trial.distributions["tail.n_blocks"] == optuna.distributions.IntDistribution(0, 6, step=2)
    assert trial.distributions["optim.lr"] == optuna.distributions.FloatDistribution(1e-5, 3e-3, log=True)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("optim.lr: {float: [1.0e-3, 1.0e-5]", "`low < high` of `optim.lr` must hold"),
        ("optim.lr: {float: [1e-5, 1.0e-3]", "but got '1e-5' (YAML reads 1e-4 as text: write 1.0e-4)"),
        ("optim.lr: {float: [0.1, .inf]", "must each be a finite number, but got inf"),
        ("optim.lr: {float: [0.1]", "`float` of `optim.lr` must be [low, high], but got [0.1]"),
        ("optim.lr: {float: [0.5, 2.0]", "`optim.lr` must be in (0, 1], but got 2.0"),
        ("optim.lr: {int: [0, 1]", "`optim.lr` must be given by `float`, but got `int`: it is a number"),
        ("optim.name: {int: [0, 1]", "must be given by `choices`, but got `int`: it is one of adam, adamw"),
        ("adapter.targets: {float: [0, 1]", "it is a list of names"),
        ("tail.n_blocks: {int: [1.5, 3]", "must each be a whole number, but got 1.5"),
        ("tail.n_blocks: {int: [1, 4], step: 2", "must be a multiple of `step`"),
        (
            "tail.n_blocks: {int: [1, 5], step: 2, log: true",
            "`step` of `tail.n_blocks` must not be given with `log`",
        ),
        ("tail.n_blocks: {int: [1, 5], step: 0", "`step` of `tail.n_blocks` must be a whole number from 1"),
        (
            "augment.mixup_alpha: {float: [0, 1], log: true",
            "`low > 0` of `augment.mixup_alpha` must hold with `log`, but got [0, 1]",
        ),
        (
            "augment.mixup_alpha: {float: [0, 1], log: 3",
            "`log` of `augment.mixup_alpha` must be true or false, but got 3",
        ),
        (
            "optim.rate: {float: [0, 1]",
            "`optim.rate` is not a configuration key; valid: length, adapter.kind",
        ),
        ("epochs: {int: [5, 10]", "`epochs` must not vary"),
        (
            "optim.lr: {float: [0.1, 0.2], choices: [0.1]",
            "must have exactly one of choices, int, float, but got choices and float",
        ),
        ("loss.kind: {choices: [mse, mae]", "`loss.kind` must be one of mse, crps, but got 'mae'"),
        ("loss.kind: {choices: [mse, mse]", "`choices` of `loss.kind` must differ, but 'mse' stands twice"),
        ("loss.kind: {choices: []", "`choices` of `loss.kind` must be a list of values, but got []"),
        (
            "loss.kind: {choices: [mse, crps], log: true",
            "`log` of `loss.kind` must only be given with int or float",
        ),
        (
            "adapter.targets: {choices: [[q_proj], [qkv]]",
            "must name projections, but got 'qkv'; valid: q_proj, k_proj",
        ),
        (
            "adapter.rank: {int: [4, 8], when: {adapter.kind: [lora]}",
            "`when` of `adapter.rank` must name a parameter that stands above it (none), but got 'adapter.kind'",
        ),
        (
            "adapter.rank: {int: [4, 8], when: lora",
            "`when` of `adapter.rank` must map earlier keys to lists of values",
        ),
        (
            "adapter.rank: {int: [4, 8], otherwise: 3",
            "`otherwise` of `adapter.rank` must only be given with `when`",
        ),
        (
            "adapter.alpha: {float: [1, 8], times: adapter.rank",
            "`times` of `adapter.alpha` must name a parameter that stands above it",
        ),
    ],
)
def test_a_mistaken_range_or_condition_is_refused_with_its_line(tmp_path: Path, spec: str, message: str) -> None:
    problems = problems_of(tmp_path, f"{HEAD}  {spec}, role: nuisance, why: x}}\n")
    assert any(problem.startswith("mine.yaml:4: ") and message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "optim.lr: {float: [0.1, 0.2], roll: nuisance, why: x, role: nuisance}",
            "`roll` is not a key here; valid: choices, int, float, log",
        ),
        (
            "optim.lr: {float: [0.1, 0.2], why: x}",
            "`role` of `optim.lr` must be one of scientific, nuisance, but got nothing",
        ),
        ("optim.lr: {float: [0.1, 0.2], role: nuisance}", "`why` of `optim.lr` must say why"),
        ("optim.lr: {role: nuisance, why: x}", "must have exactly one of choices, int, float, but got none"),
        ("optim.lr: 0.1", "`optim.lr` must be a mapping such as"),
    ],
)
def test_a_mistaken_parameter_is_refused_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    problems = problems_of(tmp_path, f"{HEAD}  {line}\n")
    assert any(problem.startswith("mine.yaml:4: ") and message in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "{float: [1, 8], when: {adapter.kind: [qlora]}",
            "must be in its range, one of full, lora, but got 'qlora'",
        ),
        (
            "{float: [1, 8], when: {adapter.kind: lora}",
            "`when: adapter.kind` of `adapter.alpha` must list values, but got 'lora'",
        ),
        ("{float: [1, 8], when: {optim.lr: [0.001]}", "must not ask for exact values of the number `optim.lr`"),
        (
            "{float: [1, 8], when: {optim.name: [adam]}",
            "must name a parameter that stands above it (adapter.kind, optim.lr)",
        ),
        (
            "{float: [1, 8], times: adapter.kind",
            "`times` of `adapter.alpha` must name a parameter of positive numbers",
        ),
        (
            "{float: [1, 8], when: {adapter.kind: [lora]}, otherwise: -1",
            "`adapter.alpha` must be in (0, 65536], but got -1",
        ),
    ],
)
def test_a_mistaken_condition_is_refused_with_its_line(tmp_path: Path, second: str, message: str) -> None:
    text = (
        HEAD
        + "  adapter.kind: {choices: [full, lora], role: nuisance, why: x}\n"
        + LR
        + f"  adapter.alpha: {second}, role: nuisance, why: x}}\n"
        + "  optim.name: {choices: [adam, adamw], role: nuisance, why: x}\n"
    )
    problems = problems_of(tmp_path, text)
    assert any(problem.startswith("mine.yaml:6: ") and message in problem for problem in problems), problems


def test_a_starting_point_outside_is_refused_with_line_and_allowed_values(tmp_path: Path) -> None:
    text = HEAD.replace("parameters", "start_from:\n  - default\n  - combined\nparameters") + LR.replace(
        "3.0e-3", "1.0e-3"
    )
    problems = problems_of(tmp_path, text)
    outside = (
        "mine.yaml:5: starting point 'combined': `optim.lr` must be in the space, [1e-05, 0.001] log, but got 0.003"
    )
    assert outside in problems
    assert all(problem.startswith("mine.yaml:5: starting point 'combined': ") for problem in problems)


def test_mistakes_of_all_kinds_are_named_at_once(tmp_path: Path) -> None:
    text = textwrap.dedent("""\
        about: for a test
        base: default
        bases: x
        start_from: [defualt, {tail.n_blocks: 5}, {tail.blocks: 5}]
        parameters:
          optim.lr: {float: [3.0e-3, 1.0e-5], log: true, role: nuisance, why: speed}
          tail.n_blocks: {int: [1, 4], role: scientific, why: depth}
    """)
    problems = problems_of(tmp_path, text)
    expected = [
        "mine.yaml:3: `bases` is not a key here; valid: name, about, base, start_from, compare_with, parameters",
        "mine.yaml:6: `low < high` of `optim.lr` must hold, but got [0.003, 1e-05]",
        "mine.yaml:4: a variant must be one of combined, data_aug, default, ft_did, lora, or the path",
        "mine.yaml:4: `tail.blocks` must be a configuration key; valid: epochs, length, adapter.kind",
        "mine.yaml:4: starting point 'point-1': `tail.n_blocks` must be in the space, [1, 4], but got 5",
    ]
    for message in expected:
        assert any(problem.startswith(message) for problem in problems), (message, problems)
    assert len(problems) == len(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: default\nparameters:\n" + LR, "`about` must say what the space is for, but got nothing"),
        ("about: x\nparameters:\n" + LR, "`base` must name a variant: combined, data_aug, default"),
        ("about: x\nbase: defalt\nparameters:\n" + LR, "mine.yaml:2: a variant must be one of combined"),
        (
            "about: x\nbase: 3\nparameters:\n" + LR,
            "mine.yaml:2: must be a variant's name or a mapping, but got 3",
        ),
        ("about: x\nbase: default\n", "`parameters` must map configuration keys to ranges, but got nothing"),
        (
            HEAD.replace("parameters", "start_from: default\nparameters") + LR,
            "mine.yaml:3: `start_from` must be a list of variants",
        ),
        (
            HEAD.replace("parameters", "compare_with: [lora, lora]\nparameters") + LR,
            "mine.yaml:3: `compare_with` must name each once",
        ),
    ],
)
def test_a_mistaken_head_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in problem for problem in problems_of(tmp_path, text))


def test_ranges_that_allow_a_contradiction_are_refused(tmp_path: Path) -> None:
    text = HEAD + (
        "  optim.warmup_fraction: {float: [0.0, 0.6], role: nuisance, why: x}\n"
        "  optim.hold_fraction: {float: [0.0, 0.6], role: nuisance, why: x}\n"
    )
    problems = problems_of(tmp_path, text)
    assert problems == [
        "mine.yaml:5: `optim.warmup_fraction + optim.hold_fraction <= 1` must hold, but got 0.6 + 0.6; "
        "the ranges allow it"
    ]


def test_a_base_and_starting_points_may_be_files_beside_the_space(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("about: mine\nepochs: 9\nconfig: {tail: {n_blocks: 3}}\n", encoding="utf-8")
    text = HEAD.replace("default", "own.yaml").replace("parameters", "start_from: [own.yaml]\nparameters") + LR
    space = load(tmp_path, text)
    assert space.base.config.tail.n_blocks == 3
    assert space.start_from[0].name == "own"
    assert load(tmp_path, HEAD.replace("default", "variants/default.yaml") + LR).base.name == "default"


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="a search space must be one of augmentation, full, lora, smoke, or the path"):
        SearchSpace.load("fulll")
