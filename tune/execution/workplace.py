"""What one process has at hand while it works on a study, and how it lets trials run there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from trainable.storage.remote_folder import RemoteFolder
from tune.cluster.placement import Placement
from tune.decisions.ends import Ends
from tune.decisions.trial_entries import TrialEntries
from tune.execution.conductor import Conductor, TrialResources
from tune.execution.interrupts import Interrupts
from tune.execution.local import run_local
from tune.execution.session import ComputeSession
from tune.execution.steering import Steering
from tune.extraction.request import Features
from tune.report.console import Console
from tune.study.search_request import SearchRequest
from tune.study.study import Study, written_or_told
from tune.study.study_data import StudyData


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """An open study, its data and features, and where trials run.

    placement: what a trial occupies on the cluster; None without Ray.
    """

    request: SearchRequest
    study: Study
    data: StudyData
    features: Features
    session: ComputeSession
    placement: Placement | None
    interrupts: Interrupts
    console: Console

    def conductor(self, work: TrialEntries, ends: Ends) -> Conductor:
        """Between this work and the executor."""
        options = self.request.options
        resources = TrialResources(
            data_folder=self.study.folder / "data",
            study_folder=self.study.folder,
            seed=options.seed,
            device=self.session.device,
            precision=options.precision,
            gpu_share=min(self.placement.gpus_per_trial or 1.0, 1.0) if self.placement else 1.0,
            n_threads=options.workers if options.local else max(1, int(options.cpus_per_trial)),
            reaches_adapters=self.request.space.reaches_adapters(),
        )
        say, searches = self.console.say, work is self.study.decisions
        steering = Steering(self.study, searches=searches, say=say)
        return Conductor(
            work, resources, ends=ends, say=say, undisturbed=self.interrupts.shield, heed=steering.heed
        )  # fmt: skip

    def run(self, conductor: Conductor, *, prepare: Callable[[], None]) -> None:
        """Run trials until the conductor ends; why it did, an error included, is known to it.

        prepare: writes what the trials read.
        """
        try:
            with written_or_told(self.study.folder):
                prepare()
            with self.interrupts.while_running(conductor.request_stop):
                self._execute(conductor)
        except KeyboardInterrupt:
            conductor.request_stop("interrupted")
        except Exception as error:
            conductor.break_off(error)

    def _execute(self, conductor: Conductor) -> None:
        folder = self.study.folder
        if self.placement is None:
            run_local(conductor)
            return
        from tune.execution.ray_shells import run_on_ray  # loads ray

        # Ray's own records of this session: nothing reads them afterwards
        scratch = Path(mkdtemp(prefix="sentinel-tune-ray-")) if isinstance(folder, RemoteFolder) else folder / "ray"
        try:
            run_on_ray(conductor, placement=self.placement, scratch=scratch, is_own=self.session.is_own)
        finally:
            rmtree(scratch, ignore_errors=True)
