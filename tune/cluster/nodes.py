"""The nodes of the Ray cluster that this process has joined."""

from dataclasses import dataclass

import ray


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A living node. address: its IP. n_cpus, n_gpus: what Ray may give away there, and `free_` of that now."""

    node_id: str
    address: str
    n_cpus: float
    n_gpus: float
    free_cpus: float
    free_gpus: float

    def __str__(self) -> str:
        return f"node {self.address} ({self.node_id[:8]})"


def living_nodes() -> list[Node]:
    """Nodes that Ray counts on, those with the most that is free first."""
    free = ray._private.state.available_resources_per_node()  # what `ray status` shows; there is no public way
    nodes = [
        Node(
            node_id=node["NodeID"],
            address=node["NodeManagerAddress"],
            n_cpus=float(node["Resources"].get("CPU", 0)),
            n_gpus=float(node["Resources"].get("GPU", 0)),
            free_cpus=float(free.get(node["NodeID"], {}).get("CPU", 0)),
            free_gpus=float(free.get(node["NodeID"], {}).get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (-node.free_gpus, -node.free_cpus, node.node_id))


def own_node_id() -> str:
    """The node that this process belongs to."""
    return str(ray.get_runtime_context().get_node_id())
