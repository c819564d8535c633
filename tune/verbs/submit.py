"""A command as a job on a Ray cluster: checked here, sent with its folder, followed to its end.

sentinel-tune submit [OPTIONS] -- plan|search|confirm|retrain|evaluate|train|extract ...

The exit status is that of the command on the cluster: 130 when it was stopped. Ctrl-C ends the following, not the job.
"""

import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from trainable.counts import counted
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.shown import size_text
from tune.cli import parse_command
from tune.command_line.cluster_options import SubmitOptions
from tune.command_line.declaration import OptionValues
from tune.command_line.parsing import Given
from tune.execution.interrupts import EXIT_INTERRUPTED
from tune.jobs.job_folder import STARTS_OVER, lost_results
from tune.jobs.job_parcel import EXCLUDES, Upload, chosen_variables, entrypoint, find_upload
from tune.jobs.job_server import JobServer, chosen_address, is_open_wire, use_token
from tune.printed.next_command import carried, next_command, words
from tune.printed.secrets_left_out import redact
from tune.printed.shell_words import quoted
from tune.report.console import Console
from tune.report.next_steps import of_session
from tune.report.results import duration
from tune.tracking.uri import ui_command

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

EXIT_DONE, EXIT_FAILED = 0, 1
NOT_AGAIN = ("job_id", "follow", "detach")
"""Options that say how one job is sent; another has another name."""

JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJob:
    """What is sent: its name, shell command, files and variables.

    results, tracking_uri: where its results and records go; None where the command does not say. going_on: the command
    that resumes it once it was stopped; None where there is none. stop_wait: seconds.
    """

    job_id: str
    verb: str
    entrypoint: str
    upload: Upload
    variables: dict[str, str]
    results: str | None
    tracking_uri: str | None
    going_on: str | None
    stop_wait: float


def run(given: Given) -> int:
    """Send the command, follow it unless detached; returns its exit status.

    Raises: UserError for whatever can be known before it runs.
    """
    started = time.monotonic()
    options: SubmitOptions = given.options()
    console = Console(json=options.json)
    use_token()
    job = _job(options, given.command)
    address = chosen_address(options.address, os.environ)
    if is_open_wire(address):
        console.say(f"note: the token and the files travel unencrypted to {address}; a tunnel to its loopback is safer")
    server = JobServer(address)
    _send(server, job, console)
    if options.detach:
        console.finish(text=_how_to(server, job), json=_result(server, job, state="PENDING", exit_status=None))
        return EXIT_DONE
    try:
        info = server.follow(job.job_id, _show_on(sys.stderr if options.json else sys.stdout))
    except KeyboardInterrupt:
        console.say(f"not followed any longer; the job goes on\n{_how_to(server, job)}")
        return EXIT_INTERRUPTED
    return _finish(server, job, info, console, seconds=time.monotonic() - started)


def _job(options: SubmitOptions, command: tuple[str, ...]) -> RayJob:
    """What to send, all of it checked.

    Raises: UserError with every problem at once.
    """
    verb, given = parse_command(command)
    values: OptionValues = getattr(given, "values", {})
    problems = lost_results(verb.name, values)
    if options.follow and options.detach:
        problems.append("`--follow` and `--detach` cannot both be given; leave one out")
    if options.job_id is not None and not JOB_ID.fullmatch(options.job_id):
        problems.append(f"`--job-id` must be of letters, digits, dots, dashes, underscores, but got {options.job_id!r}")
    if options.stop_wait < 1:
        problems.append(f"`--stop-wait >= 1s` must hold, but got {options.stop_wait:g}")
    parts: dict[str, Any] = {}
    for name, make in (
        ("entrypoint", lambda: entrypoint(command)),
        ("variables", lambda: chosen_variables(options.env, os.environ)),
        ("upload", lambda: find_upload(options.working_dir)),
    ):
        try:
            parts[name] = make()
        except UserError as error:
            problems.extend(error.problems)
    if problems:
        raise UserError(problems)
    now = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    tracking_uri = values.get("tracking_uri") or parts["variables"].get("MLFLOW_TRACKING_URI")
    results = next((str(values[name]) for name in ("out", "resume", "study") if values.get(name) is not None), None)
    return RayJob(
        job_id=options.job_id or f"{verb.name}-{now}", verb=verb.name, results=results, tracking_uri=tracking_uri,
        going_on=_going_on(options, command, given, results), stop_wait=options.stop_wait, **parts,
    )  # fmt: skip


def _going_on(options: SubmitOptions, command: tuple[str, ...], given: Given, results: str | None) -> str | None:
    if command[0] in STARTS_OVER:
        return None
    if command[0] == "search":
        if results is None:
            return None
        command = tuple(words("search", resume=results, **of_session(given.options())))
    return next_command("submit", command=command, **carried(options, SubmitOptions, leave=NOT_AGAIN))


def _send(server: JobServer, job: RayJob, console: Console) -> None:
    """Send it, unless a job of its name is there already."""
    for name in job.upload.left_out:
        console.say(f"not uploaded: {name}, for secrets belong on the nodes (docs/clusters.md, Secrets)")
    found = server.find(job.job_id)
    if found is not None:
        if found.entrypoint != job.entrypoint:
            raise UserError(
                f"`--job-id` must be no other job's, but {job.job_id} is `{redact(found.entrypoint)}`; take another"
            )
        console.say(f"job {job.job_id} is there already: {found.status.value.lower()}; nothing was sent")
        return
    if "tune/cli.py" not in job.upload.sizes:
        console.say(f"note: {job.upload.folder} holds no tune/, so the job runs what is installed on the cluster")
    variables = {
        **job.variables, "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(round(job.stop_wait)),
    }  # fmt: skip
    server.send(job.job_id, job.entrypoint, job.upload.folder, excludes=list(EXCLUDES), env=variables)
    size = f"{size_text(job.upload.n_bytes)} in {counted(len(job.upload.sizes), 'file')}"
    console.say(f"job {job.job_id} sent to {server.address} with {size} of {job.upload.folder}")
    for line in _places(job):
        console.say(line)


def _places(job: RayJob) -> list[str]:
    tracking = ui_command(job.tracking_uri) if job.tracking_uri else "as MLFLOW_TRACKING_URI on the cluster says"
    return [*([f"results   {job.results}"] if job.results else []), f"MLflow    {tracking}"]


def _show_on(stream: TextIO) -> Callable[[str], None]:
    def show(text: str) -> None:
        stream.write(text)
        stream.flush()

    return show


def _how_to(server: JobServer, job: RayJob) -> str:
    of_job = ["--address", server.address, job.job_id]
    return "\n".join(
        [
            f"to follow:  {quoted(['ray', 'job', 'logs', '--follow', *of_job])}",
            f"its state:  {quoted(['ray', 'job', 'status', *of_job])}",
            f"to stop:    {quoted(['ray', 'job', 'stop', *of_job])}",
        ]
    )


def _finish(server: JobServer, job: RayJob, info: "JobDetails", console: Console, *, seconds: float) -> int:
    status = exit_status(info.status.value, info.driver_exit_code)
    state = info.status.value
    if state == "FAILED" and info.driver_exit_code is None:
        console.say(f"the job did not run: {(info.message or 'no reason given').strip().splitlines()[-1]}")
    ending = {"SUCCEEDED": "succeeded", "STOPPED": "was stopped"}.get(state, f"failed with exit status {status}")
    text = f"job {job.job_id} {ending} after {duration(seconds)}"
    if status == EXIT_INTERRUPTED and job.going_on is not None:
        text += f"\nto go on:  {job.going_on}"
    console.finish(text=text, json=_result(server, job, state=state, exit_status=status))
    return status


def exit_status(state: str, code: int | None) -> int:
    """Of the command on the cluster, as a shell would tell it: 128 + N when signal N ended it.

    state: Ray's word for how the job ended. code: of the process; None when there was none to its end.
    """
    if state == "SUCCEEDED":
        return EXIT_DONE
    if state == "STOPPED":
        return EXIT_INTERRUPTED
    if code is None:
        return EXIT_FAILED
    return 128 - code if code < 0 else code


def _result(server: JobServer, job: RayJob, *, state: str, exit_status: int | None) -> JsonObject:
    return {
        "job_id": job.job_id,
        "address": server.address,
        "state": state,
        "exit_status": exit_status,
        "results": job.results,
        "tracking_uri": redact(job.tracking_uri) if job.tracking_uri else None,
    }
