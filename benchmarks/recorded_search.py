"""A real search on real Ray in two slots, every step of it recorded: what figures 8, 9 and 12 are read from."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.backbones import random_backbone
from benchmarks.inputs import random_trial_data
from benchmarks.recorder import RecordingTrainable, Step, read_steps, rss_mb
from benchmarks.setting import Setting
from search_spaces.space import SearchSpace
from tune.cluster.placement import Placement
from tune.cluster.ray_cluster import ray_session
from tune.decisions.decisions import Decisions
from tune.decisions.proposals import starting_queue
from tune.decisions.sampler import sampler_description
from tune.execution.conductor import Conductor, TrialResources
from tune.execution.ray_shells import run_on_ray
from tune.journal.entries import SessionBegun, TrialTold
from tune.journal.journal import Journal, read_entries
from tune.study.optuna_journal import optuna_projection
from tune.tracking.tracker import Tracker

N_SLOTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSearch:
    """processes: the steps of each worker. driver_rss_mb: of the driver when each trial was told."""

    processes: list[list[Step]]
    driver_rss_mb: list[float]

    @property
    def wall(self) -> float:
        """Seconds from the first step's begin to the end of the last one."""
        steps = [step for steps in self.processes for step in steps]
        return max(step.ended for step in steps) - min(step.began for step in steps)


@cache
def recorded_search(setting: Setting) -> RecordedSearch:
    """ASHA over the space `smoke` with TPE, journal with fsync, optuna.log and MLflow, as users run it.

    The backbone is the first of the setting's, its features are random.
    """
    space = SearchSpace.load("smoke")
    backbone = random_backbone(setting.backbones[0], "cpu")
    tap = backbone.architecture.n_blocks - max(space.reachable_blocks())
    with (
        tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as name,
        random_trial_data(backbone, tap=tap, n=setting.sized(1024, 256)) as data,
    ):
        folder = Path(name)
        data.save(folder / "data")
        with ray_session(address=None, n_workers=N_SLOTS):
            memory = _search(space, folder, setting)
        return RecordedSearch(processes=read_steps(folder / "checkpoints"), driver_rss_mb=memory)


def _search(space: SearchSpace, folder: Path, setting: Setting) -> list[float]:
    n_trials, n_epochs = setting.sized(36, 5), setting.sized(9, 2)
    header = _header(space, n_trials=n_trials, n_epochs=n_epochs)
    journal = Journal.create(folder, header, study_id=folder.name)
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", "benchmark", study_id=folder.name)
    memory: list[float] = []
    with journal, ExitStack() as stack:
        for entry in read_entries(folder):
            tracker.handle(entry)
        projection = stack.enter_context(optuna_projection(folder, space, journal.entries(), say=print))
        journal.subscribe(projection.handle)
        journal.subscribe(tracker.handle)
        journal.subscribe(lambda entry: memory.append(rss_mb()) if isinstance(entry, TrialTold) else None)
        decisions = Decisions(space, header, on_entry=journal.append)
        decisions.begin_session(SessionBegun(n_trials=n_trials))
        resources = TrialResources(
            data_folder=folder / "data",
            study_folder=folder,
            seed=0,
            device="cpu",
            n_threads=1,
            reaches_adapters=space.reaches_adapters(),
        )
        conductor = Conductor(decisions, resources, say=print)
        placement = Placement(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=N_SLOTS)
        run_on_ray(conductor, placement=placement, scratch=folder / "ray", trainable=RecordingTrainable)
    tracker.close()
    if conductor.error is not None:
        raise conductor.error
    return memory


def _header(space: SearchSpace, *, n_trials: int, n_epochs: int) -> dict[str, Any]:
    return {
        "seed": 0, "n_trials": n_trials, "max_epochs": n_epochs, "grace_epochs": 1, "reduction_factor": 3,
        "queue": starting_queue(space, n_epochs), "sampler": sampler_description(), "space": space.to_dict(),
    }  # fmt: skip
