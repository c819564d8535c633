"""Features from object storage onto the disk of every node, once and before the first trial."""

from collections.abc import Callable
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainable.errors import UserError
from trainable.frozen.mirror import mirror_store
from trainable.storage.remote_folder import RemoteFolder
from tune.cluster.ray_cluster import living_nodes


def mirror_on_nodes(remote: RemoteFolder, path: Path, taps: tuple[int, ...], *, say: Callable[[str], None]) -> None:
    """Have every node that works copy the store to `path` on its own disk; nodes that have it do nothing.

    remote: of this one store. Nodes that join later copy it with their first trial.
    Raises: UserError naming the nodes that could not.
    """
    mirror = ray.remote(num_cpus=0, max_calls=1)(_mirror)
    asked = {
        node: mirror.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote(
            remote, path, taps
        )
        for node in living_nodes()
    }
    problems = []
    for node, reference in asked.items():
        try:
            for line in ray.get(reference):
                say(f"{node}: {line}")
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, UserError):
                raise
            problems += [f"{node}: {problem}" for problem in error.cause.problems]
        except ray.exceptions.RayError as error:
            say(f"{node} got no copy of the features: {str(error).splitlines()[0]}")  # it died; others go on
    if problems:
        raise UserError(problems)


def _mirror(remote: RemoteFolder, path: Path, taps: tuple[int, ...]) -> list[str]:
    """Runs on a node; what it has to say."""
    lines: list[str] = []
    if mirror_store(remote, path, taps=taps, say=lines.append) is None:
        raise UserError(f"{remote} must hold taps {', '.join(map(str, taps))}, but does not; extract them first")
    return lines
