"""One search, from start or resume to its result: check, extract, try, stop early, compare.

sentinel-tune search [OPTIONS], python -m tune search [OPTIONS], or ray submit cluster.yaml tune/search.py -- [OPTIONS].
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from tune.conductor import Conductor, TrialResources
from tune.console import Console
from tune.decisions.ends import Ends, EndState, deadline_in
from tune.extraction import Features, make_features
from tune.interrupts import Interrupts
from tune.journal import StudyWriteError
from tune.report.standings import Standings
from tune.search_request import SearchRequest, search_request
from tune.session import compute_session, request_for
from tune.study import Study, check_data, open_study, written_or_told
from tune.study_data import StudyData, load_study_data, write_trial_data
from tune.tracking.tracker import Tracker, TrackingStatus
from tune.tracking.uri import chosen_tracking_uri

if TYPE_CHECKING:
    from tune.command_line import Given
    from tune.ray_shells import Placement

EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
TRACKING_GRACE_SECONDS = 60.0
IMPATIENT_GRACE_SECONDS = 20.0
"""After a Ctrl-C while waiting: enough for a server that answers to hear how the trials ended."""


def run(given: "Given") -> int:
    """Run the verb; returns the exit status: 0 finished, 1 no trial succeeded, 130 interrupted (resumable)."""
    started = time.monotonic()
    request = search_request(given)
    options, console = request.options, Console(json=request.options.json)
    ends = Ends(deadline=deadline_in(options.time_budget), target_score=options.target_score, plateau=options.plateau)
    tracking_uri = chosen_tracking_uri(options.tracking_uri)
    data = load_study_data(options, options, console)
    check_data(request, data)
    if request.is_finished:
        return _show_again(request, tracking_uri, console, started)
    with compute_session(options) as device:
        placement = _placement(request, device)
        features = _features(request, data, device, console)
        with (
            Interrupts(console.say) as interrupts,
            open_study(request, data, features.backbone_fingerprint, tracking_uri, console.say) as study,
        ):
            tracker = _follow(study, tracking_uri, options.experiment, console)
            conductor = _conductor(study, request, device, ends, interrupts, console)
            _run_trials(conductor, study, data, features, placement, interrupts)
            _end(conductor, study, tracker)
            tracking = _close(tracker, interrupts)
            console.search_result(study.events(), study.folder, tracking, tracking_uri, since=started)
    if conductor.error is not None:
        raise conductor.error
    return _exit_status(conductor.state, has_best=study.decisions.best() is not None)


def _show_again(request: SearchRequest, tracking_uri: str, console: Console, started: float) -> int:
    """The result of a study that has nothing left to do; its journal stays as it is, MLflow is brought up to it."""
    standings = Standings.of(request.past)
    console.say(f"{request.folder} is finished: all its {standings.n_told} trials have ended; --trials N runs more")
    tracker = Tracker(tracking_uri, request.options.experiment, study_id=str(standings.study_id))
    for event in request.past:
        tracker.handle(event)
    tracking = tracker.close(TRACKING_GRACE_SECONDS)
    console.search_result(request.past, request.folder, tracking, tracking_uri, since=started)
    return _exit_status("completed", has_best=standings.best() is not None)


def _placement(request: SearchRequest, device: str) -> "Placement | None":
    """What a trial occupies on the cluster, checked against it; None without Ray."""
    options = request.options
    if options.local:
        return None
    from tune.ray_shells import Placement, check_resources, n_slots

    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(device == "cuda")
    placement = Placement(cpus_per_trial=options.cpus_per_trial, gpus_per_trial=gpus, max_concurrent=1)
    check_resources(placement)
    slots = n_slots(placement)
    return replace(placement, max_concurrent=min(slots, options.max_concurrent or slots))


def _features(request: SearchRequest, data: StudyData, device: str, console: Console) -> Features:
    """The features that trials read, extracted now or before."""
    wanted = request_for(request.options, data.specimens, n_blocks=request.space.reachable_blocks(), device=device)
    if request.is_resume:
        wanted = replace(wanted, backbone_fingerprint=request.header["backbone_fingerprint"])
    features = make_features(wanted, on_ray=not request.options.local, tell=console.extraction)
    console.features(features)
    return features


def _follow(study: Study, tracking_uri: str, experiment: str, console: Console) -> Tracker:
    """Let MLflow and the terminal follow the journal, from its first event on."""
    tracker = Tracker(tracking_uri, experiment, study_id=study.study_id)
    for event in study.events():
        tracker.handle(event)
        console.past(event)
    study.journal.subscribe(tracker.handle)
    study.journal.subscribe(console.handle)
    return tracker


def _conductor(
    study: Study, request: SearchRequest, device: str, ends: Ends, interrupts: Interrupts, console: Console
) -> Conductor:
    options = request.options
    resources = TrialResources(
        data_folder=study.folder / "data",
        study_folder=study.folder,
        seed=options.seed,
        device=device,
        n_threads=options.workers if options.local else max(1, int(options.cpus_per_trial)),
    )
    return Conductor(study.decisions, resources, ends=ends, notify=console.say, undisturbed=interrupts.shield)


def _run_trials(
    conductor: Conductor,
    study: Study,
    data: StudyData,
    features: Features,
    placement: "Placement | None",
    interrupts: Interrupts,
) -> None:
    """Run trials until the search ends; why it did, an error included, is known to the conductor."""
    try:
        with written_or_told(study.folder):
            write_trial_data(data, features, study.folder / "data")
        with interrupts.while_running(conductor.request_stop):
            _execute(conductor, placement, study.folder)
    except KeyboardInterrupt:
        conductor.request_stop("interrupted")
    except Exception as error:
        conductor.break_off(error)


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


def _end(conductor: Conductor, study: Study, tracker: Tracker) -> None:
    """Leave no trial marked as running: not in the journal, nor in MLflow when the journal cannot be written."""
    try:
        conductor.pause_all(conductor.end_reason)
        study.end(conductor.end_reason, conductor.state)
    except StudyWriteError as error:
        conductor.break_off(error)
        unwritten = {"event": "end", "time": time.time(), "reason": conductor.end_reason, "state": conductor.state}
        tracker.handle(unwritten)


def _close(tracker: Tracker, interrupts: Interrupts) -> TrackingStatus:
    """Wait for MLflow to have it all, until the user is tired of it."""
    try:
        with interrupts.while_waiting():
            return tracker.close(TRACKING_GRACE_SECONDS)
    except KeyboardInterrupt:
        return tracker.close(IMPATIENT_GRACE_SECONDS)


def _exit_status(state: EndState, *, has_best: bool) -> int:
    if state == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_DONE if state == "completed" and has_best else EXIT_FAILED


if __name__ == "__main__":
    from tune.cli import main

    sys.exit(main(["search", *sys.argv[1:]]))
