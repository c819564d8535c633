"""Where extraction workers sit on the nodes of a cluster."""

import pytest

from tune.cluster.node import Node
from tune.extraction.crew import seats


def node(n_cpus: float, n_gpus: float, free_cpus: float | None = None) -> Node:
    free = n_cpus if free_cpus is None else free_cpus
    return Node(
        node_id=f"{n_cpus}-{n_gpus}",
        address="10.0.0.1",
        resources={"CPU": n_cpus, "GPU": n_gpus},
        free={"CPU": free, "GPU": n_gpus},
    )


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda", [("16-4", 4)] * 4 + [("8-1", 8)]), ("cpu", [("16-4", 16), ("8-1", 8), ("6-0", 6)])],
)
def test_extraction_has_one_seat_a_gpu_or_one_a_node_with_its_share_of_the_cpus(device, expected):
    nodes = [node(16, 4), node(8, 1), node(6, 0), node(0, 0)]

    assert [(seat.node.node_id, seat.n_cpus) for seat in seats(nodes, device)] == expected


def test_a_seat_takes_what_other_work_has_left_free_and_at_least_one_cpu():
    assert [seat.n_cpus for seat in seats([node(8, 0, 3), node(8, 1, 0)], "cpu")] == [3, 1]
