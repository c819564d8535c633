"""A node that has other files behind the same paths: found out before anything is computed, and told."""

import os
import subprocess

import pytest

from tune.journal import read_events

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

HEAD, SHARING, APART = "127.0.0.2", "127.0.0.3", "127.0.0.4"


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
        "--address": ray_cluster.address, "--data": "demo:120", "--space": "smoke", "--trials": 6, "--epochs": 30,
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
    ray_cluster.wait_until(lambda: "best" in processes.errors_of(driver), runs=driver)  # trials have begun
    ray_cluster.start_worker(APART, inside=hidden)
    ended = processes.wait(driver)

    assert ended.status == 0, ended.stderr
    events = read_events(study)
    assert ended.stderr.count("gets no more trials") == 1
    assert {event["event"] for event in events} & {"error"} == set()
    retries = [event for event in events if event["event"] == "retry"]
    assert retries
    assert all(event["blameless"] and "cannot read" in event["reason"] for event in retries)
    assert len([event for event in events if event["event"] == "tell"]) == 6
