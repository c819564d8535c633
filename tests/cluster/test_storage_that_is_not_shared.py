"""A node that has other files behind the same paths: found out before anything is computed, and told."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain
from trainable.errors import UserError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HEAD, SHARING, APART = "127.0.0.2", "127.0.0.3", "127.0.0.4"
TRAINS = "ray::TailTrainable.train"


def of_kind(folder: Path, kind: str) -> list[dict]:
    try:
        return [entry for entry in read_plain(folder) if entry["event"] == kind]
    except UserError:
        return []  # not begun yet


def can_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root and the right to make mount namespaces")
def test_a_node_without_the_shared_folders_is_refused_at_the_start_and_left_out_when_it_joins_later(
    ray_cluster, processes, tmp_path
):
    shared = tmp_path / "shared"
    shared.mkdir()
    study = shared / "studies" / "beetles"
    hidden = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs {shared} && exec "$@"', "sh")
    ray_cluster.start_head(HEAD)
    ray_cluster.start_worker(SHARING)
    ray_cluster.start_worker(APART, inside=hidden)
    options = {
        "--address": ray_cluster.address, "--data": "demo:120", "--space": PLAIN, "--trials": 20,
        "--epochs": 20,
        "--cache": shared / "cache", "--study": study, "--tracking-uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }  # fmt: skip
    argv = ["search", "--no-confirm", *(word for pair in options.items() for word in pair)]
    ended = processes.run(*argv, **ray_cluster.environment)

    assert ended.status == 2, ended.stderr
    problems = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert all(APART in line and SHARING not in line for line in problems)
    told = "\n".join(problems)
    for words in ("the study's folder", "--study s3://", "the folder of features", "cannot read"):  # the latter: data
        assert words in told
    assert "Traceback" not in ended.stderr
    assert not (shared / "studies").exists()
    assert not [path for path in shared.rglob("*") if "probe" in path.name or path.name == "features"]

    ray_cluster.kill(APART)
    driver = processes.start(*argv, **ray_cluster.environment)
    # what trains is held at where it is: the search lasts until the other node is heard of
    ray_cluster.wait_until(lambda: ray_cluster.suspend(SHARING, TRAINS), runs=driver)
    ray_cluster.start_worker(APART, inside=hidden)
    ray_cluster.wait_until(lambda: of_kind(study, "retry"), runs=driver)
    ray_cluster.resume(SHARING, TRAINS)
    given_back = of_kind(study, "retry")[0]["trial"]
    ray_cluster.wait_until(lambda: given_back in [entry["trial"] for entry in of_kind(study, "report")], runs=driver)
    processes.press_ctrl_c(driver)
    ended = processes.wait(driver)

    assert ended.status == 130, ended.stderr
    assert ended.stderr.count("gets no more trials") == 1
    assert not of_kind(study, "error")
    assert all(entry["blameless"] and "cannot read" in entry["reason"] for entry in of_kind(study, "retry"))
    assert {entry["state"] for entry in of_kind(study, "tell")} <= {"completed", "pruned"}
