"""Figure 13: what a result costs the driver of 8 workers, over 500 trials whose epochs cost nothing.

On real Ray with 8 logical CPUs, through our searcher, scheduler, conductor, decisions and journal with fsync. The
proposals are drawn beforehand: what TPE takes for an ask is `decisions.py`'s to say. On few cores the driver shares
them with the workers, so its CPU time is what travels; the rate is a lower bound.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.figure import Figure, Value
from benchmarks.growth import slope
from benchmarks.recorder import rss_mb
from benchmarks.setting import Setting
from benchmarks.trivial_trainable import TrivialTrainable
from search_spaces.space import SearchSpace
from trainable.config import TrialConfig
from tune.cluster.placement import Placement
from tune.cluster.ray_cluster import ray_session
from tune.decisions.decisions import Decisions
from tune.decisions.sampler import sampler_description
from tune.execution.conductor import Conductor, TrialResources
from tune.execution.ray_shells import run_on_ray
from tune.journal.entries import EpochReported, JournalEntry, SessionBegun, TrialTold
from tune.journal.journal import Journal

N_WORKERS = 8


def measure(setting: Setting) -> list[Figure]:
    """One figure: the driver's CPU milliseconds a result."""
    n_trials, n_epochs = setting.sized(500, 24), 3
    memory: list[float] = []
    reports: list[float] = []

    def note(entry: JournalEntry) -> None:
        if isinstance(entry, TrialTold):
            memory.append(rss_mb())
        elif isinstance(entry, EpochReported):
            reports.append(time.monotonic())

    with tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as name:
        folder, space = Path(name), SearchSpace.load("smoke")
        header = {
            "seed": 0, "n_trials": n_trials, "max_epochs": n_epochs, "grace_epochs": 1, "reduction_factor": 3,
            "queue": _queue(n_trials, n_epochs), "sampler": sampler_description(), "space": space.to_dict(),
        }  # fmt: skip
        with (
            ray_session(address=None, n_workers=N_WORKERS),
            Journal.create(folder, header, study_id=folder.name) as journal,
        ):
            journal.subscribe(note)
            decisions = Decisions(space, header, on_entry=journal.append)
            decisions.begin_session(SessionBegun(n_trials=n_trials))
            resources = TrialResources(
                data_folder=folder / "data", study_folder=folder, seed=0, device="cpu", n_threads=1
            )
            conductor = Conductor(decisions, resources, say=print)
            placement = Placement(cpus_per_trial=1.0, gpus_per_trial=0.0, max_concurrent=N_WORKERS)
            before = time.process_time()
            run_on_ray(conductor, placement=placement, scratch=folder / "ray", trainable=TrivialTrainable)
            cpu_seconds = time.process_time() - before
    if conductor.error is not None:
        raise conductor.error
    late = reports[len(reports) // 2 :]
    return [
        Figure(
            number=13,
            name="driver's CPU time a result, 8 workers, ms",
            ratio=1e3 * cpu_seconds / len(reports),
            parts=(
                Value("trials", len(memory)),
                Value("results", len(reports)),
                Value("wall a result", 1e3 * (late[-1] - late[0]) / (len(late) - 1), "ms"),
                Value("results/s", (len(late) - 1) / (late[-1] - late[0])),
                Value("driver's memory", memory[-1], "MB"),
                Value("growth a trial", slope(memory), "MB"),
            ),
        )
    ]


def _queue(n_trials: int, n_epochs: int) -> list[dict[str, object]]:
    """Comparisons, which the sampler is not told; told apart by their learning rate."""
    config = TrialConfig(epochs=n_epochs)
    return [
        {"origin": f"compare:c{i}", "config": config.with_values({"optim.lr": 1e-4 * (1 + i / n_trials)}).to_dict()}
        for i in range(n_trials)
    ]
