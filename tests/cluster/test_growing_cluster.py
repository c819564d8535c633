"""A cluster that has no node for trials until one is asked for, with Ray's own autoscaler."""

import json

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.conftest import PLAIN
from tests.tune.plain_entries import read_plain

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture
def growing(ray_cluster, tmp_path):
    """A head without room for trials, whose autoscaler may start three workers of one CPU on this machine."""
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    worker = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 3}
    ray_cluster.environment |= {
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "0",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID, "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    }  # fmt: skip
    ray_cluster.choose_address()
    config = {
        "cluster_name": "growing", "max_workers": 3, "idle_timeout_minutes": 1, "upscaling_speed": 1.0,
        "provider": {"type": "fake_multinode", "gcs_address": ray_cluster.address, "launch_multiple": True},
        "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [], "rsync_exclude": [],
        "initialization_commands": [], "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [],
        "head_start_ray_commands": [], "worker_start_ray_commands": [], "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, "ray.worker.cpu": worker},
    }  # fmt: skip
    file = tmp_path / "growing.yaml"
    file.write_text(json.dumps(config))
    ray_cluster.start_head(words=("--autoscaling-config", str(file)))
    return ray_cluster


def test_a_search_has_a_cluster_grow_from_no_node_to_as_many_as_it_may_use(
    growing, processes, demo_cache, tracking_uri, tmp_path
):
    folder = tmp_path / "study"
    search = processes.start(
        "search", "--address", growing.address, "--data", "demo:120", "--space", PLAIN, "--trials", 4, "--epochs", 3,
        "--max-concurrent", 2, "--wait-for-nodes", "3m", "--no-confirm", "--study", folder,
        "--cache", demo_cache, "--tracking-uri", tracking_uri, **growing.environment,
    )  # fmt: skip
    ended = processes.wait(search)

    assert ended.status == 0, ended.stderr
    assert "waiting for a node with 1 CPU to join, 180 s at most" in ended.stderr
    entries = read_plain(folder)
    assert [entry["state"] for entry in entries if entry["event"] == "tell"].count("failed") == 0
    assert sum(entry["event"] == "tell" for entry in entries) == 4
