"""A Slurm job around another verb: one script that runs it, stops it before the time is over, and resumes it.

sentinel-tune slurm [OPTIONS] -- search [OPTIONS OF search]
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from trainable.errors import UserError
from trainable.shown import shown
from trainable.storage.place import Place
from trainable.whole_file import whole_file
from tune.cli import parse_command
from tune.command_line.cluster_options import SlurmOptions
from tune.command_line.outputs import file_problem, folder_problem
from tune.command_line.parsing import Given
from tune.jobs.job_folder import STARTS_OVER
from tune.jobs.slurm_script import RayPlace, SlurmJob
from tune.printed.secrets_left_out import redact
from tune.printed.shell_words import quoted
from tune.report.console import Console

ON_RAY = ("plan", "search", "confirm", "extract")
"""Verbs whose work is spread over nodes; the others compute in one process."""

WARN_BEFORE_SECONDS = 300
LONGEST_WARNING_SECONDS = 65_535
"""sbatch takes no more."""


def run(given: Given) -> int:
    """Write the script, send it if asked to; returns the exit status 0.

    Raises: UserError with every mistake, before anything is written; also with what sbatch says.
    """
    options: SlurmOptions = given.options()
    inner = _inner(given)
    if problems := [*_problems(options), *_problems_of_command(options, given.command[0], inner)]:
        raise UserError(problems)
    now = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    job = _job(options, given.command, inner, now)
    name = _file_name(options, given.command[0])
    path = (options.out or job.log_dir / f"{name}-{now}.sh").absolute()
    _write(path, job)
    job_id = _submit(path) if options.submit else None
    sent = f"sent as job {job_id}" if job_id else f"to send it: {quoted(['sbatch', path])}"
    lines = [f"script  {shown(path)}", *([f"study   {shown(job.study)}"] if job.study else []), sent]
    if job_id:
        lines.append(f"output  {job.log_dir}/{name}-{job_id}.out")
    Console(json=options.json).finish(
        text="\n".join(lines),
        json={"script": str(path), "study": str(job.study) if job.study else None, "job_id": job_id},
    )
    return 0


def _inner(given: Given) -> Given:
    _, inner = parse_command(given.command)
    assert isinstance(inner, Given)
    return inner


def _problems(options: SlurmOptions) -> Iterator[str]:
    texts = ("partition", "account", "qos", "constraint", "job_name", "mail_user", "log_dir", "out", "python")
    for name in texts:
        value = getattr(options, name)
        text = str(value.absolute() if isinstance(value, Path) else value)
        if value is not None and not (text.isprintable() and text.strip()):
            yield f"`--{name.replace('_', '-')}` must be one line of text, but got {text!r}"
    if options.gpus_per_node is not None and not re.fullmatch(r"([\w.-]+:)?\d+", options.gpus_per_node):
        yield f"`--gpus-per-node` must be a number or KIND:NUMBER, but got {options.gpus_per_node!r}"
    if options.mem is not None and not re.fullmatch(r"\d+[KMGT]?", options.mem):
        yield f"`--mem` must be a number with K, M, G or T, such as 64G, but got {options.mem!r}"
    if "\\" in str(options.log_dir.absolute()):
        yield f"`--log-dir` must hold no backslash, which sbatch takes for its own, but got {options.log_dir}"
    warning = _warning_seconds(options)
    if not 1 <= warning <= LONGEST_WARNING_SECONDS:
        yield f"`1 <= --warn-before <= {LONGEST_WARNING_SECONDS}` seconds must hold, but got {warning}"
    if options.time is not None and not 0 < warning < options.time:
        yield f"`--warn-before < --time` must hold, but got {warning} s and {options.time:g} s"
    if options.out is not None and os.path.lexists(options.out):
        yield f"`--out` must be a new file, but {options.out} exists"
    elif options.out is not None and (problem := file_problem(options.out, "--out")) is not None:
        yield problem
    if (problem := folder_problem(options.log_dir, "--log-dir")) is not None:
        yield problem
    if options.submit and shutil.which("sbatch") is None:
        yield "`--submit` needs sbatch on the PATH, but there is none; leave it out, and send the script where Slurm is"


def _problems_of_command(options: SlurmOptions, verb: str, inner: Given) -> Iterator[str]:
    if inner.values.get("address") is not None:
        yield "`--address` must be left to the script, which starts Ray in the job; leave it out"
    uri = inner.values.get("tracking_uri") or ""
    if redact(uri) != uri:
        yield (
            f"`--tracking-uri` must hold no password, since the script would, but got {redact(uri)}; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, which sbatch passes on"
        )
    if options.nodes > 1 and verb not in ON_RAY:
        yield f"`--nodes` must be 1 for {verb}, which computes on one node, but got {options.nodes}"
    if options.nodes > 1 and inner.values.get("local"):
        yield f"`--local` must be left out on several nodes, but got it with --nodes {options.nodes}"


def _job(options: SlurmOptions, command: tuple[str, ...], inner: Given, now: str) -> SlurmJob:
    verb = command[0]
    study: Place | None = None
    if verb == "search" and inner.values.get("resume") is None:
        study = inner.values.get("study")
        if study is None:  # each run of the job is to find it
            study = Path("studies", f"{Path(inner.options().space).stem}-{now}").absolute()
            command = (*command, "--study", str(study))
    if verb == "train" and inner.values.get("out") is None:
        command = (*command, "--out", str(Path("trained", f"{Path(inner.options().variant).stem}-{now}").absolute()))
    return SlurmJob(
        directives=_directives(options, verb),
        folder=Path.cwd(),
        setup=options.setup,
        python=(options.python or Path(sys.executable)).absolute(),
        log_dir=options.log_dir.absolute(),
        command=command,
        sets_workers="workers" in inner.values,
        study=None if study is None else study.absolute(),
        ray=_ray_place(options, verb, inner),
        goes_on=verb not in STARTS_OVER,
        max_requeues=options.max_requeues,
        half_warning_seconds=max(1, _warning_seconds(options) // 2),
    )


def _ray_place(options: SlurmOptions, verb: str, inner: Given) -> RayPlace:
    if options.nodes > 1:
        return "nodes"
    return "verb" if verb in ON_RAY and not inner.values.get("local") else "none"


def _directives(options: SlurmOptions, verb: str) -> dict[str, str | int | bool | None]:
    output = f"{options.log_dir.absolute()}/{_file_name(options, verb)}-"
    return {
        "job-name": options.job_name or f"sentinel-{verb}",
        "nodes": options.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": options.cpus_per_node,
        "gpus-per-node": options.gpus_per_node,
        "mem": options.mem,
        "time": _time(options.time),
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "output": output.replace("%", "%%") + "%j.out",
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR1@{_warning_seconds(options)}",
        "mail-user": options.mail_user,
        "mail-type": "END,FAIL,REQUEUE" if options.mail_user else None,
    }


def _file_name(options: SlurmOptions, verb: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", options.job_name or f"sentinel-{verb}")


def _warning_seconds(options: SlurmOptions) -> int:
    return round(WARN_BEFORE_SECONDS if options.warn_before is None else options.warn_before)


def _time(seconds: float | None) -> str | None:
    """As DAYS-HOURS:MINUTES:SECONDS."""
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24}-{hours % 24:02}:{minutes:02}:{rest:02}"


def _write(path: Path, job: SlurmJob) -> None:
    try:
        job.log_dir.mkdir(parents=True, exist_ok=True)  # sbatch does not make it, and the job would fail unheard
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(job.text(), encoding="utf-8")
            temporary.chmod(0o755)
    except OSError as error:
        raise UserError(f"`--out` must be writable, but {path} is not: {error.strerror or error}") from error


def _submit(path: Path) -> str:
    """The job's id."""
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "; ".join(done.stderr.strip().splitlines()) or f"exit status {done.returncode}"
        raise UserError(f"sbatch must take the job, but said: {said} (the script is {path})")
    return done.stdout.strip().partition(";")[0]
