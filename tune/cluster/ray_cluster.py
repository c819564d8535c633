"""The Ray cluster of this process: joined or started, asked what it has, and left."""

import os
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainable.errors import UserError
from tune.cluster.node import Node, nodes_of
from tune.cluster.own_ray import OwnRay, own_ray
from tune.cluster.ray_init import init_ray
from tune.measuring.memory import device_memory

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # our device option decides
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the journal and MLflow are the records
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is the search's: it finishes the epoch first
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # results travel as one object
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Ray's own experiment state is never read
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # how a worker ended is told by the conductor, in a line
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # how many are asked for is the searcher's to say
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

JOIN_SECONDS = 10.0


@contextmanager
def ray_session(*, address: str | None, n_workers: int) -> Iterator[OwnRay | None]:
    """Connect to the cluster at `address` (or `RAY_ADDRESS`), or start Ray in this machine with `n_workers` CPUs; it is
    yielded, and ends with the block.

    Raises: UserError when no cluster can be joined there, or Ray cannot start.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_ENVIRONMENT.items()})
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        with own_ray(n_workers) as own:
            yield own
        return
    _join(address)
    try:
        yield None
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    rule = "`--address` must be that of a running Ray cluster"
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal() and "://" not in host:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=JOIN_SECONDS).close()
        init_ray(address=address)
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "" if "RAY_AUTH_MODE" in os.environ else "; if it asks for a token, set RAY_AUTH_MODE=token"
        raise UserError(f"{rule}, but joining {address} failed: {reason}{remedy}") from error


class Cluster:
    """The cluster that `ray_session` joined or started, as it is now."""

    def __init__(self, *, without: Collection[str] = (), is_own: bool = False) -> None:
        """without: IDs of nodes that do not count, looked at anew each time.

        is_own: it was started for this process, so that nothing joins it and nobody else uses it. It is asked once: a
        question to a GCS that has died would not return.
        """
        self._without = without
        self._known = nodes_of(ray.nodes()) if is_own else None

    def nodes(self) -> list[Node]:
        """Its living nodes."""
        nodes = nodes_of(ray.nodes()) if self._known is None else self._known
        return [node for node in nodes if node.node_id not in self._without]

    def free(self) -> dict[str, float]:
        """What of all nodes together nobody else uses."""
        if self._known is None:
            found: dict[str, float] = ray.available_resources()
            return found
        return {name: sum(node.resources.get(name, 0.0) for node in self._known)
                for name in {name for node in self._known for name in node.resources}}  # fmt: skip


def living_nodes() -> list[Node]:
    """Nodes that Ray counts on and what is free on each, those with the most of it first."""
    free = ray._private.state.available_resources_per_node()  # what `ray status` shows; there is no public way
    nodes = nodes_of(ray.nodes(), free)
    return sorted(nodes, key=lambda node: (-node.free.get("GPU", 0.0), -node.free.get("CPU", 0.0), node.node_id))


def own_node_id() -> str:
    """The node that this process belongs to."""
    return str(ray.get_runtime_context().get_node_id())


def n_gpus() -> float:
    """GPUs of the cluster."""
    return float(ray.cluster_resources().get("GPU", 0))


def gpu_memory(nodes: Sequence[Node]) -> dict[str, float]:
    """Node ID -> bytes of its first GPU, asked of every node that has one; empty where there is but one such node."""
    with_gpu = [node.node_id for node in nodes if node.n_gpus]
    if len(with_gpu) < 2:
        return {}
    task = ray.remote(num_cpus=0, max_calls=1)(device_memory)
    asked = {
        node_id: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote("cuda")
        for node_id in with_gpu
    }
    return {node_id: float(ray.get(reference)) for node_id, reference in asked.items()}


def cpus_that_fit(wanted: int, *, n_gpus: int) -> int:
    """Of the CPUs that a task wants, as many as one node of the cluster has that also has its GPUs."""
    largest = max((int(node.n_cpus) for node in nodes_of(ray.nodes()) if node.n_gpus >= n_gpus), default=0)
    return max(1, min(wanted, largest))
