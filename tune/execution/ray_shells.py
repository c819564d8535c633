"""Ray Tune as the executor: thin Searcher and TrialScheduler shells that pass everything to the conductor.

Ray places trials, reuses actors and notices dead nodes. It decides nothing and its state is disposable.
"""

import logging
from pathlib import Path

from ray import tune as ray_tune
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from trainable.config import TrialConfig
from trainable.failure import FailureKind
from trainable.ray_trial import TailTrainable, Travelling
from trainable.trial import StepResult, TrialTask
from tune.cluster.left_out import NODE_LABEL, LeftOutNodes
from tune.cluster.node_death import node_death, process_end
from tune.cluster.placement import Placement
from tune.cluster.ray_cluster import Cluster
from tune.cluster.room import Room
from tune.execution.conductor import Conductor


class _StudySearcher(Searcher):
    """Asks the conductor for tasks, as many as the cluster has room for."""

    def __init__(self, conductor: Conductor, room: Room) -> None:
        super().__init__()
        self._conductor = conductor
        self._room = room

    def suggest(self, trial_id: str) -> dict[str, TrialTask] | str | None:
        if not self._room.is_there():
            return None
        task = self._conductor.next_task()
        if isinstance(task, TrialTask):
            self._room.taken(trial_id)
            return {"task": task}
        return Searcher.FINISHED if task == "finished" else None

    def on_trial_complete(self, trial_id: str, result: Travelling | None = None, error: bool = False) -> None:
        del result, error
        self._room.left(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def __getstate__(self) -> dict[str, object]:
        return {}  # Tuner pickles its parts at once; a conductor holds open files


class _NothingReported(ray_tune.ProgressReporter):
    """What is seen of a search is ours to say; Ray's own for notebooks clears the cell, whatever its verbosity."""

    def should_report(self, trials: list[RayTrial], done: bool = False) -> bool:
        del trials, done
        return False

    def report(self, trials: list[RayTrial], done: bool, *sys_info: str) -> None:
        """Nothing."""


class _Resources:
    """A trial's resources, away from nodes too small for its configuration and from those left out by now."""

    def __init__(self, placement: Placement, left_out: LeftOutNodes) -> None:
        self._placement = placement
        self._left_out = left_out

    def __call__(self, task: TrialTask) -> ray_tune.PlacementGroupFactory:
        avoided = self._left_out.ids.union(self._placement.too_small_for(TrialConfig.from_dict(task.config)))
        elsewhere = {"bundle_label_selector": [{NODE_LABEL: f"!in({','.join(sorted(avoided))})"}]} if avoided else {}
        return ray_tune.PlacementGroupFactory([self._placement.bundle], **elsewhere)


class _StudyScheduler(FIFOScheduler):
    """Passes every result to the conductor and does what it says; tells it of workers that died."""

    def __init__(self, conductor: Conductor, room: Room, left_out: LeftOutNodes, resources: _Resources) -> None:
        super().__init__()
        self._conductor = conductor
        self._room = room
        self._left_out = left_out
        self._resources = resources

    def on_trial_add(self, tune_controller: TuneController, trial: RayTrial) -> None:
        super().on_trial_add(tune_controller, trial)
        trial.update_resources(self._resources(trial.config["task"]))

    def choose_trial_to_run(self, tune_controller: TuneController) -> RayTrial | None:
        # Not by a callback: where there is one Ray imports mlflow, while the thread that writes to it does so, too.
        for trial in tune_controller.get_live_trials():
            if trial.status == trial.RUNNING:
                self._room.started(trial.trial_id)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: TuneController, trial: RayTrial, result: Travelling) -> str:
        del tune_controller, trial
        step = result["step"]
        if self._is_of_unfit_node(step, result):
            self._conductor.lost(step.trial_id, "its node cannot read the study's data", blameless=True)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.STOP if self._conductor.take(step) == "stop" else TrialScheduler.CONTINUE)

    def _is_of_unfit_node(self, step: StepResult, result: Travelling) -> bool:
        failure = step.failure
        return (
            failure is not None
            and failure.kind is FailureKind.DATA
            and self._left_out.add(result["node_id"], failure.message)
        )

    def on_trial_error(self, tune_controller: TuneController, trial: RayTrial) -> None:
        super().on_trial_error(tune_controller, trial)
        task: TrialTask = trial.config["task"]
        error = Path(trial.error_file).read_text() if trial.error_file else ""
        death = node_death(error, trial.run_metadata.last_result.get("node_id"))
        self._conductor.lost(task.trial_id, death or process_end(error), blameless=death is not None)

    def __getstate__(self) -> dict[str, object]:
        return {}


def run_on_ray(
    conductor: Conductor,
    *,
    placement: Placement,
    scratch: Path,
    is_own: bool = False,
    trainable: type[ray_tune.Trainable] = TailTrainable,
) -> None:
    """Run the search to its end on the Ray cluster that this process has joined.

    scratch: a folder for Ray's own records of this session, of no use afterwards. is_own: nobody else uses
    that cluster. trainable: runs the tasks; takes and
    gives what `TailTrainable` does.
    """
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it shows a traceback when the disk is full
    # Tune would copy the driver's AWS keys into each trial's description, which Ray shows and logs; nodes have theirs
    class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
    left_out = LeftOutNodes(conductor.say)
    room = Room(placement, cluster=Cluster(without=left_out.ids, is_own=is_own), say=conductor.say)
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
            progress_reporter=_NothingReported(),
            failure_config=ray_tune.FailureConfig(max_failures=0),  # retries are the conductor's
            checkpoint_config=ray_tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()
