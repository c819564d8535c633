"""Nodes that share no folder: the study and the features lie on object storage."""

import os
import shutil

import pytest

from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
        reason="giving a node a disk of its own needs root and unshare",
    ),
]


def test_nodes_with_disks_of_their_own_search_with_study_and_features_on_object_storage(
    ray_cluster, processes, cli, remote, storage_server, tmp_path
):
    assert storage_server.endpoint
    data, cache = tmp_path / "data", tmp_path / "cache"
    cache.mkdir()
    own_disk = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(cache))
    assert cli("demo-data", data, "--specimens", 120).status == 0
    ray_cluster.start_head()
    ray_cluster.start_worker("127.0.0.2", inside=own_disk)
    options = [
        "--data", data, "--cache", cache, "--space", PLAIN, "--epochs", 2, "--no-confirm", "--workers", 1,
        "--features", remote / "features", "--address", ray_cluster.address,
    ]  # fmt: skip
    first = processes.run(
        "search", *options, "--trials", 2, "--study", remote / "study", "--json", **ray_cluster.environment
    )
    assert first.status == 0, first.stderr
    assert first.result["n_failed"] == 0
    assert "extracted 120 images" in first.stderr
    assert "copying the features from" in first.stderr  # to the driver's node, which did not extract

    shared = processes.run(
        "search", *options[:-4], "--address", ray_cluster.address, "--trials", 2, "--study", remote / "refused",
        **ray_cluster.environment,
    )  # fmt: skip
    assert shared.status == 2
    assert "must be one that every node can read and write" in shared.stderr

    ray_cluster.kill("127.0.0.2")
    ray_cluster.start_worker("127.0.0.3", inside=own_disk)  # a new machine, with nothing on its disk
    again = processes.run(
        "search", "--resume", remote / "study", "--trials", 3, "--cache", cache, "--address", ray_cluster.address,
        "--json", **ray_cluster.environment,
    )  # fmt: skip
    assert again.status == 0, again.stderr
    assert "nothing to extract" in again.stderr
    assert again.result["n_trials"] == 3
    assert not [entry for entry in read_plain(remote / "study") if entry["event"] in ("error", "retry")]
