"""Nodes that are lost in the middle of everything: no shard and no epoch is lost with them."""

import shutil
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from tune.decisions.differences import differences
from tune.journal.journal import read_entries

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

DATA, HEAD, FIRST, SECOND, LATE = "demo:400", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
N_TRIALS, N_EPOCHS = 8, 10
EXTRACTS, TRAINS = "ray::ExtractionWorker.extract", "ray::TailTrainable.train"


@pytest.fixture
def search(processes, ray_cluster, tracking_uri, tmp_path):
    """Starts `search` on the cluster in a process, with a cache of the test's own."""

    def run(*argv):
        options = {"--address": ray_cluster.address, "--cache": tmp_path / "cache", "--tracking-uri": tracking_uri}
        words = [word for pair in options.items() for word in pair]
        return processes.start("search", *words, "--no-confirm", *argv, **ray_cluster.environment)

    return run


def of_kind(folder: Path, kind: str) -> list[dict]:
    try:
        return [entry for entry in read_plain(folder) if entry["event"] == kind]
    except UserError:
        return []  # not begun yet


def records(cache: Path) -> dict[Path, int]:
    """Of the shards that are written: when."""
    return {file: file.stat().st_mtime_ns for file in (cache / "features").glob("*/tap-*/shard-*.json")}


def features(cache: Path) -> dict[str, bytes]:
    (store,) = [path for path in (cache / "features").iterdir() if path.is_dir()]
    return {str(file.relative_to(store)): file.read_bytes() for file in store.glob("tap-*/*.npy")}


def check_epochs(folder: Path) -> None:
    """Every trial has one end, every epoch of it was reported exactly once and in order, and the decisions follow."""
    told = [entry["trial"] for entry in of_kind(folder, "tell")]
    assert sorted(told) == [f"t{number:04d}" for number in range(N_TRIALS)]
    for trial in told:
        epochs = [entry["epoch"] for entry in of_kind(folder, "report") if entry["trial"] == trial]
        assert epochs == list(range(1, len(epochs) + 1))
    assert differences(SearchSpace.load(str(PLAIN)), read_entries(folder)) == []


def test_no_shard_and_no_epoch_is_lost_with_a_node_and_a_new_head_goes_on_with_the_study(
    search, ray_cluster, processes, cli, tmp_path
):
    cache, folder = tmp_path / "cache", tmp_path / "study"

    ray_cluster.start_head(HEAD)
    for ip in (FIRST, SECOND):
        ray_cluster.start_worker(ip)
    options = {"--data": DATA, "--space": PLAIN, "--trials": N_TRIALS, "--epochs": N_EPOCHS, "--study": folder}
    driver = search(*(word for pair in options.items() for word in pair))

    # a node dies during the extraction
    # (here and below, what works is held at where it is: however fast the others are, it has not ended when it is lost)
    held: list[str] = []

    def one_is_held() -> bool:
        for ip in (FIRST, SECOND):
            if not held and ray_cluster.suspend(ip, EXTRACTS):
                held.append(ip)
        return bool(held)

    ray_cluster.wait_until(one_is_held, runs=driver)
    (first,) = held
    second = SECOND if first == FIRST else FIRST
    ray_cluster.wait_until(lambda: len(records(cache)) >= 2, runs=driver)
    ray_cluster.kill(first)
    written = records(cache)
    ray_cluster.wait_until(lambda: of_kind(folder, "report"), runs=driver)
    assert written.items() <= records(cache).items()
    shown = processes.errors_of(driver)
    assert f"node {first} died" in shown
    assert "extracted 400 images" in shown

    # a node joins during the search, and another one dies
    ray_cluster.wait_until(lambda: ray_cluster.suspend(second, TRAINS), runs=driver)
    ray_cluster.start_worker(LATE)
    ray_cluster.wait_until(lambda: ray_cluster.suspend(LATE, TRAINS), runs=driver)
    ray_cluster.kill(second)
    ray_cluster.wait_until(lambda: of_kind(folder, "retry"), runs=driver)
    (retry,) = of_kind(folder, "retry")
    assert retry["blameless"]
    assert f"node {second} died" in retry["reason"]
    n_reports = len(of_kind(folder, "report"))
    ray_cluster.resume(LATE, TRAINS)
    ray_cluster.wait_until(lambda: len(of_kind(folder, "report")) > n_reports, runs=driver)

    assert "Traceback" not in processes.errors_of(driver)

    # the head dies, and with it the driver
    ray_cluster.wait_until(lambda: ray_cluster.suspend(LATE, TRAINS), runs=driver)
    ray_cluster.kill(HEAD)
    ended = processes.wait(driver)
    assert ended.status not in (0, 2)
    ray_cluster.kill(LATE)
    before = read_plain(folder)

    ray_cluster.start_head(HEAD, n_cpus=1)
    again = processes.wait(search("--resume", folder))
    assert again.status == 0, again.stderr
    assert "nothing to extract" in again.stderr
    assert read_plain(folder)[: len(before)] == before
    check_epochs(folder)
    assert not of_kind(folder, "error")
    assert "is that of epoch 0" not in ended.stderr + again.stderr  # no trial began from nothing again

    (drawn,) = cache.glob("demo-*")
    shutil.copytree(drawn, tmp_path / "alone" / drawn.name)
    assert cli("extract", "--local", "--data", DATA, "--space", PLAIN, "--cache", tmp_path / "alone").status == 0
    assert features(tmp_path / "alone") == features(cache)
