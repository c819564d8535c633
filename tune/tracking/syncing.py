"""Bringing MLflow to a journal's content after an outage, a killed driver, or into another server."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from trainable.errors import UserError
from tune.journal.entries import JournalEntry
from tune.printed.secrets_left_out import redact
from tune.tracking.client import describe
from tune.tracking.desired_run import PARENT, DesiredRun
from tune.tracking.mlflow_runs import desired_runs
from tune.tracking.mlflow_writer import MlflowWriter, is_permanent

SYNC_TRIES = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What `sync` did: runs in the journal, runs made, metric points sent, doubled runs deleted, runs made anew in
    place of those of an earlier layout, requests, seconds.
    """

    n_runs: int
    n_created: int
    n_metrics: int
    n_duplicates: int
    n_renewed: int
    n_requests: int
    seconds: float
    problems: tuple[str, ...]
    experiment_id: str | None
    parent_run_id: str | None


def sync(
    entries: Iterable[JournalEntry],
    uri: str,
    experiment_name: str,
    *,
    running: bool = False,
    study: object = None,
    files: Mapping[str, str | bytes] | None = None,
) -> SyncReport:
    """Bring MLflow to exactly the content of a journal, however often it is called and whatever was written before.

    running: True while a search works on the study; else open ends are closed as interrupted. study: its folder, as a
    command names it. files: path -> content, for the study's run.

    Raises: UserError when the journal holds no study or MLflow does not answer.
    """
    start = time.monotonic()
    runs = desired_runs(entries, running=running, study=study, files=files)
    if PARENT not in runs:
        raise UserError("a journal must begin with its study, but this one holds no study entry; check the folder")
    try:
        writer = _patiently(lambda: MlflowWriter(uri, experiment_name, study_id=runs[PARENT].tags["hpo.study"]))
        for run in sorted(runs.values(), key=lambda run: run.order):
            _bring(writer, run)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"MLflow at {redact(uri)} must answer and accept records, but: {describe(error)}; start it or give another "
            "--tracking-uri, then sync again: nothing is lost or doubled"
        ) from error
    return SyncReport(
        n_runs=len(runs),
        n_created=writer.n_created - writer.n_renewed,
        n_metrics=writer.n_metrics_sent,
        n_duplicates=writer.n_duplicates,
        n_renewed=writer.n_renewed,
        n_requests=writer.n_requests,
        seconds=time.monotonic() - start,
        problems=tuple(writer.problems),
        experiment_id=writer.experiment_id,
        parent_run_id=writer.parent_run_id,
    )


def _bring(writer: MlflowWriter, run: DesiredRun) -> None:
    _patiently(lambda: writer.bring(run), between=writer.forget)


def _patiently(action: Callable[[], T], *, between: Callable[[], None] | None = None) -> T:
    """Repeat what fails for a passing reason."""
    for n_tried in range(1, SYNC_TRIES + 1):
        try:
            return action()
        except Exception as error:
            if n_tried == SYNC_TRIES or is_permanent(error):
                raise
            time.sleep(n_tried)
            if between is not None:
                between()
    raise AssertionError("unreachable")
