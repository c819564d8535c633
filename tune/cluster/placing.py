"""From options to a placement: checked against the cluster, and measured where it is to be found out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from search_spaces.space import SearchSpace
from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.errors import UserError
from tune.cluster.node import Node
from tune.cluster.placement import MemoryNeeds, Placement, check_placement
from tune.command_line.options import SearchOptions
from tune.command_line.trial_resources import parse_resources
from tune.measuring.corners import corners
from tune.measuring.costs import Costs
from tune.measuring.fresh_process import OnRay
from tune.measuring.step_probe import measure


def make_placement(options: SearchOptions, device: str) -> Placement | None:
    """What a trial occupies on the cluster that was joined; None without Ray. `auto` is a whole GPU until measured.

    Raises: UserError for what no node could ever run, or a device without its GPU.
    """
    if problems := _contradictions(options, device):
        raise UserError(problems)
    if options.local:
        return None
    from tune.cluster.ray_cluster import Cluster  # loads ray

    asked = options.gpus_per_trial
    placement = Placement(
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=float(device == "cuda") if asked is None or asked == "auto" else asked,
        resources=parse_resources(options.trial_resources),
        max_concurrent=options.max_concurrent,
    )
    check_placement(placement, Cluster().nodes())
    return placement


def fitted(
    placement: Placement,
    options: SearchOptions,
    space: SearchSpace,
    store: Path,
    *,
    task: Task,
    device: str,
    say: Callable[[str], None],
) -> tuple[Placement, str]:
    """The placement once features are there to measure on: the share of a GPU where it is `auto`, and, where nodes
    differ in memory, what configurations need. Also the reason of the share, empty where it was given.

    Where all nodes are alike and the share is given nothing is measured. task: the study's.
    """
    from tune.cluster.ray_cluster import Cluster, gpu_memory  # loads ray

    reason = ""
    if options.gpus_per_trial == "auto":
        placement, reason = _with_measured_share(placement, options, space, store, task)
        say(f"--gpus-per-trial auto: {placement.gpus_per_trial:g}: {reason}")
    nodes = Cluster().nodes()
    if device == "cuda":
        memory = gpu_memory(nodes)
        nodes = [replace(node, memory_bytes=memory.get(node.node_id, 0.0)) for node in nodes]
    if not placement.differs(nodes):
        return placement, reason
    costs = _measured_costs(placement, options, space, store, task=task, device=device, say=say)
    say("nodes differ in memory: trials go where their configurations fit")
    return replace(placement, needs=MemoryNeeds(costs=costs, nodes=tuple(n for n in nodes if n.memory_bytes))), reason


def _contradictions(options: SearchOptions, device: str) -> list[str]:
    problems = []
    if device != "cuda" and options.gpus_per_trial == "auto":
        problems.append(
            "`--gpus-per-trial auto` must have a CUDA device to measure on, but trials run on a CPU; give a number or "
            "leave it out"
        )
    if device == "cuda" and options.gpus_per_trial == 0 and not options.local:
        problems.append("`--gpus-per-trial > 0` must hold for trials on CUDA, but got 0; a fraction shares a GPU")
    return problems


def _with_measured_share(
    placement: Placement, options: SearchOptions, space: SearchSpace, store: Path, task: Task
) -> tuple[Placement, str]:
    from trainable.frozen.features import FeatureStore  # loads torch, as gpu_share; ray_cluster loads ray
    from tune.cluster.gpu_share import COUNTS, choose_share, measure_shares
    from tune.cluster.ray_cluster import Cluster

    largest = corners(space, FeatureStore.open(store).architecture, epochs=options.epochs).largest
    counts = [n for n in COUNTS if n == 1 or _has_cpus_for(n, placement, Cluster().nodes())]
    measured, gpu_bytes = measure_shares(
        store,
        largest.to_dict(),
        task=task,
        n_trainings=options.trainings,
        cpus_per_trial=options.cpus_per_trial,
        precision=options.precision,
        counts=counts,
    )
    share = choose_share(measured, gpu_bytes=gpu_bytes)
    return replace(placement, gpus_per_trial=share.gpus_per_trial), share.reason


def _has_cpus_for(n: int, placement: Placement, nodes: list[Node]) -> bool:
    with_gpu = [node.n_cpus for node in nodes if node.n_gpus >= 1]
    return max(with_gpu, default=0.0) >= n * placement.cpus_per_trial


def _measured_costs(
    placement: Placement,
    options: SearchOptions,
    space: SearchSpace,
    store: Path,
    *,
    task: Task,
    device: str,
    say: Callable[[str], None],
) -> Costs:
    from trainable.frozen.features import FeatureStore  # loads torch

    architecture = FeatureStore.open(store).architecture
    ends = corners(space, architecture, epochs=options.epochs)
    steps = OnRay(say)(
        measure, store, _plain(ends.smallest, ends.largest), device, max(1, int(placement.cpus_per_trial)),
        options.precision, task, options.trainings,
        cpus=placement.cpus_per_trial, gpus=placement.gpus_per_trial,
    )  # fmt: skip
    return Costs(architecture, steps.measured[0], steps.measured[-1])


def _plain(*configs: TrialConfig) -> list[dict[str, object]]:
    return [config.to_dict() for config in configs]
