"""Ray Tune as the executor: thin Searcher and TrialScheduler shells that pass everything to the conductor.

Ray places trials, reuses actors and notices dead nodes. It decides nothing and its state is disposable.
"""

import logging
import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune as ray_tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.ray_trial import TailTrainable
from trainable.trial import StepResult, TrialTask
from tune.cluster.left_out import NODE_LABEL, LeftOut
from tune.cluster.node_death import node_death, process_end
from tune.cluster.placement import Node, Placement, nodes_of
from tune.cluster.room import Room
from tune.execution.conductor import Conductor
from tune.measuring.memory import device_memory

RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # our device option decides, see `start_ray`
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


class Cluster:
    """The cluster that `start_ray` joined or started, as it is now."""

    def __init__(self, *, without: Collection[str] = ()) -> None:
        """without: IDs of nodes that do not count, looked at anew each time."""
        self._without = without

    def nodes(self) -> list[Node]:
        """Its living nodes."""
        return [node for node in nodes_of(ray.nodes()) if node.node_id not in self._without]

    def free(self) -> dict[str, float]:
        """What of all nodes together nobody uses."""
        found: dict[str, float] = ray.available_resources()
        return found


class _StudySearcher(Searcher):
    """Asks the conductor for tasks, as many as the cluster has room for."""

    def __init__(self, conductor: Conductor, room: Room) -> None:
        super().__init__()
        self._conductor = conductor
        self._room = room

    def suggest(self, trial_id: str) -> Any:
        if not self._room.is_there():
            return None
        task = self._conductor.next_task()
        if isinstance(task, TrialTask):
            self._room.taken(trial_id)
            return {"task": task}
        return Searcher.FINISHED if task == "finished" else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        del result, error
        self._room.left(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tuner pickles its parts at once; a conductor holds open files


class _Resources:
    """A trial's resources, away from nodes too small for its configuration and from those left out by now."""

    def __init__(self, placement: Placement, left_out: LeftOut) -> None:
        self._placement = placement
        self._left_out = left_out

    def __call__(self, task: TrialTask) -> Any:
        avoided = self._left_out.ids.union(self._placement.too_small_for(TrialConfig.from_dict(task.config)))
        elsewhere = {"bundle_label_selector": [{NODE_LABEL: f"!in({','.join(sorted(avoided))})"}]} if avoided else {}
        return ray_tune.PlacementGroupFactory([self._placement.bundle], **elsewhere)


class _StudyScheduler(FIFOScheduler):
    """Passes every result to the conductor and does what it says; tells it of workers that died."""

    def __init__(self, conductor: Conductor, room: Room, left_out: LeftOut, resources: _Resources) -> None:
        super().__init__()
        self._conductor = conductor
        self._room = room
        self._left_out = left_out
        self._resources = resources

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        trial.update_resources(self._resources(trial.config["task"]))

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        # Not by a callback: where there is one Ray imports mlflow, while the thread that writes to it does so, too.
        for trial in tune_controller.get_live_trials():
            if trial.status == trial.RUNNING:
                self._room.started(trial.trial_id)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        del tune_controller, trial
        step: StepResult = result["step"]
        if self._is_of_unfit_node(step, result):
            self._conductor.lost(step.trial_id, "its node cannot read the study's data", blameless=True)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.STOP if self._conductor.take(step) == "stop" else TrialScheduler.CONTINUE)

    def _is_of_unfit_node(self, step: StepResult, result: dict[str, Any]) -> bool:
        failure = step.failure
        return (
            failure is not None
            and failure["kind"] == "data"
            and self._left_out.add(result["node_id"], failure["message"])
        )

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_error(tune_controller, trial)
        task: TrialTask = trial.config["task"]
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        death = node_death(error, trial.run_metadata.last_result.get("node_id"))
        self._conductor.lost(task.trial_id, death or process_end(error), blameless=death is not None)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def start_ray(*, address: str | None, n_workers: int) -> None:
    """Connect to the cluster at `address` (or `RAY_ADDRESS`), or start Ray in this machine with `n_workers` CPUs.

    Raises: UserError when no cluster can be joined there.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in RAY_ENVIRONMENT.items()})
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        _join(address, options)
        return
    ray.init(address="local", num_cpus=n_workers, include_dashboard=False, object_store_memory=100 * 2**20, **options)


def _join(address: str, options: dict[str, Any]) -> None:
    rule = "`--address` must be that of a running Ray cluster"
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal() and "://" not in host:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=JOIN_SECONDS).close()
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        remedy = "" if "RAY_AUTH_MODE" in os.environ else "; if it asks for a token, set RAY_AUTH_MODE=token"
        raise UserError(f"{rule}, but joining {address} failed: {reason}{remedy}") from error


def run_on_ray(
    conductor: Conductor,
    *,
    placement: Placement,
    scratch: Path,
    trainable: type[ray_tune.Trainable] = TailTrainable,
) -> None:
    """Run the search to its end on the Ray that `start_ray` connected to.

    scratch: a folder for Ray's own records of this session, of no use afterwards. trainable: runs the tasks; takes and
    gives what `TailTrainable` does.
    """
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it shows a traceback when the disk is full
    # Tune would copy the driver's AWS keys into each trial's description, which Ray shows and logs; nodes have theirs
    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    left_out = LeftOut(conductor.notify)
    room = Room(placement, cluster=Cluster(without=left_out.ids), notify=conductor.notify)
    tuner = ray_tune.Tuner(
        trainable,  # the scheduler says what each trial occupies
        tune_config=ray_tune.TuneConfig(
            search_alg=_StudySearcher(conductor, room),
            scheduler=_StudyScheduler(conductor, room, left_out, _Resources(placement, left_out)),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=ray_tune.RunConfig(
            name="session",
            storage_path=str(scratch),
            verbose=0,
            failure_config=ray_tune.FailureConfig(max_failures=0),  # retries are the conductor's
            checkpoint_config=ray_tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()


def n_gpus() -> float:
    """GPUs of the cluster that `start_ray` joined or started."""
    return float(ray.cluster_resources().get("GPU", 0))


def gpu_memory(nodes: Sequence[Node]) -> dict[str, float]:
    """Node ID -> bytes of its first GPU, asked of every node that has one; empty where there is but one such node."""
    with_gpu = [node.node_id for node in nodes if node.resources.get("GPU", 0.0) > 0]
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
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    largest = max((int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) >= n_gpus), default=0)
    return max(1, min(wanted, largest))


def stop_ray() -> None:
    """Leave the cluster; a Ray that `start_ray` started ends with it."""
    ray.shutdown()
