import pytest

from search_spaces.space import SearchSpace
from trainable.config import TrialConfig
from trainable.failure import Failure, FailureKind
from tune.decisions.decisions import Decisions
from tune.decisions.proposals import starting_queue
from tune.decisions.sampler import Ranges, sampler_description

SPACE = """
about: every form that a parameter may have
base: {name: plain, tail.n_blocks: 2}
start_from:
  - {name: small, adapter.kind: lora, adapter.rank: 8, adapter.alpha: 16.0, optim.lr: 1.0e-4}
compare_with:
  - {name: deep, tail.n_blocks: 6}
parameters:
  adapter.kind: {choices: [full, lora, dora], role: scientific, why: what trains}
  adapter.rank: {int: [4, 256], log: true, when: {adapter.kind: [lora, dora]}, role: scientific, why: size}
  adapter.alpha: {float: [0.5, 4.0], times: adapter.rank, when: {adapter.kind: [lora, dora]}, role: nuisance, why: s}
  adapter.targets:
    choices: [[q_proj, v_proj], [q_proj, k_proj, v_proj, out_proj, c_fc, c_proj]]
    when: {adapter.kind: [lora, dora]}
    role: scientific
    why: where
  adapter.rank_stabilized: {choices: [true, false], when: {adapter.kind: [lora, dora]}, role: nuisance, why: scale}
  optim.lr: {float: [1.0e-5, 3.0e-3], log: true, role: nuisance, why: speed}
  optim.batch_size: {int: [32, 128], step: 32, role: nuisance, why: noise}
"""


@pytest.fixture
def space(tmp_path) -> SearchSpace:
    path = tmp_path / "forms.yaml"
    path.write_text(SPACE)
    return SearchSpace.load(path)


def test_the_queue_holds_the_spaces_starting_points_then_its_comparisons(space):
    start, comparison = starting_queue(space, 9)
    assert start["origin"] == "start:small"
    assert start["values"]["adapter.alpha/adapter.rank"] == 2.0
    assert comparison["origin"] == "compare:deep"
    config = TrialConfig.from_dict(comparison["config"])
    assert (config.tail.n_blocks, config.epochs) == (6, 9)


def test_the_default_comes_first_and_in_full_and_the_other_variants_may_be_stopped():
    space = SearchSpace.load("lora")  # which the default is only compared with
    queue = starting_queue(space, 9)

    assert [entry["origin"] for entry in queue] == [
        "compare:default", "start:lora", "start:combined", "compare:ft_did", "compare:data_aug",
    ]  # fmt: skip
    assert [entry.get("exempt", True) for entry in queue] == [True, False, False, False, False]
    assert all(entry.get("exempt", True) for entry in starting_queue(space, 9, in_full=True))


def decisions_of(space: SearchSpace, *, n_trials: int) -> Decisions:
    """Of a search of 9 epochs that begins with the space's own queue."""
    header = {
        "seed": 3, "n_trials": n_trials, "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3,
        "sampler": sampler_description(), "queue": starting_queue(space, 9),
    }  # fmt: skip
    return Decisions(space, header)


def test_a_variant_that_is_far_worse_than_the_default_is_stopped_at_its_first_rung():
    space = SearchSpace.load("full")
    decisions = decisions_of(space, n_trials=5)
    while (ask := decisions.ask()) is not None:
        level = 0.6 + 0.1 * len(decisions.trials())
        for epoch in range(1, 10):
            if decisions.report(ask.trial_id, epoch, {"score/all": level - epoch / 100}).action == "stop":
                break

    others = [point.name for point in space.start_from[1:5]]
    assert [(t.variant, t.epoch, t.state) for t in decisions.trials()] == [
        ("default", 9, "completed"), *((name, 1, "pruned") for name in others),
    ]  # fmt: skip


def test_a_space_from_a_file_is_searched_with_values_that_lie_exactly_in_it(space):
    decisions = decisions_of(space, n_trials=30)
    while (ask := decisions.ask()) is not None:
        if ask.values is not None:
            assert space.config(ask.values, 9) == ask.config
            assert list(space.values_of(ask.config)) == list(ask.values)
            assert list(Ranges(space).of(ask.values)) == list(ask.values)
        for epoch in range(1, 10):
            metrics = {"score/all": 1.0 + 100 * abs(ask.config.optim.lr - 1e-3) + 1 / epoch}
            if decisions.report(ask.trial_id, epoch, metrics).action == "stop":
                break
    records = decisions.trials()
    assert [record.origin for record in records[:3]] == ["start:small", "compare:deep", "sampler"]
    assert len({str(record.config) for record in records}) == 30
    assert len(decisions.sampler_trials()) == 29


def propose_after_failures(space: SearchSpace, *, kind: str, **sampler: str) -> list[dict]:
    """Proposals of a search in which every LoRA trial fails at once."""
    header = {
        "seed": 3, "n_trials": 40, "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3, "queue": [],
        "sampler": {name: value for name, value in sampler_description().items() if name != "failed"} | sampler,
    }  # fmt: skip
    decisions, proposed = Decisions(space, header), []
    while (ask := decisions.ask()) is not None:
        proposed.append(ask.values)
        if ask.config.adapter.kind == "lora":
            decisions.fail(ask.trial_id, Failure(type="Failed", message="x", kind=FailureKind(kind)))
            continue
        for epoch in range(1, 10):
            if decisions.report(ask.trial_id, epoch, {"score/all": 1 + ask.config.optim.lr / epoch}).action == "stop":
                break
    return proposed


def n_lora(proposed: list[dict]) -> int:
    return sum(values["adapter.kind"] == "lora" for values in proposed)


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["diverged", "memory"])
def test_configurations_that_fail_are_proposed_less_often(space, kind):
    taught, untaught = (propose_after_failures(space, kind=kind, **known) for known in ({"failed": "last"}, {}))
    assert n_lora(taught) < n_lora(untaught)


def test_a_failure_that_is_not_the_configurations_teaches_nothing(space):
    taught, untaught = (propose_after_failures(space, kind="error", **known) for known in ({"failed": "last"}, {}))
    assert taught == untaught
