"""MLflow brought to exactly what a study's journal holds, after an outage or into another server.

sentinel-tune sync STUDY [--tracking-uri URI] [--experiment NAME] [--json]
"""

from dataclasses import asdict

from trainable.counts import counted
from tune.command_line.options import SearchOptions, SyncOptions
from tune.command_line.parsing import Given
from tune.journal.entries import study_of
from tune.journal.journal import owner_of, read_entries
from tune.printed.secrets_left_out import redact
from tune.report.console import Console
from tune.report.results import duration
from tune.report_page.kept_files import kept_files
from tune.study.kept_options import kept_options
from tune.tracking.syncing import SyncReport, sync
from tune.tracking.uri import chosen_tracking_uri

EXIT_COMPLETE, EXIT_LACKING = 0, 1


def run(given: Given) -> int:
    """Run the verb; returns the exit status: 0 MLflow holds all, 1 it refused a part.

    Raises: UserError when there is no study or MLflow does not answer.
    """
    options: SyncOptions = given.options()
    console = Console(json=options.json)
    is_running = owner_of(options.study) is not None
    entries = read_entries(options.study)
    kept = kept_options(entries)
    uri = chosen_tracking_uri(options.tracking_uri or kept.get("tracking_uri"))
    experiment = options.experiment or kept.get("experiment") or SearchOptions().experiment
    study = options.study.absolute()  # as a search names it
    files = {} if is_running else kept_files(study, entries)
    report = sync(entries, uri, experiment, running=is_running, study=study, files=files)
    for problem in report.problems:
        console.say(f"MLflow lacks a part of this study: {problem}")
    console.finish(
        text=_line(study_of(entries).study_id, redact(uri), report),
        json={
            "study": str(options.study),
            "tracking_uri": redact(uri),
            "experiment": experiment,
            "running": is_running,
            **asdict(report),
        },
    )
    return EXIT_LACKING if report.problems else EXIT_COMPLETE


def _line(study_id: str, uri: str, report: SyncReport) -> str:
    renewed = f", {counted(report.n_renewed, 'run')} of an earlier layout made anew" if report.n_renewed else ""
    doubles = f", {counted(report.n_duplicates, 'doubled run')} deleted" if report.n_duplicates else ""
    sent = f"{report.n_created} of them new, {counted(report.n_metrics, 'metric value')} sent{renewed}{doubles}"
    return f"{uri} holds {study_id}: {counted(report.n_runs, 'run')}, {sent}, in {duration(report.seconds)}"
