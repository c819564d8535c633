"""What a search will take and whether it can work, before anything is spent: disk, memory, time, records.

sentinel-tune plan [the options of search], python -m tune plan [...]. Nothing is left behind.
"""

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from trainable.data.task import Task
from trainable.errors import UserError
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.confirming.choice import n_runs_reserved, reserved, thin_evidence
from tune.execution.opening import Opening, opened
from tune.execution.session import check_device
from tune.journal.journal import has_study, read_entries
from tune.journal.resuming import resume_command
from tune.measuring.corners import corners
from tune.measuring.fresh_process import FreshProcess, OnRay, beside_this_one
from tune.measuring.step_probe import Steps, measure
from tune.planning.estimate import Setting, estimate
from tune.planning.image_probe import ImageProbe, probe_images
from tune.planning.plan_text import plan_text
from tune.planning.problems import problems_of
from tune.planning.reachable import tracking_problem
from tune.planning.study_plan import StudyPlan
from tune.report.console import Console
from tune.study.search_request import SearchRequest, search_request
from tune.study.study import check_data
from tune.study.study_data import StudyData, load_search_data
from tune.tracking.uri import chosen_tracking_uri

T = TypeVar("T")


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0. What cannot work is a UserError with every problem."""
    options: SearchOptions = given.options()
    console = Console(json=options.json)
    plan = plan_study(given, console)
    console.finish(text=plan_text(plan), json=plan.to_dict())
    return 0


def plan_study(given: Given, console: Console, *, fresh: FreshProcess | None = None) -> StudyPlan:
    """Check all that a search needs, measure what it costs, estimate the whole.

    fresh: where measurements run; None for processes of the cluster, or of this machine with `--local`.
    Raises: UserError with all problems at once.
    """
    problems: list[str] = []
    request = _collected(problems, lambda: search_request(given))
    if request is None and given.values.get("resume") is not None:
        raise UserError(problems)  # which data the study has is not known
    options: SearchOptions = given.options() if request is None else request.options
    uri = _collected(problems, lambda: chosen_tracking_uri(options.tracking_uri))
    if uri is not None and (problem := tracking_problem(uri)) is not None:
        problems.append(problem)
    _collected(problems, lambda: check_device(options))
    data = _collected(
        problems,
        lambda: load_search_data(options, console, None if request is None else request.task),
    )
    if request is None or data is None:
        raise UserError(problems)
    _collected(problems, lambda: _check_study(request, data, console))
    try:
        fitted = request.fitted_to(data.specimens.task, n_folds=data.n_folds, say=console.say)
        plan = _measured_plan(fitted, data, console, fresh, tracking_uri=uri or "")
    except UserError as error:
        raise UserError(dict.fromkeys([*problems, *error.problems])) from None
    if problems := [*problems, *problems_of(plan)]:
        raise UserError(problems)
    return plan


def _check_study(request: SearchRequest, data: StudyData, console: Console) -> None:
    if request.is_resume:
        check_data(request, data)
    elif has_study(request.folder):
        command = resume_command(request.folder, lambda: read_entries(request.folder))
        raise UserError(
            f"`--study` must be a new folder, but {request.folder} holds a study; resume it by "
            f"`{command}`, or name another"
        )
    if not request.options.no_confirm:
        console.say(reserved(data.specimens.frame, request.options))
        if (thin := thin_evidence(data.specimens.frame, request.options, is_begun=request.is_resume)) is not None:
            console.say(thin)


def _measured_plan(
    request: SearchRequest, data: StudyData, console: Console, fresh: FreshProcess | None, *, tracking_uri: str
) -> StudyPlan:
    options, began = request.options, time.monotonic()
    with opened(request, data, console.say) as opening:
        session_seconds = time.monotonic() - began
        console.say("measuring some images and the first steps of the smallest and the largest trial")
        call = fresh or (beside_this_one if options.local else OnRay(console.say))
        measured = _measure(opening, data.specimens.task, call, console)
        return estimate(
            opening.request,
            data,
            measured.images,
            measured.steps,
            _setting(measured.opening, session_seconds),
            n_confirming=0 if options.no_confirm else n_runs_reserved(data.specimens.frame, options),
            tracking_uri=tracking_uri,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measurements:
    images: ImageProbe
    steps: Steps
    opening: Opening


def _measure(opening: Opening, task: Task, call: FreshProcess, console: Console) -> _Measurements:
    """Images where extraction will run, then steps where trials will; the small store between them is removed."""
    request, options, asked = opening.request, opening.request.options, opening.wanted_features()
    scratch = options.cache_folder / f"probe-{uuid.uuid4().hex[:12]}"
    opening.check_nodes(asked)
    n_gpus = 1.0 if asked.device == "cuda" else 0.0
    cpus = asked.n_threads if opening.placement is None else _cpus_of_one_node(asked.n_threads, n_gpus)
    try:
        found: ImageProbe = call(probe_images, asked, scratch, cpus=cpus, gpus=n_gpus)
        if request.is_resume:
            request.check_same("backbone_fingerprint", of="backbone", now=found.backbone_fingerprint)
        if found.probe_store is None:
            raise UserError(f"`the disk of {found.store}` must have room for features, but is full; free some")
        fitted = opening.fitted(found.probe_store, console.say)
        ends = corners(request.space, found.architecture, epochs=options.epochs)
        placement = fitted.placement
        threads = asked.n_threads if placement is None else max(1, int(placement.cpus_per_trial))
        steps: Steps = call(
            measure, found.probe_store, [end.to_dict() for end in (ends.smallest, ends.largest)], asked.device, threads,
            options.precision, task, options.trainings, cpus=options.cpus_per_trial,
            gpus=0.0 if placement is None else placement.gpus_per_trial,
        )  # fmt: skip
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _Measurements(images=found, steps=steps, opening=fitted)


def _setting(opening: Opening, session_seconds: float) -> Setting:
    placement, device, slots, a_device, n_extractors = opening.placement, opening.session.device, 1, 1, 1
    if placement is not None:
        from tune.cluster.ray_cluster import Cluster, living_nodes  # loads ray and torch
        from tune.extraction.crew import seats

        nodes = Cluster().nodes()
        n_extractors = max(1, len(seats(living_nodes(), device)))
        slots = min(placement.slots(nodes), placement.max_concurrent or placement.slots(nodes))
        a_device = max(placement.slots_of(node) for node in nodes)
        if device == "cuda":
            a_device = max(1, int(1 / placement.gpus_per_trial))
    return Setting(
        device=device,
        slots=slots,
        slots_per_device=min(slots, a_device),
        cpus_per_trial=1.0 if placement is None else placement.cpus_per_trial,
        gpus_per_trial=0.0 if placement is None else placement.gpus_per_trial,
        share_reason=opening.share_reason,
        n_extractors=n_extractors,
        session_seconds=session_seconds,
        on_ray=placement is not None,
    )


def _cpus_of_one_node(wanted: int, n_gpus: float) -> int:
    from tune.cluster.ray_cluster import cpus_that_fit  # loads ray

    return cpus_that_fit(wanted, n_gpus=int(n_gpus))


def _collected(problems: list[str], call: Callable[[], T]) -> T | None:
    """What the call returns; None when it raises a UserError, whose problems are kept."""
    try:
        return call()
    except UserError as error:
        problems.extend(error.problems)
        return None
