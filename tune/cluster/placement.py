"""What one trial occupies on a cluster, how many fit side by side, and which nodes are too small for it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from trainable.config import TrialConfig
from trainable.errors import UserError
from tune.cluster.node import Node
from tune.measuring.costs import Costs

_TINY = 1e-9
"""Of a resource: fractions such as 0.1 are not exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """costs: what tells a configuration's need. nodes: those whose memory is known; others count as large enough."""

    costs: Costs
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What one trial occupies, and how many run side by side.

    resources: further ones of the cluster, by name. max_concurrent: at most so many; None for as many as fit. needs:
    where nodes differ in memory, what each configuration takes of it; None where any node will do.
    """

    cpus_per_trial: float
    gpus_per_trial: float
    resources: Mapping[str, float] = field(default_factory=dict)
    max_concurrent: int | None = None
    needs: MemoryNeeds | None = None

    @property
    def bundle(self) -> dict[str, float]:
        """The resources of one trial, by Ray's names."""
        asked = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial, **self.resources}
        return {name: amount for name, amount in asked.items() if amount}

    def fits(self, free: Mapping[str, float]) -> int:
        """Trials that find room in free resources of one node, or of several taken together."""
        counts = [_quotient(free.get(name, 0.0), amount) for name, amount in self.bundle.items()]
        return min(counts, default=0)

    def slots(self, nodes: Iterable[Node]) -> int:
        """Trials that fit these nodes side by side; each lies on one node, and a part of a GPU on one GPU."""
        return sum(self.slots_of(node) for node in nodes)

    def slots_of(self, node: Node) -> int:
        """Trials that fit one node."""
        fitting = self.fits(node.resources)
        if 0 < self.gpus_per_trial < 1:  # what is left of two GPUs does not make a third part
            fitting = min(fitting, int(node.resources.get("GPU", 0)) * _quotient(1.0, self.gpus_per_trial))
        return fitting

    def too_small_for(self, config: TrialConfig) -> tuple[str, ...]:
        """IDs of the nodes whose memory, shared by the trials that fit there, does not hold this configuration.

        Where that would leave no node, those with the most memory a trial are not named: a trial that runs out of it is
        tried again in smaller parts.
        """
        if self.needs is None:
            return ()
        shares = {node.node_id: self.memory_share(node) for node in self.needs.nodes if self.slots_of(node)}
        need = min(self.needs.costs.memory_bytes(config), max(shares.values(), default=0.0))
        return tuple(sorted(node_id for node_id, share in shares.items() if share < need))

    def memory_share(self, node: Node) -> float:
        """Bytes for each of the trials that fit a node side by side: of one GPU, or of main memory."""
        if self.gpus_per_trial:
            return node.memory_bytes * self.gpus_per_trial
        return node.memory_bytes / max(self.slots_of(node), 1)

    def differs(self, nodes: Iterable[Node]) -> bool:
        """Whether trials get more memory on some of these nodes than on others, by a tenth or more."""
        shares = [self.memory_share(node) for node in nodes if node.memory_bytes and self.slots_of(node)]
        return len(shares) > 1 and max(shares) > 1.1 * min(shares)


def check_placement(placement: Placement, nodes: Iterable[Node]) -> None:
    """Raises: UserError if no node of the cluster could ever run one trial; Ray itself would wait silently."""
    living, problems = list(nodes), []
    for name, asked in placement.bundle.items():
        largest = max((float(node.resources.get(name, 0)) for node in living), default=0.0)
        option = f"--{name.lower()}s-per-trial" if name in ("CPU", "GPU") else f"--trial-resources {name}"
        if asked > largest + _TINY:
            problems.append(f"`{option}` must be at most one node's {name}s, but got {asked:g} > {largest:g}")
    if not problems and not placement.slots(living):
        asked_text = ", ".join(f"{amount:g} {name}" for name, amount in placement.bundle.items())
        problems.append(f"`a node must have all that a trial occupies`, but none has {asked_text}; ask for less")
    if problems:
        raise UserError(problems)


def _quotient(total: float, part: float) -> int:
    return math.floor(total / part + _TINY)
