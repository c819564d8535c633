"""A plan for the terminal: a dozen aligned lines, each with its range and how it was got."""

from collections.abc import Iterator

from trainable.counts import counted
from trainable.shown import size_text
from tune.planning.study_plan import Range, StudyPlan
from tune.report.results import duration

LABEL_WIDTH = 14


def plan_text(plan: StudyPlan) -> str:
    """The whole plan."""
    return "\n".join(f"{label:<{LABEL_WIDTH}}{text}".rstrip() for label, text in _lines(plan))


def _lines(plan: StudyPlan) -> Iterator[tuple[str, str]]:
    yield from _extraction(plan)
    yield from _trial(plan)
    yield from _search(plan)
    if (confirming := plan.confirmation) is not None:
        yield (
            "confirmation",
            f"at most {counted(confirming.runs, 'run')} of {counted(confirming.epochs, 'epoch')}: "
            f"{_times(confirming.wall_seconds)}, {confirming.share:.0%} of all",
        )
    yield "starting up", f"{duration(plan.start_seconds)}: libraries, backbone and workers, beside those of the search"
    records = plan.records
    free = "" if records.bytes_free is None else f", {size_text(records.bytes_free)} free"
    yield "checkpoints", f"{size_text(records.checkpoint_bytes)} in {records.study}{free}"
    yield "MLflow", f"{counted(records.mlflow_runs, 'run')}, {records.mlflow_values:,} values to {records.tracking_uri}"
    kind = "GPU" if plan.search.gpus_per_trial else "CPU"
    yield "in all", f"{_times(plan.wall_seconds)}; {kind} hours {_hours(plan.device_seconds)}"
    if plan.time_budget is not None:
        yield "time budget", f"{duration(plan.time_budget)}: the search ends there, with what it has by then"
    for note in plan.notes:
        yield "note", note


def _extraction(plan: StudyPlan) -> Iterator[tuple[str, str]]:
    own = plan.extraction
    copies = f", {counted(own.n_copies, 'copy')} of each among them" if own.n_copies else ""
    if own.images:
        each = f", {1000 * own.image_seconds:.3g} ms each as just measured" if own.image_seconds else ""
        yield (
            "images",
            f"{own.images} of {own.n_images}{copies} to run through the frozen blocks: {duration(own.seconds)}{each}",
        )
    else:
        yield "images", f"none of {own.n_images}{copies} to be run: their features are stored in {own.store}"
    taps = f"tap {own.taps[0]}" if len(own.taps) == 1 else f"taps {', '.join(map(str, own.taps))}"
    deepest = ", the deepest alone, since the disk does not hold all" if own.only_deepest else ""
    yield (
        "features",
        f"{taps} of {counted(own.n_backbone_blocks, 'block')}{deepest}: {size_text(own.bytes)}, "
        f"{size_text(own.bytes_free)} free",
    )


def _trial(plan: StudyPlan) -> Iterator[tuple[str, str]]:
    trial, search = plan.trial, plan.search
    place = trial.device_name if trial.device == "cuda" else "memory"
    least, most = trial.memory_bytes
    yield (
        "memory",
        f"{size_text(least)} to {size_text(most)} a trial, measured; {size_text(trial.device_bytes)} of {place} hold "
        f"{trial.fit_memory} of the largest",
    )
    quick, slow = trial.epoch_seconds
    half = "" if trial.precision == "float32" else f", {trial.precision}"
    yield (
        "an epoch",
        f"{_seconds(quick)} to {_seconds(slow)}, from the steps of the smallest and the largest trial{half}",
    )
    yield "smallest", _shape(trial.smallest, trial.n_trainable[0])
    yield "largest", _shape(trial.largest, trial.n_trainable[1])
    cpus = counted(float(search.cpus_per_trial), "CPU")
    gpus = f" and {search.gpus_per_trial:g} GPU" if search.gpus_per_trial else ""
    reason = f"; {search.share_reason}" if search.share_reason else ""
    count = "1 trial at a time" if search.slots == 1 else counted(search.slots, "trial")
    yield "side by side", f"{count}, of {cpus}{gpus} each{reason}"


def _search(plan: StudyPlan) -> Iterator[tuple[str, str]]:
    search = plan.search
    epochs = search.epochs
    yield (
        "epochs",
        f"{epochs.expected:.0f} ({epochs.low:.0f} to {epochs.high:.0f}) of {search.most_epochs} under ASHA, as in 20 "
        "searches in virtual time",
    )
    in_full = f", {search.in_full} of them in full" if search.in_full else ""
    yield (
        "search",
        f"{counted(search.trials, 'trial')}{in_full}: {_times(search.wall_seconds)}, starting workers included",
    )


def _shape(config: dict[str, object], n_trainable: int) -> str:
    shown = "  ".join(f"{key}={value}" for key, value in config.items())
    return f"{shown}  ({n_trainable:,} numbers train)"


def _times(seconds: Range) -> str:
    return f"{duration(seconds.expected)} ({duration(seconds.low)} to {duration(seconds.high)})"


def _hours(seconds: Range) -> str:
    expected, low, high = (f"{value / 3600:.2g}" for value in (seconds.expected, seconds.low, seconds.high))
    return f"{expected} ({low} to {high})"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 60 else duration(seconds)
