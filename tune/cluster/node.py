"""A node of a Ray cluster: what it has, and how much of that is free."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trainable.plain_values import JsonObject

Resources = Mapping[str, float]
"""Amounts by Ray's names: CPU, GPU, memory in bytes, and what else a cluster's nodes were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A living node.

    address: its IP. resources: what Ray may give away there. free: what of that is free now; empty where nobody asked.
    memory_bytes: what its trials share, of GPU or of main memory; 0 where it is not known.
    """

    node_id: str
    address: str
    resources: Resources = field(hash=False)
    free: Resources = field(default_factory=dict, hash=False)
    memory_bytes: float = 0.0

    @property
    def n_cpus(self) -> float:
        """CPUs that Ray may give away there."""
        return self.resources.get("CPU", 0.0)

    @property
    def n_gpus(self) -> float:
        """GPUs that Ray may give away there."""
        return self.resources.get("GPU", 0.0)

    def __str__(self) -> str:
        return f"node {self.address} ({self.node_id[:8]})"


def nodes_of(rows: Iterable[JsonObject], free: Mapping[str, Resources] | None = None) -> list[Node]:
    """Living nodes from `ray.nodes()`, their memory the main memory as Ray counts it; free: by node ID."""
    return [
        Node(
            node_id=row["NodeID"],
            address=row["NodeManagerAddress"],
            resources=row["Resources"],
            free={} if free is None else free.get(row["NodeID"], {}),
            memory_bytes=float(row["Resources"].get("memory", 0.0)),
        )
        for row in rows
        if row["Alive"]
    ]
