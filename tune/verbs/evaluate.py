"""Exported models scored on labelled data: numbers, figures, a page, and results.json.

sentinel-tune evaluate MODEL [MODEL ...] [--data DATA] [--events held-out|validation|all] [--out DIR] [OPTIONS]

Several models are scored on the same events and compared with the first. Without --out results.json lies beside the
model, and the page in its folder `evaluation`; with --out everything lies there, and the model's folder stays as it is.
What is written is there, and the exit status is 0, also when MLflow is away.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.counts import counted
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.command_line.model_options import EvaluateOptions
from tune.command_line.parsing import Given
from tune.evaluation.comparison_page import comparison_page
from tune.evaluation.events import choose_events, training_of
from tune.evaluation.far_numbers import far_numbers_line
from tune.evaluation.files import Written, checked_folder, results_folder, write_comparison, write_report
from tune.evaluation.forecasting import forecast_events, known_numbers
from tune.evaluation.page import report_page
from tune.evaluation.recorded import EvaluationRecorder
from tune.evaluation.reports import (
    Comparison,
    ModelReport,
    explaining_kinds,
    model_names,
    scores_with_intervals,
    target_values,
)
from tune.evaluation.text import comparison_text, report_text
from tune.execution.session import local_device
from tune.models.model_source import absent_model, local_model, open_model
from tune.printed.secrets_left_out import redact
from tune.report.console import Console
from tune.report.image_progress import ImageProgress
from tune.report.results import duration
from tune.tracking.client import describe
from tune.tracking.uri import chosen_tracking_uri, ui_command

if TYPE_CHECKING:
    from tune.evaluation.model_reports import ModelSource

DEFAULT_FOLDER, IN_MODEL = "evaluations", "evaluation"


def run(given: Given) -> int:
    """Evaluate, write, log, print; returns the exit status 0.

    Raises: UserError for models, data or events that cannot be, before any image is predicted.
    """
    started = time.monotonic()
    options: EvaluateOptions = given.options()
    console = Console(json=options.json)
    uri = None if options.no_track else chosen_tracking_uri(options.tracking_uri)
    sources = _sources(options, console)
    outs = _folders(options, sources)
    reports, comparison = _evaluate(options, sources, console)
    written = [_write(report, outs[report.name], beside_model=options.out is None) for report in reports]
    files = [] if comparison is None else _write_comparison(comparison, outs[""])
    tracked = _record(uri, options, reports, written, comparison, files, console)
    _finish(reports, written, comparison, files, tracked, console, seconds=time.monotonic() - started)
    return 0


def _sources(options: EvaluateOptions, console: Console) -> "list[ModelSource]":
    """The models, downloaded and checked, but not loaded."""
    from tune.evaluation.model_reports import read_source  # loads torch and open_clip

    if absent := [problem for spec in options.models if (problem := absent_model(spec)) is not None]:
        raise UserError(absent)
    folders = [
        local_model(spec, tracking_uri=options.tracking_uri, console=console, cache=options.cache_folder)
        for spec in options.models
    ]
    resolved = [folder.resolve() for folder in folders]
    if twice := [spec for spec, folder in zip(options.models, resolved, strict=True) if resolved.count(folder) > 1]:
        raise UserError(f"models must differ to be compared, but {', '.join(twice)} are the same; name each once")
    names = model_names(options.models)
    return [read_source(*given) for given in zip(names, options.models, folders, strict=True)]


def _folders(options: EvaluateOptions, sources: "Sequence[ModelSource]") -> dict[str, Path]:
    """Model's name -> folder of its report, "" -> that of the comparison; all can be written to."""
    several = len(sources) > 1
    outs = {}
    for source in sources:
        if options.out is not None:
            outs[source.name] = options.out / source.name if several else options.out
        else:
            outs[source.name] = source.folder / IN_MODEL if source.is_folder else Path(DEFAULT_FOLDER, source.name)
    if several:
        outs[""] = options.out or Path(DEFAULT_FOLDER, "-beside-".join(source.name for source in sources)[:120])
    return {name: checked_folder(folder) for name, folder in outs.items()}


def _evaluate(
    options: EvaluateOptions, sources: "Sequence[ModelSource]", console: Console
) -> tuple[list[ModelReport], Comparison | None]:
    """Score one model after the other, so that no two are in memory at once."""
    import torch

    from tune.evaluation.labelled_data import load_labelled
    from tune.evaluation.model_reports import compare, make_report, scored_data

    device = local_device(options)
    torch.set_num_threads(options.workers)
    specimens = load_labelled(
        options,
        {source.name: source.facts for source in sources},
        {source.name: source.task for source in sources},
        console,
    )
    trainings = {source.name: training_of(source.facts, specimens) for source in sources}
    chosen = choose_events(options.events, specimens, trainings, {source.name: source.facts for source in sources})
    data = scored_data(specimens, chosen)
    console.say(f"events: {chosen.about}: {counted(data.n_events, 'event')}, {counted(data.n_specimens, 'specimen')}")
    reports = []
    for source in sources:
        model = open_model(str(source.folder), options.tracking_uri, device, console)
        if unnamed := [name for name in model.numbers if name not in specimens.task.numbers]:
            console.say(f"{source.name} reads {', '.join(unnamed)}, which the task does not name: taken for missing")
        numbers = known_numbers(specimens, chosen.rows)
        if (far := far_numbers_line(model.config.get("numbers", ()), numbers)) is not None:
            console.say(f"warning: {source.name}: {far}")
        progress = ImageProgress(sys.stderr, f"predicting with {source.name}")
        forecasts = forecast_events(model, specimens, chosen.rows, progress=progress.show)
        training = trainings[source.name]
        reports.append(make_report(source, forecasts, specimens=specimens, chosen=chosen, training=training))
        for warning in reports[-1].warnings():
            console.say(f"warning: {warning}")
    return reports, compare(reports, data) if len(reports) > 1 else None


def _write(report: ModelReport, out: Path, *, beside_model: bool) -> Written:
    from tune.evaluation.drawn import figures_of  # loads matplotlib

    figures = figures_of(report)
    results = results_folder(report.folder if report.is_folder and beside_model else None, out)
    return write_report(report, report_page(report, figures), figures, out=out, results=results)


def _write_comparison(comparison: Comparison, out: Path) -> list[Path]:
    from tune.evaluation.figures import score_comparison  # loads matplotlib

    scores = {name: scores_with_intervals(evaluation) for name, evaluation in comparison.evaluations.items()}
    figure = score_comparison(scores, comparison.differences, part_names=comparison.part_names)
    return write_comparison(comparison, comparison_page(comparison, figure), figure, out=out)


def _record(
    uri: str | None,
    options: EvaluateOptions,
    reports: Sequence[ModelReport],
    written: Sequence[Written],
    comparison: Comparison | None,
    files: Sequence[Path],
    console: Console,
) -> JsonObject:
    """Log to MLflow; where it is away, the results stay on disk and the user is told."""
    if uri is None:
        return {"tracking_uri": None, "runs": {}, "warning": None, "ui": None}
    runs: dict[str, str] = {}
    result: JsonObject = {"tracking_uri": redact(uri), "runs": runs, "warning": None, "ui": None}
    try:
        recorder = EvaluationRecorder(uri, options.experiment)
        for report, files_of in zip(reports, written, strict=True):
            runs[report.name] = recorder.record_model(report, files_of)
        if comparison is not None:
            runs["comparison"] = recorder.record_comparison(comparison, files)
        result["ui"] = ui_command(uri, recorder.experiment_id)
    except Exception as error:  # of whatever type the store, the network or MLflow raises
        result["warning"] = f"MLflow at {redact(uri)} did not take the evaluation, which is on disk: {describe(error)}"
        console.say(f"warning: {result['warning']}")
    return result


def _finish(
    reports: Sequence[ModelReport],
    written: Sequence[Written],
    comparison: Comparison | None,
    files: Sequence[Path],
    tracked: JsonObject,
    console: Console,
    *,
    seconds: float,
) -> None:

    lines = []
    for report, paths in zip(reports, written, strict=True):
        lines += [report_text(report), f"results  {paths.results}", f"report   {paths.page}", ""]
    if comparison is not None:
        lines += [comparison_text(comparison), f"report   {files[1]}", ""]
    lines.append(f"evaluated in {duration(seconds)}")
    lines += ["", "To go on:", f"  {tracked['ui']}"] if tracked["ui"] else []
    warnings = list(dict.fromkeys(warning for report in reports for warning in report.warnings()))
    data = reports[0].data
    models = [_summary(report, paths, tracked) for report, paths in zip(reports, written, strict=True)]
    result = {
        "models": models,
        "comparison": None if comparison is None else comparison.to_dict() | {"html": str(files[1])},
        "events": {
            "which": data.which,
            "about": data.about,
            "n_events": data.n_events,
            "n_specimens": data.n_specimens,
        },
        "data": {"source": data.source, "fingerprint": data.fingerprint},
        "warnings": [*warnings, *([tracked["warning"]] if tracked["warning"] else [])],
        "tracking_uri": tracked["tracking_uri"],
        "seconds": round(seconds, 1),
    }
    console.finish(text="\n".join(lines), json=result)


def _summary(report: ModelReport, written: Written, tracked: JsonObject) -> JsonObject:
    evaluation = report.evaluation
    return {
        "model": report.spec,
        "name": report.name,
        "score": evaluation.score,
        "parts": evaluation.parts,
        "intervals": evaluation.intervals,
        **{kind: target_values(evaluation, kind) for kind in explaining_kinds(evaluation)},
        "floors": None if report.floors is None else {n: floor["score/all"] for n, floor in report.floors.items()},
        "results": str(written.results),
        "report": str(written.report),
        "html": str(written.page),
        "run_id": tracked["runs"].get(report.name),
        "warnings": report.warnings(),
    }
