"""Jobs on a real Slurm of two nodes, which the tests start: time limit, requeueing, Ray on both, exit status."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from search_spaces.space import SearchSpace
from tests.conftest import PLAIN
from tests.tune.plain_entries import entries_of, read_plain
from trainable.errors import UserError
from tune.decisions.differences import differences

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "shellcheck")
SETTINGS = """\
ClusterName=beetles
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.2 Port={ports[1]} CPUs=2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.3 Port={ports[2]} CPUs=2 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def until(condition: Callable[[], object], *, seconds: float = 400, what: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


class Slurm:
    """A controller and two nodes on loopback, with a munge, state and logs of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "slurm.conf"

    def start(self) -> None:
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        self.settings.write_text(SETTINGS.format(host=host, folder=self.folder, ports=free_ports(3)))
        munge = {name: f"{self.folder}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")}
        self.run("munged", "--force", f"--key-file={key}", *(f"--{name}={path}" for name, path in munge.items()))
        self.run("slurmctld", "-c")
        self.run("slurmd", "-N", "n1")
        self.run("slurmd", "-N", "n2")
        until(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", seconds=30, what=self.logs)

    def run(self, *argv: str) -> str:
        environment = {**os.environ, "SLURM_CONF": str(self.settings)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout

    def job(self, job_id: str) -> dict[str, str]:
        words = self.run("scontrol", "show", "job", "--oneliner", job_id).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def end(self) -> None:
        for name in ("slurmd-n1.pid", "slurmd-n2.pid", "slurmctld.pid", "munge.pid-file"):
            file = self.folder / name
            if file.exists():
                process = psutil.Process(int(file.read_text()))
                process.terminate()
                process.wait(30)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: slurm-wlm munge shellcheck)")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons and munge need root to be started without systemd")
    cluster = Slurm(Path(tempfile.mkdtemp(prefix="slurm-")))  # short, as the path of a socket must be
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(cluster.folder)


@pytest.fixture
def submit(slurm: Slurm, demo_cache: Path, tmp_path: Path, tracking_uri: str) -> Callable[..., str]:
    """Sends `sentinel-tune slurm argv...` from `tmp_path`; returns the job's id."""

    def send(*argv: str) -> str:
        environment = {
            **os.environ, "SLURM_CONF": str(slurm.settings), "PYTHONPATH": str(ROOT),
            "SENTINEL_TUNE_CACHE": str(demo_cache), "MLFLOW_TRACKING_URI": tracking_uri,
        }  # fmt: skip
        command = [sys.executable, "-m", "tune", "slurm", "--submit", *argv]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = re.search(r"sent as job (\d+)", done.stdout)
        assert found
        return found[1]

    return send


def output(folder: Path, job_id: str) -> str:
    """What the job and Ray on its nodes said."""
    files = [*(folder / "slurm").glob(f"*-{job_id}.out"), *(folder / "slurm").glob(f"ray-{job_id}-*.log")]
    return "\n".join(path.read_text() for path in files)


def join_without_token(address: str) -> str:
    """What Ray says to someone of this machine who joins the cluster of a job."""
    command = [sys.executable, "-c", f"import ray; ray.init(address='{address}')"]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def driver_of(study: Path) -> psutil.Process:
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"tune", "search", str(study)} <= set(process.info["cmdline"] or [])
    ]
    return found


def reported(study: Path) -> list[tuple[str, int]]:
    """Trial and epoch of each report so far."""
    try:
        return [(entry["trial"], entry["epoch"]) for entry in read_plain(study) if entry["event"] == "report"]
    except UserError:
        return []  # not begun yet


def test_a_search_on_two_nodes_comes_back_after_its_time_limit_and_ends_with_every_epoch_once(slurm, submit, tmp_path):
    study = tmp_path / "studies" / "two nodes"
    search = ["--space", str(PLAIN), "--data", "demo:120", "--trials", "3", "--epochs", "5", "--no-confirm"]
    node = ["--nodes", "2", "--cpus-per-node", "1", "--time", "1h", "--warn-before", "150s"]
    job = submit(*node, "--", "search", *search, "--study", str(study))
    until(lambda: len(reported(study)) >= 2, what=lambda: output(tmp_path, job))

    (private,) = (tmp_path / "slurm").glob(f"ray-{job}.*")
    token = private / "token"
    assert (stat.S_IMODE(private.stat().st_mode), stat.S_IMODE(token.stat().st_mode)) == (0o700, 0o600)
    secret = token.read_text()
    assert len(secret) == 64

    driver = driver_of(study)
    driver.send_signal(signal.SIGSTOP)  # an epoch that takes until the limit is near
    elapsed = int(slurm.run("squeue", "-h", "-j", job, "-o", "%M").strip().rpartition(":")[0].rpartition(":")[2])
    slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={elapsed + 2}")  # in minutes
    stranger = join_without_token(f"127.0.0.2:{12000 + 2 * int(job)}")
    until(lambda: "time is nearly over" in output(tmp_path, job), what=lambda: output(tmp_path, job) + slurm.logs())
    driver.send_signal(signal.SIGCONT)
    until(lambda: slurm.job(job)["JobState"] == "PENDING", what=lambda: output(tmp_path, job))
    before = reported(study)
    assert 2 <= len(before) < 15
    assert "token" in stranger
    assert not private.exists()

    slurm.run("scontrol", "update", f"JobId={job}", "TimeLimit=60", "StartTime=now+5")  # not minutes
    until(lambda: slurm.job(job)["JobState"] in ("COMPLETED", "FAILED"), what=lambda: output(tmp_path, job))
    ended, said, entries = slurm.job(job), output(tmp_path, job), read_plain(study)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("COMPLETED", "0:0", "1"), said + slurm.logs()
    assert said.count("Ray runs on 2 nodes: 2 CPUs") == 2
    assert f"resuming {study}" in said
    assert reported(study)[: len(before)] == before
    assert len(set(reported(study))) == len(reported(study))
    told = {entry["trial"]: entry["epoch"] for entry in entries if entry["event"] == "tell"}
    assert len(told) == 3
    for trial, epoch in told.items():
        assert [e for t, e in reported(study) if t == trial] == list(range(1, epoch + 1))
    assert [entry["state"] for entry in entries if entry["event"] == "end"] == ["interrupted", "completed"]
    assert differences(SearchSpace.load(str(PLAIN)), entries_of(entries)) == []
    everywhere = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in everywhere if secret.encode() in path.read_bytes()]


def test_a_job_on_one_node_needs_no_cluster_and_hands_on_every_exit_status(slurm, submit, tmp_path):
    tiny = ["--space", str(PLAIN), "--data", "demo:120", "--trials", "2", "--epochs", "1", "--no-confirm"]
    good = submit("--cpus-per-node", "1", "--", "search", *tiny)
    bad = submit("--cpus-per-node", "1", "--", "evaluate", "no-such-model")
    for job in (good, bad):
        until(lambda job=job: slurm.job(job)["JobState"] in ("COMPLETED", "FAILED"), what=slurm.logs)

    assert slurm.job(good)["ExitCode"] == "0:0", output(tmp_path, good)
    assert slurm.job(bad)["ExitCode"] == "2:0", output(tmp_path, bad)
    assert "evaluate ended with exit status 2" in output(tmp_path, bad)
    (study,) = (tmp_path / "studies").iterdir()
    assert len(reported(study)) == 2
