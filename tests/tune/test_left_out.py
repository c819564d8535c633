"""Nodes that cannot read the study's data are kept off, but for the last one."""

from tune.cluster.left_out import LeftOutNodes
from tune.cluster.node import Node


def node(node_id: str, n_cpus: float = 2) -> Node:
    return Node(node_id=node_id, address=f"10.0.0.{node_id}", resources={"CPU": n_cpus})


def test_a_node_is_left_out_told_of_once():
    told = []
    left_out = LeftOutNodes(told.append, nodes=lambda: [node("1"), node("2"), node("3")])
    assert [left_out.add("2", "data.npz must exist, but does not") for _ in range(3)] == [True, True, True]
    assert left_out.add("1", "no such file")

    assert len(told) == 2
    assert "10.0.0.2" in told[0]
    assert "data.npz must exist" in told[0]
    assert left_out.ids == {"1", "2"}


def test_the_last_node_that_can_run_trials_is_not_left_out_so_that_its_trials_say_what_is_wrong():
    told = []
    left_out = LeftOutNodes(told.append, nodes=lambda: [node("1"), node("2"), node("head", n_cpus=0)])

    assert left_out.add("1", "no such file")
    assert not left_out.add("2", "no such file")
    assert left_out.ids == {"1"}
    assert len(told) == 1
