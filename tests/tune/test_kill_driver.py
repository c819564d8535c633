"""SIGKILL of a search's driver at random moments: nothing that was finished is lost, doubled or decided otherwise."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search_spaces.space import SearchSpace
from tests.conftest import PLAIN
from tests.tune.plain_entries import entries_of, read_plain
from trainable.errors import UserError
from trainable.training.checkpoint import load_latest
from tune.decisions.differences import differences

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

N_LOCAL_KILLS, N_RAY_KILLS = 18, 2
STARTING_SECONDS, LONGEST_LIFE_SECONDS = 3.0, 15.0
EPOCHS = 6

NURSERY = """
import json, os, sys
import mlflow.store.tracking.sqlalchemy_store, open_clip, optuna, peft, torch
import trainable.training.trainer, tune.verbs.search
from tune.cli import main
for line in sys.stdin:
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        os._exit(main(json.loads(line)))
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports once, what takes seconds, and forks a process for each command line; prints its id, then how it ended."""


class Driver:
    """A search in a process of its own; stdin and stdout are a nursery's."""

    def __init__(self, nursery: subprocess.Popen[str], argv: list[object]) -> None:
        assert nursery.stdin
        assert nursery.stdout
        nursery.stdin.write(json.dumps([str(word) for word in argv]) + "\n")
        nursery.stdin.flush()
        self._end = nursery.stdout
        self.pid = int(self._end.readline())

    def kill(self) -> bool:
        """Whether it still ran."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(self._end.readline())) == -signal.SIGKILL

    def wait(self) -> int:
        """Its exit status."""
        return os.waitstatus_to_exitcode(int(self._end.readline()))


@pytest.fixture
def nursery(own_environment: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    assert own_environment.is_dir()
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=tmp_path,
        )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def tracking_uri(tmp_path: Path) -> str:
    """A database that is not there yet, so that its making is killed, too."""
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def argv(demo_cache: Path, tracking_uri: str) -> Callable[..., list[object]]:
    """The command line that begins a study in a folder, or goes on with it, up to so many trials."""
    options = {
        "--data": "demo:120", "--cache": demo_cache, "--epochs": EPOCHS, "--seed": 11,
        "--workers": 1, "--tracking-uri": tracking_uri,
    }  # fmt: skip

    def words(folder: Path, n_trials: int, *, space: object = PLAIN) -> list[object]:
        begin = ["--space", space, *(word for pair in options.items() for word in pair)]
        place = ["--resume", folder] if entries_so_far(folder) else [*begin, "--no-confirm", "--study", folder]
        return ["search", "--trials", n_trials, *place]

    return words


def entries_so_far(folder: Path) -> list[dict]:
    try:
        return read_plain(folder)
    except UserError:
        return []  # not begun yet


def n_ends(folder: Path) -> int:
    return sum(entry["event"] == "end" for entry in entries_so_far(folder))


def wait_for_a_moment(folder: Path, chance: random.Random) -> None:
    """Until a random time has passed: since now, or since so many entries more were written."""
    n_events, seconds = 10**6, chance.uniform(0.05, STARTING_SECONDS)
    if chance.random() < 0.75:
        n_events, seconds = len(entries_so_far(folder)) + chance.randint(1, 30), LONGEST_LIFE_SECONDS
    deadline, n_ended = time.monotonic() + seconds, n_ends(folder)
    while time.monotonic() < deadline and len(entries_so_far(folder)) < n_events and n_ends(folder) == n_ended:
        time.sleep(0.002)
    time.sleep(chance.uniform(0.0, 0.05))


def check_no_checkpoint_is_damaged(folder: Path) -> None:
    """Every open trial that has reported can go on from a checkpoint, at most one epoch beyond its last report."""
    open_trials: dict[str, int] = {}
    for entry in entries_so_far(folder):
        if entry["event"] == "report":
            open_trials[entry["trial"]] = entry["epoch"]
        elif entry["event"] == "tell":
            open_trials.pop(entry["trial"], None)
    for trial, epoch in open_trials.items():
        state, skipped = load_latest(folder / "checkpoints" / trial)
        assert skipped == []
        assert state is not None
        assert 1 <= state["values"]["epoch"] <= epoch + 1


def check_whole(folder: Path, *, n_trials: int, space: object = PLAIN) -> None:
    """Every epoch's result is there once, every trial has one end, and the decisions follow from what came before."""
    entries = read_plain(folder)
    told = [entry["trial"] for entry in entries if entry["event"] == "tell"]
    assert sorted(told) == [f"t{number:04d}" for number in range(n_trials)]
    reported = [(entry["trial"], entry["epoch"]) for entry in entries if entry["event"] == "report"]
    for trial in told:
        epochs = [epoch for name, epoch in reported if name == trial]
        assert epochs == list(range(1, len(epochs) + 1))
    assert not [entry for entry in entries if entry["event"] in ("error", "retry")]
    assert differences(SearchSpace.load(str(space)), entries_of(entries)) == []


def learned(folder: Path) -> list[dict]:
    """Asks, results and ends in order, without the clock's values."""
    kept = {"ask": ("origin", "values", "config"), "report": ("epoch", "metrics"), "tell": ("state", "value", "reason")}
    found = []
    for entry in read_plain(folder):
        if entry["event"] in kept:
            values = {name: entry[name] for name in ("event", "trial", *kept[entry["event"]])}
            if entry["event"] == "report":
                values["metrics"] = {k: v for k, v in values["metrics"].items() if not k.startswith("time/")}
            found.append(values)
    return found


def check_tracked(tracking_uri: str, study_id: str, *, n_trials: int) -> None:
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("sentinel-tune")
    runs = client.search_runs([experiment.experiment_id], f"tags.`hpo.study` = '{study_id}'", max_results=1000)
    assert len(runs) == n_trials + 1
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_killed_at_random_moments_and_resumed_a_search_equals_one_that_was_not(nursery, argv, tracking_uri, tmp_path):
    chance, folder = random.Random(20), tmp_path / "killed often"
    n_trials, n_kills = 8, 0
    while n_kills < N_LOCAL_KILLS:
        if n_trials == sum(entry["event"] == "tell" for entry in entries_so_far(folder)):
            n_trials += 4  # it got to its end between two kills: more to do
        driver = Driver(nursery, [*argv(folder, n_trials, space="smoke"), "--local"])
        wait_for_a_moment(folder, chance)
        n_kills += driver.kill()
        check_no_checkpoint_is_damaged(folder)
    for place in (folder, tmp_path / "never killed"):
        assert Driver(nursery, [*argv(place, n_trials, space="smoke"), "--local"]).wait() == 0

    check_whole(folder, n_trials=n_trials, space="smoke")
    assert learned(folder) == learned(tmp_path / "never killed")
    check_tracked(tracking_uri, folder.name, n_trials=n_trials)
    n_sessions = sum(entry["event"] == "session" for entry in read_plain(folder))
    assert n_sessions > N_LOCAL_KILLS // 3  # most kills came after a session had begun


def test_killed_on_ray_too_and_the_local_twin_gives_the_same(processes, cli, argv, tracking_uri, tmp_path):
    folder, n_trials = tmp_path / "killed on ray", 6
    for n_events in (4, 26)[:N_RAY_KILLS]:
        n_before = len(entries_so_far(folder))
        driver = processes.start(*argv(folder, n_trials))
        deadline = time.monotonic() + 60
        while len(entries_so_far(folder)) < n_before + n_events and time.monotonic() < deadline:
            time.sleep(0.01)
        driver.kill()
        driver.wait()
        check_no_checkpoint_is_damaged(folder)
    ended = processes.run(*argv(folder, n_trials), "--json")

    assert ended.status == 0, ended.stderr
    check_whole(folder, n_trials=n_trials)
    assert cli(*argv(tmp_path / "local", n_trials), "--local").status == 0
    assert learned(folder) == learned(tmp_path / "local")
    check_tracked(tracking_uri, folder.name, n_trials=n_trials)


def test_a_disk_that_fills_up_stops_the_search_in_order_and_it_goes_on_when_there_is_room(
    processes, cli, argv, tracking_uri, tmp_path
):
    """A limit on the size of files stands for the full disk: it refuses the journal's next line."""
    import resource

    folder = tmp_path / "disk full"
    driver = processes.start(*argv(folder, 3))
    deadline = time.monotonic() + 240
    while sum(entry["event"] == "report" for entry in entries_so_far(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    journal = folder / "journal.jsonl"
    resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (journal.stat().st_size, resource.RLIM_INFINITY))
    ended = processes.wait(driver)

    assert ended.status == 2, ended.stderr
    assert "Best trial" in ended.stdout
    assert "File too large" not in ended.stdout  # told once, as the error
    assert re.search(
        r"error: .*journal\.jsonl was not: File too large; make room, then resume the study\n",
        ended.stderr,
    )
    assert "Traceback" not in ended.stderr
    again = cli(*argv(folder, 3), "--local", "--json")
    assert again.status == 0, again.stderr
    check_whole(folder, n_trials=3)
    check_tracked(tracking_uri, folder.name, n_trials=3)
