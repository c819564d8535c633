"""Options of the verbs that run another verb elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from tune.command_line.declaration import option
from tune.command_line.options import OutputOptions


@dataclass(frozen=True, kw_only=True)
class SlurmOptions(OutputOptions):
    """Options of `slurm`."""

    nodes: int = option(1, "nodes of the job; with several, Ray is started on them", at_least=1, at_most=100_000)
    time: float | None = option(None, "time limit of one run: 90m, 4h, 1h30m [the partition's]", duration=True, above=0)
    partition: str | None = option(None, "Slurm partition [the default one]")
    account: str | None = option(None, "account to charge")
    qos: str | None = option(None, "quality of service")
    constraint: str | None = option(None, "features that the nodes must have")
    cpus_per_node: int = option(8, "CPUs on each node", at_least=1, at_most=100_000)
    gpus_per_node: str | None = option(None, "GPUs on each node: 4, or with their kind a100:4 [none]")
    mem: str | None = option(None, "memory on each node, such as 64G [the partition's]")
    job_name: str | None = option(None, "the job's name [sentinel-VERB]")
    mail_user: str | None = option(None, "address that Slurm writes to when the job ends, fails or is requeued")
    setup: str | None = option(
        None,
        "shell commands that prepare a node, such as 'module load cuda' or 'source /venv/bin/activate'",
        lines=True,
    )
    python: Path | None = option(None, "Python on the nodes that has this program [the one that runs now]")
    log_dir: Path = option(Path("slurm"), "folder of the job's output, shared by the nodes")
    out: Path | None = option(None, "file to write the script to [LOG_DIR/JOB_NAME-DATE-TIME.sh]", own_folder=True)
    warn_before: float | None = option(
        None, "time before the limit at which the running epochs are to be finished [5m]", duration=True
    )
    max_requeues: int = option(20, "times that the job goes back into the queue at most", at_least=0)
    submit: bool = option(False, "send the script with sbatch")


@dataclass(frozen=True, kw_only=True)
class SubmitOptions(OutputOptions):
    """Options of `submit`."""

    address: str | None = option(
        None, "the cluster's job server, http://HOST:8265 [RAY_API_SERVER_ADDRESS or http://127.0.0.1:8265]"
    )
    working_dir: Path = option(
        Path("."), "folder to upload and run in; .gitignore and .rayignore name what is left out of it"
    )
    env: tuple[str, ...] = option(
        (), "names of environment variables to pass on with their values here; keys and passwords are refused"
    )
    job_id: str | None = option(
        None, "the job's name; when a job has it already, that one is followed and nothing sent [VERB-DATE-TIME]"
    )
    follow: bool = option(False, "show the job's log until it ends, and end with its exit status; the default")
    detach: bool = option(False, "send the job, say how to follow and stop it, and end")
    stop_wait: float = option(
        600.0,
        "how long `ray job stop` lets the job finish its running epochs and write up: seconds, or 90s, 10m",
        duration=True,
    )
