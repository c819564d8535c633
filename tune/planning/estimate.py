"""From what was measured to the plan of a study."""

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainable.config import TrialConfig
from trainable.frozen.shards import room_for
from trainable.shown import size_text
from tune.confirming.runs import Confirmation
from tune.measuring.corners import drawn
from tune.measuring.costs import Costs
from tune.measuring.step_probe import Steps
from tune.planning.forecast import Rules
from tune.planning.image_probe import ImageProbe, nearest_folder
from tune.planning.study_plan import ConfirmationNeeds, Extraction, Range, Records, Search, StudyPlan, TrialNeeds
from tune.planning.trials_ahead import Ahead, Seconds, TrialsAhead, confirmation_ahead, foresee, trials_ahead
from tune.printed.secrets_left_out import redact
from tune.study.search_request import SearchRequest
from tune.study.study_data import StudyData

N_DRAWN = 200
"""Configurations by which the space's typical, quickest and slowest trial are known."""

KEPT_CHECKPOINTS = 2
"""Of a trial, at any time."""

TURNAROUND_SECONDS = 0.2
"""Between two trials in one worker of Ray's (measured)."""

SHOWN_KEYS = ("tail.n_blocks", "adapter.kind", "adapter.rank", "optim.batch_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where and how the search will run. slots: trials side by side; slots_per_device: of them on one GPU, or on one
    node's CPUs. n_extractors: workers that extract at once. session_seconds: that joining or starting Ray took.
    """

    device: str
    slots: int
    slots_per_device: int
    cpus_per_trial: float
    gpus_per_trial: float
    share_reason: str
    n_extractors: int
    session_seconds: float
    on_ray: bool


def estimate(
    request: SearchRequest,
    data: StudyData,
    images: ImageProbe,
    steps: Steps,
    setting: Setting,
    *,
    n_confirming: int,
    tracking_uri: str,
) -> StudyPlan:
    """n_confirming: runs of the confirmation, 0 without one."""
    options = request.options
    costs = Costs(images.architecture, steps.measured[0], steps.measured[-1])
    typical = drawn(request.space, N_DRAWN, epochs=options.epochs, seed=options.seed)
    seconds = _seconds(costs, typical, data, setting)
    rules = Rules(
        max_epochs=options.epochs, grace_epochs=options.grace, reduction_factor=options.reduction_factor,
        patience=options.patience_epochs, slots=setting.slots,
    )  # fmt: skip
    ahead = trials_ahead(request)
    searching = foresee(ahead, request, rules, seconds, seed=options.seed)
    extraction = _extraction(images, len(data.specimens.frame), setting)
    n_confirming = max(0, n_confirming - _confirmed_already(request))
    one_fold = data.of_fold(options.fold, holdout=options.holdout)  # as a run of a confirmation trains on
    of_one_fold = _seconds(costs, typical, one_fold, setting)
    middle = statistics.fmean(of_one_fold.epoch(config) for config in typical)
    confirming = confirmation_ahead(n_confirming, rules, of_one_fold, epoch_seconds=middle) if n_confirming else None
    search = _search(ahead, searching, steps, setting, max_epochs=options.epochs)
    start = setting.session_seconds + images.load_seconds + steps.start_seconds
    parts = [searching, confirming] if confirming else [searching]
    spans = [search.wall_seconds, *([confirming.wall_seconds] if confirming else [])]
    wall = _sum(spans, plus=start + extraction.seconds)
    return StudyPlan(
        extraction=extraction,
        trial=_needs(images, steps, seconds, setting),
        search=search,
        confirmation=None
        if confirming is None
        else _confirming(confirming, n_confirming, options.epochs, wall, setting),
        records=_records(request, costs, typical, steps, searching, n_confirming, tracking_uri),
        start_seconds=start,
        wall_seconds=wall,
        device_seconds=_sum([_of_devices(part, setting) for part in parts], plus=extraction.seconds),
        time_budget=options.time_budget,
        notes=_notes(steps, images, setting),
    )


def _search(ahead: TrialsAhead, searching: Ahead, steps: Steps, setting: Setting, *, max_epochs: int) -> Search:
    return Search(
        slots=setting.slots,
        cpus_per_trial=setting.cpus_per_trial,
        gpus_per_trial=setting.gpus_per_trial,
        share_reason=setting.share_reason,
        trials=ahead.n,
        in_full=ahead.n_in_full,
        epochs=searching.epochs,
        most_epochs=ahead.most_epochs(max_epochs),
        device_seconds=_of_devices(searching, setting),
        wall_seconds=_sum([searching.wall_seconds], plus=steps.start_seconds),
        start_seconds=steps.start_seconds,
    )


def _seconds(costs: Costs, typical: Sequence[TrialConfig], data: StudyData, setting: Setting) -> Seconds:
    n_train = sum(len(split.train) for split in data.splits)  # an epoch is one of each fold
    n_held_out = sum(split.n_held_out for split in data.splits)
    turnaround = TURNAROUND_SECONDS if setting.on_ray else 0.0

    def epoch(config: TrialConfig) -> float:
        return costs.epoch_seconds(config, n_train=n_train, n_held_out=n_held_out)

    found = [epoch(config) for config in (*typical, costs.smallest.config, costs.largest.config)]
    return Seconds(
        epoch=epoch,
        build=lambda config: costs.build_seconds(config) + costs.probe_seconds(config, n_train=n_train) + turnaround,
        quickest=min(found),
        slowest=max(found),
    )


def _extraction(images: ImageProbe, n_images: int, setting: Setting) -> Extraction:
    only_deepest = len(images.taps) > 1 and room_for(images.bytes_missing) > images.bytes_free
    n_a_worker = -(-images.images_missing // setting.n_extractors)
    return Extraction(
        n_images=n_images * (1 + images.n_copies),
        n_copies=images.n_copies,
        images=images.images_missing,
        image_seconds=images.image_seconds,
        seconds=n_a_worker * (images.image_seconds or 0.0),
        taps=images.taps[:1] if only_deepest else images.taps,
        n_backbone_blocks=images.architecture.n_blocks,
        bytes=images.bytes_one_tap if only_deepest else images.bytes_missing,
        bytes_free=images.bytes_free,
        only_deepest=only_deepest,
        store=str(images.store),
    )


def _needs(images: ImageProbe, steps: Steps, seconds: Seconds, setting: Setting) -> TrialNeeds:
    least, most = steps.measured[0], steps.measured[-1]
    largest = max(least.peak_bytes, most.peak_bytes)
    return TrialNeeds(
        device=setting.device,
        precision=steps.precision,
        device_name=images.device_name,
        device_bytes=images.device_bytes,
        memory_bytes=(least.peak_bytes, largest),
        epoch_seconds=(seconds.epoch(least.config), seconds.epoch(most.config)),
        checkpoint_bytes=(least.checkpoint_bytes, most.checkpoint_bytes),
        n_trainable=(least.n_trainable, most.n_trainable),
        smallest=_shown(least.config),
        largest=_shown(most.config),
        fit_memory=images.device_bytes // largest,
    )


def _confirming(ahead: Ahead, runs: int, epochs: int, wall: Range, setting: Setting) -> ConfirmationNeeds:
    return ConfirmationNeeds(
        runs=runs,
        epochs=epochs,
        device_seconds=_of_devices(ahead, setting),
        wall_seconds=ahead.wall_seconds,
        share=ahead.wall_seconds.expected / wall.expected,
    )


def _records(
    request: SearchRequest,
    costs: Costs,
    typical: Sequence[TrialConfig],
    steps: Steps,
    searching: Ahead,
    n_confirming: int,
    tracking_uri: str,
) -> Records:

    folder, n_ahead = request.folder.absolute(), trials_ahead(request).n
    each = KEPT_CHECKPOINTS * statistics.fmean(costs.checkpoint_bytes(config) for config in typical)
    n_epochs = searching.epochs.expected + n_confirming * request.options.epochs
    return Records(
        study=str(folder),
        checkpoint_bytes=int((n_ahead + n_confirming) * each),
        bytes_free=shutil.disk_usage(nearest_folder(folder)).free if isinstance(folder, Path) else None,
        tracking_uri=redact(tracking_uri),
        mlflow_runs=n_ahead + n_confirming + (0 if request.is_resume else 1),
        mlflow_values=int(n_epochs * (steps.n_metrics + 1)),
    )


def _notes(steps: Steps, images: ImageProbe, setting: Setting) -> tuple[str, ...]:
    notes = []
    largest = max(m.peak_bytes for m in steps.measured)
    if setting.slots_per_device * largest > images.device_bytes >= largest:
        option = "--gpus-per-trial" if setting.device == "cuda" else "--max-concurrent"
        notes.append(
            f"{setting.slots_per_device} of the largest side by side would not fit the {size_text(images.device_bytes)}"
            f"; such trials are run again in smaller parts, or choose another {option}"
        )
    return tuple(notes)


def _confirmed_already(request: SearchRequest) -> int:
    return Confirmation.replay(request.past).n_ended if request.is_resume else 0


def _shown(config: TrialConfig) -> dict[str, object]:
    flat = config.flat()
    is_full = config.adapter.kind == "full"
    return {key: flat[key] for key in SHOWN_KEYS if not (key == "adapter.rank" and is_full)}


def _sum(ranges: Sequence[Range], *, plus: float) -> Range:
    return Range(
        low=sum(r.low for r in ranges) + plus,
        expected=sum(r.expected for r in ranges) + plus,
        high=sum(r.high for r in ranges) + plus,
    )


def _of_devices(ahead: Ahead, setting: Setting) -> Range:
    """Seconds of slots as those of the GPUs, or without any of the CPUs, that they occupy."""
    factor, slots = setting.gpus_per_trial or setting.cpus_per_trial, ahead.device_seconds
    return Range(low=slots.low * factor, expected=slots.expected * factor, high=slots.high * factor)
