"""What fits where: slots of nodes, fractions of GPUs, memory, and when one more trial is asked for."""

import pytest

from trainable.config import OptimConfig, TailConfig, TrialConfig
from trainable.errors import UserError
from tune.cluster.node import Node, nodes_of
from tune.cluster.placement import MemoryNeeds, Placement, check_placement
from tune.command_line.trial_resources import parse_resources
from tune.measuring.costs import Costs, MeasuredConfig

from .test_costs import VIT_L

GIB = 2**30


def node(name: str = "a", *, cpus: float = 8, gpus: float = 0, gib: float = 0, **others: float) -> Node:
    return Node(
        node_id=name, address="10.0.0.1", resources={"CPU": cpus, "GPU": gpus, **others}, memory_bytes=gib * GIB
    )


def placement(cpus: float = 1, gpus: float = 0, **others) -> Placement:
    return Placement(cpus_per_trial=cpus, gpus_per_trial=gpus, **others)


@pytest.mark.parametrize(
    ("wanted", "nodes", "slots"),
    [
        (placement(), [node(cpus=2)], 2),
        (placement(0.5), [node(cpus=2)], 4),
        (placement(3), [node(cpus=8), node("b", cpus=4)], 3),
        (placement(1, 0.5), [node(gpus=2)], 4),
        (placement(1, 0.3), [node(gpus=2)], 6),
        (placement(1, 0.1), [node(cpus=64, gpus=1)], 10),
        (placement(1, 0.6), [node(gpus=3)], 3),
        (placement(1, 2), [node(gpus=3), node("b", gpus=1)], 1),
        (placement(4, 0.25), [node(gpus=1)], 2),
        (placement(resources={"ours": 1}), [node(ours=3), node("b")], 3),
    ],
)
def test_trials_fit_whole_nodes_and_parts_of_single_gpus(wanted, nodes, slots):
    assert wanted.slots(nodes) == slots


def test_what_no_node_can_ever_run_is_refused_with_every_reason():
    nodes = [node(cpus=2, gpus=1), node("b", cpus=8)]
    with pytest.raises(UserError) as raised:
        check_placement(placement(9, 2, resources={"license": 1}), nodes)
    with pytest.raises(UserError, match="none has 4 CPU, 1 GPU"):
        check_placement(placement(4, 1), nodes)

    assert len(raised.value.problems) == 3
    check_placement(placement(2, 1), nodes)


def test_further_resources_are_given_by_name_and_amount():
    assert parse_resources(["mine=1", "license=0.5"]) == {"mine": 1.0, "license": 0.5}
    with pytest.raises(UserError) as raised:
        parse_resources(["mine", "=1", "x=0", "x=nan", "CPU=2"])
    assert len(raised.value.problems) == 5


LARGE = TrialConfig(epochs=1, tail=TailConfig(n_blocks=6), optim=OptimConfig(batch_size=128))
SMALL = TrialConfig(epochs=1, tail=TailConfig(n_blocks=1), optim=OptimConfig(batch_size=32))


def needing(small_gib: float, large_gib: float, nodes: list[Node], wanted: Placement) -> Placement:
    def measured(config: TrialConfig, gib: float) -> MeasuredConfig:
        return MeasuredConfig(
            config=config, step_seconds=1, predict_seconds=1, build_seconds=1, save_seconds=1,
            peak_bytes=int(gib * GIB), n_trainable=1, checkpoint_bytes=1,
        )  # fmt: skip

    costs = Costs(VIT_L, measured(SMALL, small_gib), measured(LARGE, large_gib))
    return placement(wanted.cpus_per_trial, wanted.gpus_per_trial, needs=MemoryNeeds(costs=costs, nodes=tuple(nodes)))


def test_a_large_trial_keeps_off_the_small_cards_and_a_small_one_goes_anywhere():
    nodes = [node("small", gpus=1, gib=16), node("large", gpus=1, gib=80), node("unknown", gpus=1)]
    wanted = needing(3, 30, nodes[:2], placement(1, 0.5))

    assert wanted.differs(nodes)
    assert wanted.too_small_for(SMALL) == ()
    assert wanted.too_small_for(LARGE) == ("small",)


def test_what_no_card_holds_goes_to_the_largest():
    nodes = [node("small", gpus=1, gib=16), node("large", gpus=1, gib=24)]

    assert needing(3, 30, nodes, placement(1, 1)).too_small_for(LARGE) == ("small",)


def test_on_cpus_the_trials_of_a_node_share_its_memory():
    nodes = [node("many cores", cpus=16, gib=32), node("few cores", cpus=4, gib=32)]

    assert needing(1, 4, nodes, placement()).too_small_for(LARGE) == ("many cores",)


def test_nodes_alike_within_a_tenth_make_no_difference():
    assert not placement().differs([node("a", gib=32), node("b", gib=31)])
    assert not placement().differs([node("a", gib=32), node("b", cpus=0, gib=4)])  # no trial fits the second
    assert placement().differs([node("a", gib=32), node("b", gib=16)])


def test_dead_nodes_do_not_count():
    rows = [
        {"NodeID": "a", "Alive": True, "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 2.0, "memory": 8.0}},
        {"NodeID": "b", "Alive": False, "Resources": {}},
    ]

    assert nodes_of(rows) == [Node(node_id="a", address="10.0.0.1", resources=rows[0]["Resources"], memory_bytes=8.0)]
