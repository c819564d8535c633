"""One search, from start or resume to its result: check, extract, try, stop early, compare.

sentinel-tune search [OPTIONS], python -m tune search [OPTIONS], or ray submit cluster.yaml tune/search.py -- [OPTIONS].
"""

import os
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from search_spaces.space import SearchSpace
from tune.conductor import Conductor, TrialResources, deadline_in
from tune.console import Console
from tune.extraction import make_features
from tune.interrupts import gentle_interrupts
from tune.options import SearchOptions
from tune.session import compute_session, request_for
from tune.study import Study, open_study, resume_options
from tune.study_data import load_study_data, write_trial_data
from tune.tracking import Tracker
from tune.tracking_uri import check_uri, default_tracking_uri

if TYPE_CHECKING:
    from tune.command_line import Given
    from tune.ray_shells import Placement

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
TRACKING_GRACE_SECONDS = 60.0


def run(given: "Given") -> int:
    """Run the verb; returns the exit status: 0 finished, 1 no trial succeeded, 130 interrupted (resumable)."""
    started = time.monotonic()
    options = _options(given)
    console = Console(json=options.json)
    space = SearchSpace.load(options.space)
    tracking_uri = _tracking_uri(options)
    data = load_study_data(options, options, console)
    with compute_session(options) as device:
        placement = _placement(options, device)
        request = request_for(options, data.specimens, n_blocks=space.reachable_blocks(), device=device)
        features = make_features(request, on_ray=not options.local, tell=console.extraction)
        console.features(features)
        with open_study(options, space, data, features.backbone_fingerprint, console.say) as study:
            write_trial_data(data, features, study.folder / "data")
            tracker = _follow(study, tracking_uri, options.experiment, console)
            reason = _run_trials(study, options, placement, device, console)
            tracking = tracker.close(TRACKING_GRACE_SECONDS)
    console.search_result(study, tracking, tracking_uri, seconds=time.monotonic() - started)
    return _exit_status(study, reason)


def _options(given: "Given") -> SearchOptions:
    if given.values.get("resume") is not None:
        return resume_options(given)
    options: SearchOptions = given.options()
    if options.study is None:
        name = f"{Path(options.space).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        options = replace(options, study=Path("studies", name))
    return options


def _tracking_uri(options: SearchOptions) -> str:
    here = Path.cwd()
    wanted = options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    return check_uri(wanted, cwd=here) if wanted else default_tracking_uri(here)


def _placement(options: SearchOptions, device: str) -> "Placement | None":
    """What a trial occupies on the cluster, checked against it; None without Ray."""
    if options.local:
        return None
    from tune.ray_shells import Placement, check_resources, n_slots

    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(device == "cuda")
    placement = Placement(cpus_per_trial=options.cpus_per_trial, gpus_per_trial=gpus, max_concurrent=1)
    check_resources(placement)
    slots = n_slots(placement)
    return replace(placement, max_concurrent=min(slots, options.max_concurrent or slots))


def _follow(study: Study, tracking_uri: str, experiment: str, console: Console) -> Tracker:
    """Let MLflow and the terminal follow the journal, from its first event on."""
    tracker = Tracker(tracking_uri, experiment, study_id=study.study_id)
    for event in study.events():
        tracker.handle(event)
        console.past(event)
    study.journal.subscribe(tracker.handle)
    study.journal.subscribe(console.handle)
    return tracker


def _run_trials(
    study: Study, options: SearchOptions, placement: "Placement | None", device: str, console: Console
) -> str:
    """Run trials until the search ends; returns why it did."""
    resources = TrialResources(
        data_folder=study.folder / "data",
        study_folder=study.folder,
        seed=options.seed,
        device=device,
        n_threads=max(1, int(options.cpus_per_trial)) if placement else options.workers,
    )
    conductor = Conductor(study.decisions, resources, deadline=deadline_in(options.time_budget), notify=console.say)
    try:
        with gentle_interrupts(conductor.request_stop, console.say):
            _execute(conductor, placement, study.folder)
        reason = conductor.stop_reason or "finished"
    except KeyboardInterrupt:
        reason = "interrupted"
    conductor.pause_all(reason)
    study.end(reason)
    return reason


def _execute(conductor: Conductor, placement: "Placement | None", folder: Path) -> None:
    if placement is None:
        from tune.local import run_local

        run_local(conductor, data_folder=folder / "data")
        return
    from tune.ray_shells import run_on_ray

    scratch = folder / "ray"  # Ray's own records of this session: nothing reads them afterwards
    try:
        run_on_ray(conductor, placement=placement, scratch=scratch)
    finally:
        rmtree(scratch, ignore_errors=True)


def _exit_status(study: Study, reason: str) -> int:
    if reason == "interrupted":
        return EXIT_INTERRUPTED
    failed = "all failed" in reason or study.decisions.best() is None
    return EXIT_FAILED if failed else EXIT_DONE


if __name__ == "__main__":
    from tune.cli import main

    sys.exit(main(["search", *sys.argv[1:]]))
