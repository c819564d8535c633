"""Nodes that trials are kept off because what the study wrote for them cannot be read there."""

from collections.abc import Callable, Sequence

from tune.cluster.node import Node
from tune.cluster.ray_cluster import living_nodes

NODE_LABEL = "ray.io/node-id"
"""The label that Ray gives every node."""


class LeftOutNodes:
    """Such nodes; mostly ones that joined after the check at the start."""

    def __init__(self, say: Callable[[str], None], nodes: Callable[[], Sequence[Node]] = living_nodes) -> None:
        """say: takes one line for the user, once a node. nodes: the living ones."""
        self._say = say
        self._nodes = nodes
        self.ids: set[str] = set()

    def add(self, node_id: str, reason: str) -> bool:
        """Leave a node out from now on; False when it is the last one, whose trials then fail with the reason."""
        by_id = {node.node_id: node for node in self._nodes() if node.n_cpus or node.n_gpus}
        if not by_id.keys() - self.ids - {node_id}:
            return False
        if node_id not in self.ids:
            self.ids.add(node_id)
            self._say(
                f"{by_id.get(node_id, node_id)} gets no more trials, since it cannot read what the study wrote for "
                f"them ({reason}); let it share the study's folder and the cache, and start its Ray again"
            )
        return True
