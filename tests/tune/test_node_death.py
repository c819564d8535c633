"""Whether a worker's death is its node's, by what Ray says of the node and by asking the node itself."""

import socket

import pytest

from tune.cluster.node_death import node_death, process_end

ID, OTHER = "a" * 56, "b" * 56
WORKER_DIED = "The actor died unexpectedly.\n\tpid: 7\n\tip: 127.0.0.1\nits worker process has died"


@pytest.fixture
def port():
    """A port that is listened on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def row(port: int, *, alive: bool = True, node_id: str = ID, address: str = "127.0.0.1") -> dict:
    return {
        "NodeID": node_id, "Alive": alive, "NodeManagerAddress": address, "NodeManagerPort": port,
        "DeathReasonMessage": "" if alive else "health check failed.",
    }  # fmt: skip


def test_a_node_that_ray_has_marked_as_dead_is_named_with_the_reason(port):
    died = node_death(f"its node has died. Node Id: {ID}", rows=lambda: [row(port, alive=False)])

    assert died == "node 127.0.0.1 died: health check failed"


@pytest.mark.parametrize(("error", "node_id"), [(WORKER_DIED, None), ("its worker process has died", ID)])
def test_a_node_that_is_gone_before_ray_has_noticed_does_not_answer(error, node_id):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert node_death(error, node_id, rows=lambda: [row(port)]) == "node 127.0.0.1 died: it does not answer"


def test_a_node_that_dies_a_moment_after_its_worker_is_waited_for(port):
    looks = iter([row(port), row(port), row(port, alive=False)])

    assert node_death(WORKER_DIED, rows=lambda: [next(looks)]) == "node 127.0.0.1 died: health check failed"


@pytest.mark.seconds
def test_a_worker_that_died_on_a_living_node_died_by_itself_whatever_happened_to_other_nodes(port):
    rows = [row(port), row(port, alive=False, node_id=OTHER, address="127.0.0.2")]

    assert node_death(WORKER_DIED, ID, rows=lambda: rows) is None
    assert node_death("no node is named", rows=lambda: rows) is None
    assert process_end(WORKER_DIED) == "its process ended"
    assert process_end("killed since the node was running low on memory") == "the node was low on memory"
