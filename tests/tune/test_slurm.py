"""A Slurm job's script says what was asked for, runs exactly that, and knows when to come back."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ODD = 'it\'s "$HOME" & `date`; *.sh \\ é\nnext line'

PROGRAM = f"""#!{sys.executable}
import json, os, pathlib, signal, sys, time
argv = sys.argv[3:]
with open("calls", "a") as calls:
    calls.write(json.dumps([argv, os.getcwd()]) + "\\n")
if argv[0] == "status":
    sys.exit(0 if pathlib.Path(argv[1]).exists() else 2)
n_interrupts = 0
def interrupt(*_):
    global n_interrupts
    n_interrupts += 1
signal.signal(signal.SIGINT, interrupt)
pathlib.Path("started").touch()
while n_interrupts < int(os.environ.get("INTERRUPTS", 0)):
    time.sleep(0.02)
sys.exit(130 if n_interrupts else int(os.environ.get("STATUS", 0)))
"""
"""Takes the place of Python on the node: notes what it is called with, and ends as it is told or when interrupted."""

VERBS = {
    "search": ["search"],
    "search on Ray": ["--nodes", "3", "--", "search", "--trials", "64"],
    "search that goes on": ["search", "--resume", "studies/one"],
    "search in one process": ["search", "--local"],
    "confirm on Ray": ["--nodes", "2", "--", "confirm", "studies/one"],
    "plan": ["plan", "--trials", "64"],
    "extract": ["extract"],
    "study on object storage": ["search", "--study", "s3://beetles/studies/one"],
    "train": ["train", "--variant", "lora"],
    "retrain": ["retrain", "studies/one"],
    "evaluate": ["evaluate", "champion/model"],
    "odd words": ["--job-name", "a \"b\" $c 'd'", "--log-dir", "logs of 100% 'x'", "--", "search", "--data", ODD],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with blanks and signs in its name."""
    place = tmp_path / 'beetles "and" $more'
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def write(cli, folder):
    """Writes a script with these words, returns it."""

    def script(*argv: object) -> Path:
        outcome = cli("slurm", "--out", "job.sh", *argv)
        assert outcome.status == 0, outcome.stderr
        return folder / "job.sh"

    return script


def directives(script: Path) -> dict[str, str]:
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    words = [word for line in lines for word in shlex.split(line)[1:]]
    return {name: value for name, _, value in (word.removeprefix("--").partition("=") for word in words)}


def test_what_was_asked_of_slurm_is_asked_of_slurm(write, folder):
    asked = directives(
        write(
            "--nodes", 2, "--time", "1h30m", "--partition", "gpu", "--account", "beetles", "--gpus-per-node", "a100:4",
            "--cpus-per-node", 32, "--mem", "64G", "--qos", "long", "--constraint", "ib&a100",
            "--mail-user", "ada@example.org", "--warn-before", "10m", "--", "search",
        )
    )  # fmt: skip

    assert asked == {
        "job-name": "sentinel-search", "nodes": "2", "ntasks-per-node": "1", "cpus-per-task": "32",
        "gpus-per-node": "a100:4", "mem": "64G", "time": "0-01:30:00", "partition": "gpu", "account": "beetles",
        "qos": "long", "constraint": "ib&a100", "output": f"{folder}/slurm/sentinel-search-%j.out",
        "open-mode": "append", "requeue": "", "signal": "B:USR1@600", "mail-user": "ada@example.org",
        "mail-type": "END,FAIL,REQUEUE",
    }  # fmt: skip
    assert (folder / "slurm").is_dir()


def test_what_was_not_asked_is_left_to_slurm(write):
    assert (
        not {"time", "mem", "partition", "gpus-per-node", "mail-user", "mail-type"} & directives(write("train")).keys()
    )


@pytest.mark.parametrize("argv", VERBS.values(), ids=VERBS)
def test_shellcheck_finds_nothing_in_any_script(write, argv):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    checked = subprocess.run(["shellcheck", write(*argv)], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


class Node:
    """Runs a script as Slurm would, with `PROGRAM` as its Python and an scontrol that notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs = folder, folder.parent / "programs"
        self.programs.mkdir()
        for name, text in {"python": PROGRAM, "scontrol": '#!/bin/sh\necho "$@" >> scontrol-calls\n'}.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def start(self, script: Path, **environment: str) -> subprocess.Popen:
        path = f"{self.programs}:{os.environ['PATH']}"
        slurm = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "5", "PATH": path}
        return subprocess.Popen(["bash", script], cwd="/", env={**os.environ, **slurm, **environment})

    def when_started(self) -> None:
        deadline = time.monotonic() + 20
        while not (self.folder / "started").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def calls(self) -> list[list]:
        import json

        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def requeued(self) -> bool:
        file = self.folder / "scontrol-calls"
        return file.exists() and file.read_text() == "requeue 7\n"


@pytest.fixture
def node(folder):
    return Node(folder)


def test_the_command_arrives_word_for_word_in_the_folder_where_the_script_was_written(write, node, folder):
    script = write("--python", node.programs / "python", "--", "train", "--data", ODD, "--out", "a b", "--workers=3")

    assert node.start(script).wait(20) == 0
    assert node.calls() == [[["train", "--data", ODD, "--out", "a b", "--workers=3"], str(folder)]]


def test_the_job_ends_with_the_status_of_the_command(write, node):
    script = write("--python", node.programs / "python", "--", "evaluate", "model")

    assert node.start(script, STATUS="3").wait(20) == 3
    assert not node.requeued


def test_a_node_is_prepared_first(write, node):
    script = write("--setup", "export STATUS=4", "--python", node.programs / "python", "--", "evaluate", "model")

    assert node.start(script).wait(20) == 4


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("sent", "environment", "is_requeued"),
    [
        (signal.SIGUSR1, {"INTERRUPTS": "1"}, True),
        (signal.SIGUSR1, {"INTERRUPTS": "2"}, True),  # an epoch that is too long is stopped on its way
        (signal.SIGUSR1, {"INTERRUPTS": "1", "SLURM_RESTART_COUNT": "3"}, False),
        (signal.SIGTERM, {"INTERRUPTS": "1"}, False),
    ],
    ids=["warned", "warned, not listening", "warned for the last time", "cancelled"],
)
def test_a_job_whose_time_is_over_goes_back_into_the_queue(write, node, sent, environment, is_requeued):
    script = write(
        "--warn-before", "1s", "--max-requeues", 3, "--python", node.programs / "python", "--", "train", "--out", "x"
    )
    job = node.start(script, **environment)
    node.when_started()
    job.send_signal(sent)

    assert job.wait(20) == 130
    assert node.requeued is is_requeued


def test_an_evaluation_that_is_too_long_is_not_begun_again(write, node):
    job = node.start(write("--python", node.programs / "python", "--", "evaluate", "model"), INTERRUPTS="1")
    node.when_started()
    job.send_signal(signal.SIGUSR1)

    assert job.wait(20) == 130
    assert not node.requeued


def test_a_search_has_one_study_and_goes_on_with_it(write, node, folder):
    script = write("--python", node.programs / "python", "--", "search", "--local", "--space", "smoke")
    assert node.start(script).wait(20) == 0
    (looked, study), (searched, *_) = node.calls()[0][0], node.calls()[1][0:1]
    assert looked == "status"
    assert Path(study).parent == folder / "studies"
    assert searched == ["search", "--local", "--space", "smoke", "--study", study, "--workers", "5"]

    Path(study).mkdir(parents=True)
    assert node.start(script).wait(20) == 0
    assert node.calls()[-1][0] == [*searched, "--resume", study]


def test_the_script_that_the_docs_show_is_the_one_that_is_written(cli, tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs" / "slurm.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```bash\n(#!.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    (command,) = re.findall(r"^(sentinel-tune slurm --nodes 2(?:.*\\\n)*.*)$", text, flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)

    assert cli(*shlex.split(command.replace("\\\n", " "))[1:]).status == 0
    assert (tmp_path / "search.sh").read_text().replace(str(tmp_path), "/beetles") == shown


def test_without_sbatch_nothing_is_written_and_one_line_says_so(cli, folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    outcome = cli("slurm", "--submit", "--", "search")

    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.count("\n") == 1
    assert "sbatch" in outcome.stderr
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--partition", "gpu\n#SBATCH --exclusive", "--", "search"], "--partition"),
        (["--gpus-per-node", "many", "--", "search"], "--gpus-per-node"),
        (["--mem", "64 gigabytes", "--", "search"], "--mem"),
        (["--time", "4m", "--", "search"], "--warn-before < --time"),
        (["--warn-before", "20h", "--", "search"], "--warn-before <= 65535"),
        (["--nodes", "2", "--", "train"], "--nodes"),
        (["--nodes", "0", "--", "search"], "--nodes >= 1"),
        (["--nodes", "2", "--", "search", "--local"], "--local"),
        (["--", "search", "--address", "10.0.0.1:6379"], "--address"),
        (["--", "search", "--tracking-uri", "http://ada:geheim@mlflow.example"], "--tracking-uri"),
        (["--", "search", "--trails", "3"], "did you mean `--trials`?"),
        (["--", "predict", "model"], "must be given a command"),
        (["--out", "calendar", "--", "search"], "--out"),
        (["--log-dir", "a\\b", "--", "search"], "--log-dir"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(cli, folder, argv, said):
    (folder / "calendar").write_text("mine")
    outcome = cli("slurm", *argv)

    assert outcome.status == 2
    assert said in outcome.stderr
    assert "geheim" not in outcome.stderr
    assert [path.name for path in folder.iterdir()] == ["calendar"]
    assert (folder / "calendar").read_text() == "mine"
