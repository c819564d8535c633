"""Searches side by side on one cluster of unequal nodes: each keeps to its part, and none disturbs another."""

import json

import pytest

from search_spaces.space import SearchSpace
from tests.conftest import PLAIN
from tests.tune.plain_entries import entries_of, read_plain
from tune.decisions.differences import differences

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

UNEQUAL = """
about: trials that need little memory, and trials that need much
base: ft_did
start_from:
- {name: small, tail.n_blocks: 1, optim.batch_size: 16}
- {name: large, tail.n_blocks: 2, optim.batch_size: 512}
parameters:
  tail.n_blocks: {choices: [1, 2], role: scientific, why: deep ones need more}
  optim.batch_size: {choices: [16, 512], role: nuisance, why: large ones need more}
  optim.lr: {float: [1.0e-4, 1.0e-3], log: true, role: nuisance, why: any}
"""


def most_at_once(entries: list[dict]) -> int:
    """Trials that were asked for and not told, at most."""
    running, most = set(), 0
    for entry in entries:
        if entry["event"] == "ask":
            running.add(entry["trial"])
        elif entry["event"] == "tell":
            running.discard(entry["trial"])
        most = max(most, len(running))
    return most


def test_searches_share_a_cluster_by_fractions_and_by_a_named_resource(
    ray_cluster, processes, demo_cache, tracking_uri, tmp_path
):
    ray_cluster.start_head(
        "127.0.0.1", n_cpus=3, words=("--num-gpus", "1", "--resources", '{"ours": 1}', "--memory", "8000000000")
    )
    ray_cluster.start_worker("127.0.0.2", n_cpus=1, words=("--memory", "1200000000"))
    (tmp_path / "unequal.yaml").write_text(UNEQUAL)

    def start(name: str, *argv: object):
        return processes.start(
            "search", "--address", ray_cluster.address, "--data", "demo:120", "--cache", demo_cache,
            "--tracking-uri", tracking_uri, "--study", tmp_path / name, "--no-confirm", "--epochs", 2,
            "--device", "cpu", "--workers", 64, "--json", *argv, **ray_cluster.environment,
        )  # fmt: skip

    small, unequal = ("--space", PLAIN, "--cpus-per-trial", 0.5), tmp_path / "unequal.yaml"
    started = {
        "halves": start("halves", *small, "--trials", 3, "--gpus-per-trial", 0.5),
        "named": start("named", *small, "--trials", 2, "--trial-resources", "ours=1"),
        "unequal": start(
            "unequal", "--space", unequal, "--trials", 3, "--cpus-per-trial", 0.5, "--max-concurrent", 2
        ),
    }  # fmt: skip
    ended = {name: processes.wait(process) for name, process in started.items()}

    assert {end.status for end in ended.values()} == {0}, [end.stderr for end in ended.values()]
    assert ray_cluster.is_up()
    assert "MLflow" not in "".join(end.stderr for end in ended.values())  # it took all records
    entries = {name: read_plain(tmp_path / name) for name in ended}
    assert (
        most_at_once(entries["halves"]) == 2
    )  # two halves of one GPU, where CPUs are for six, whatever --workers says
    assert most_at_once(entries["named"]) == 1
    assert most_at_once(entries["unequal"]) <= 2
    assert "nodes differ in memory" in ended["unequal"].stderr
    assert "nodes differ in memory" not in ended["halves"].stderr + ended["named"].stderr
    for name, space in (("halves", PLAIN), ("named", PLAIN), ("unequal", unequal)):
        assert differences(SearchSpace.load(str(space)), entries_of(entries[name])) == []
        assert not [entry for entry in entries[name] if entry["event"] in ("error", "retry")]
        assert json.loads(ended[name].stdout)["n_trials"] == len([e for e in entries[name] if e["event"] == "tell"])
