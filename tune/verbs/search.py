"""One search, from start or resume to its result: check, extract, try, stop early, compare.

sentinel-tune search [OPTIONS]
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trainable.counts import counted
from trainable.storage.place import Place
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.confirming.choice import reserved, thin_evidence
from tune.confirming.runs import Confirmation
from tune.decisions.ends import Ends, EndState, deadline_in
from tune.decisions.standings import Standings
from tune.execution.conductor import Conductor
from tune.execution.confirming import confirm
from tune.execution.interrupts import EXIT_INTERRUPTED, Interrupts
from tune.execution.library_log import LibraryLog, libraries_logged
from tune.execution.opening import Opening, opened
from tune.execution.session import check_device
from tune.execution.workplace import Workplace
from tune.extraction.extraction import make_features
from tune.extraction.request import Features
from tune.journal.entries import JournalEntry, SessionEnded
from tune.journal.errors import StudyMovedError, StudyWriteError
from tune.planning.reachable import tracking_problem
from tune.planning.summary import summary
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.report.next_steps import of_session, sync_command
from tune.report_page.kept_files import kept_files
from tune.study.search_request import SearchRequest, search_request
from tune.study.study import Study, check_data, open_study
from tune.study.study_data import StudyData, load_search_data, write_trial_data
from tune.tracking.client import describe
from tune.tracking.tracker import Tracker, TrackingStatus
from tune.tracking.uri import chosen_tracking_uri

EXIT_DONE, EXIT_FAILED = 0, 1
TRACKING_GRACE_SECONDS = 60.0
IMPATIENT_GRACE_SECONDS = 20.0
"""After a Ctrl-C while waiting: enough for a server that answers to hear how the trials ended."""


def run(given: Given) -> int:
    """Run the verb; returns the exit status: 0 finished, 1 no trial succeeded, 130 interrupted (resumable)."""
    return run_study(given, search_more=True)


def run_study(given: Given, *, search_more: bool) -> int:
    """Search unless told not to, then confirm unless told not to; returns the exit status.

    given: of `SearchOptions`.
    """
    started = time.monotonic()
    request = search_request(given)
    console = Console(json=request.options.json)
    with libraries_logged(console.say) as library_log:
        return _run(request, console, library_log, started, search_more=search_more)


def _run(
    request: SearchRequest, console: Console, library_log: LibraryLog, started: float, *, search_more: bool
) -> int:
    options = request.options
    times = Times.of(options, search_more=search_more, now=time.time())
    tracking_uri = chosen_tracking_uri(options.tracking_uri)
    check_device(options)
    data = load_search_data(options, console, request.task)
    check_data(request, data)
    request = request.fitted_to(data.specimens.task, n_folds=data.n_folds, say=console.say)
    if search_more and request.is_finished:
        return _show_again(request, tracking_uri, console, started)
    _say_what_comes(request, data, tracking_uri, console, search_more=search_more)
    with opened(request, data, console.say) as opening:
        if search_more:
            console.say(summary(opening.request, data, opening.placement))
        features = _features(opening, console)
        with _workplace(opening.fitted(features.path, console.say), features, tracking_uri, console) as place:
            library_log.write_to(place.study.folder)
            tracker = _follow(place, tracking_uri)
            conductor = _work(place, times, search_more=search_more)
            _end(conductor, place.study, tracker)
            if conductor.state != "interrupted" and conductor.error is None:
                _attach_report(tracker, request.folder, place.study.entries(), console)
            tracking = _close(place, tracker)
            _show(place, conductor, tracking, tracking_uri, started)
    if conductor.error is not None:
        raise conductor.error
    return _exit_status(conductor.state, has_best=place.study.decisions.best() is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Unix seconds at which a budget of time is spent: the search's own part, and all of it; None without one."""

    search: float | None
    all: float | None

    @classmethod
    def of(cls, options: SearchOptions, *, search_more: bool, now: float) -> "Times":
        """now: when the work begins."""
        budget = options.time_budget
        share = 0.0 if options.no_confirm or not search_more else options.confirm_share
        own = None if budget is None else budget * (1 - share)
        return cls(search=deadline_in(own, clock=lambda: now), all=deadline_in(budget, clock=lambda: now))


def _work(place: Workplace, times: Times, *, search_more: bool) -> Conductor:
    """Search and confirm; the conductor of the last of the two knows how it ended."""
    options, decisions = place.request.options, place.study.decisions
    ends = Ends(deadline=times.search, target_score=options.target_score, plateau=options.plateau)
    conductor = place.conductor(decisions, ends)
    if search_more:
        place.run(conductor, prepare=lambda: write_trial_data(place.data, place.features, place.study.folder / "data"))
        _pause(conductor)
        if options.no_confirm or conductor.state != "completed" or decisions.best() is None:
            return conductor
    try:
        confirming = confirm(place, deadline=times.all)
    except Exception as error:  # what was done is still written up, and MLflow told
        conductor.break_off(error)
        return conductor
    if confirming.state == "completed" and search_more:
        return conductor  # its reason is what ended the search
    return confirming


def _show_again(request: SearchRequest, tracking_uri: str, console: Console, started: float) -> int:
    """The result of a study that has nothing left to do; its journal stays as it is, MLflow is brought up to it."""
    standings = Standings.of(request.past)
    console.say(
        f"{request.folder} is finished: all its {counted(standings.n_told, 'trial')} have ended; --trials N runs more"
    )
    if failed := Confirmation.replay(request.past).mendable():
        command = next_command("confirm", request.folder, **of_session(request.options))
        console.say(f"{counted(len(failed), 'run')} of its confirmation failed: mend the cause and run `{command}`")
    tracker = Tracker(tracking_uri, request.options.experiment, study_id=str(standings.study_id), study=request.folder)
    for entry in request.past:
        tracker.handle(entry)
    _attach_report(tracker, request.folder, list(request.past), console)
    tracking = tracker.close(TRACKING_GRACE_SECONDS)
    console.search_result(
        request.past, request.folder, tracking, tracking_uri, request.options, since=started, now_in=request.folder
    )
    return _exit_status("completed", has_best=standings.best() is not None)


def _say_what_comes(
    request: SearchRequest, data: StudyData, tracking_uri: str, console: Console, *, search_more: bool
) -> None:
    """What is kept for the confirmation, and whether MLflow can be reached."""
    if search_more and not request.options.no_confirm:
        console.say(reserved(data.specimens.frame, request.options))
        if (thin := thin_evidence(data.specimens.frame, request.options, is_begun=request.is_resume)) is not None:
            console.say(thin)
    if (problem := tracking_problem(tracking_uri)) is not None:
        console.say(f"warning: {problem}; the search goes on without, and `sentinel-tune sync` sends them later")


def _features(opening: Opening, console: Console) -> Features:
    """The features that trials read, extracted now or before."""
    request, wanted = opening.request, opening.wanted_features()
    if request.is_resume:
        wanted = wanted.of_study(request.header)
    opening.check_nodes(wanted)
    features = make_features(wanted, on_ray=not request.options.local, tell=console.extraction)
    console.features(features)
    return features


@contextmanager
def _workplace(opening: Opening, features: Features, tracking_uri: str, console: Console) -> Iterator[Workplace]:
    """The study, begun or resumed, open until the end of the block; signals end the work in order meanwhile."""
    request, data, session = opening.request, opening.data, opening.session
    with (
        console.showing(),
        Interrupts(console.say, death=session.death) as interrupts,
        open_study(request, data, features, tracking_uri, console.say, device=session.device) as study,
    ):
        yield Workplace(
            request=request, study=study, data=data, features=features, session=session, placement=opening.placement,
            interrupts=interrupts, console=console,
        )  # fmt: skip


def _follow(place: Workplace, tracking_uri: str) -> Tracker:
    """Let MLflow and the terminal follow the journal, from its first entry on."""
    study, console = place.study, place.console
    tracker = Tracker(tracking_uri, place.request.options.experiment, study_id=study.study_id, study=study.folder)
    for entry in study.entries():
        tracker.handle(entry)
        console.past(entry)
    study.journal.subscribe(tracker.handle, name="MLflow")
    study.journal.subscribe(console.handle, name="the list of epochs")
    place.session.give_up = lambda reason: _give_up(place, tracker, reason)
    return tracker


def _pause(conductor: Conductor) -> None:
    """Leave no trial marked as running in the journal, however the executor ended."""
    try:
        conductor.pause_all(conductor.end_reason)
    except StudyWriteError as error:
        conductor.break_off(error)


def _end(conductor: Conductor, study: Study, tracker: Tracker) -> None:
    """Say why the work ended: in the journal, or at least to MLflow when the journal cannot be written."""
    try:
        study.end(conductor.end_reason, conductor.state)
    except StudyWriteError as error:
        conductor.break_off(error)
        tracker.handle(SessionEnded(time=time.time(), reason=conductor.end_reason, state=conductor.state))


def _attach_report(tracker: Tracker, folder: Place, entries: list[JournalEntry], console: Console) -> None:
    """The study's page and figures beside its records; what was found is not lost where it cannot be drawn."""
    try:
        for path, content in kept_files(folder, entries).items():
            tracker.attach(path, content)
    except Exception as error:
        console.say(f"warning: MLflow gets no report of the study, since it could not be made: {describe(error)}")


def _close(place: Workplace, tracker: Tracker) -> TrackingStatus:
    """Wait for MLflow to have it all, until the user is tired of it."""
    try:
        with place.interrupts.while_waiting():
            return tracker.close(TRACKING_GRACE_SECONDS)
    except KeyboardInterrupt:
        sync = sync_command(place.request.options, place.study.folder)
        wait = f"for at most {IMPATIENT_GRACE_SECONDS:g} s"
        place.console.say(f"ending: MLflow is told how the trials ended, {wait}; what it lacks then, `{sync}` brings")
        return tracker.close(IMPATIENT_GRACE_SECONDS)


def _show(place: Workplace, conductor: Conductor, tracking: TrackingStatus, tracking_uri: str, started: float) -> None:
    """The result, with the folder in which the study lies now."""
    study, error = place.study, conductor.error
    place.console.search_result(
        study.entries(), study.folder, tracking, tracking_uri, place.request.options,
        since=started, now_in=error.now if isinstance(error, StudyMovedError) else study.folder,
    )  # fmt: skip


def _give_up(place: Workplace, tracker: Tracker, reason: str) -> None:
    """What is said where the main thread does not come back from a call of a dead Ray, by another thread."""
    study, conductor = place.study, place.conductor(place.study.decisions, Ends())
    conductor.request_stop(reason)
    _pause(conductor)
    _end(conductor, study, tracker)
    if lacking := tracker.close(IMPATIENT_GRACE_SECONDS).message:
        place.console.say(f"{lacking}; `{sync_command(place.request.options, study.folder)}` brings MLflow up to date")
    command = next_command("search", resume=study.folder, **of_session(place.request.options))
    place.console.say(f"stopped: {reason}; to go on: {command}")


def _exit_status(state: EndState, *, has_best: bool) -> int:
    if state == "interrupted":
        return EXIT_INTERRUPTED
    return EXIT_DONE if state == "completed" and has_best else EXIT_FAILED
