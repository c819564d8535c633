"""A disk that cannot hold the features of all depths: the deepest needed one is kept, and trials run the rest."""

import shutil

import pytest
import torch

from tests.trainable.rounding import input_bound
from tests.tune.plain_entries import read_plain

TAP_BYTES = 76 * 17 * 128 * 2
"""Of 76 specimens with 17 tokens of 128 half-precision numbers."""


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes the disk says it has."""
    usage = shutil.disk_usage("/")

    def limit(n_bytes: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=n_bytes))

    return limit


@pytest.mark.seconds
def test_only_the_deepest_needed_depth_is_kept_and_it_is_said_in_one_line(cli, free, tmp_path):
    argv = [
        "extract",
        "--local",
        "--data",
        "demo:76",
        "--space",
        "smoke",
        "--workers",
        1,
        "--cache",
        tmp_path,
        "--json",
    ]
    free(int(1.5 * TAP_BYTES))
    small = cli(*argv)
    free(TAP_BYTES // 2)
    again = cli(*argv)
    free(10 * TAP_BYTES)
    large = cli(*argv)

    assert (small.status, small.result["taps"]) == (0, [4])
    (line,) = [line for line in small.stderr.splitlines() if "the disk of" in line]
    assert line.endswith("only the deepest one needed, 4, is kept: trials run the blocks above it")
    assert (again.result["taps"], again.result["n_extracted"]) == ([4], 0)
    assert (large.result["taps"], large.result["n_extracted"]) == ([4, 5], 76)


def test_a_disk_too_small_for_a_single_depth_is_refused(cli, free, tmp_path):
    free(TAP_BYTES // 2)
    ended = cli("extract", "--local", "--data", "demo:76", "--space", "smoke", "--workers", 1, "--cache", tmp_path)

    assert ended.status == 2
    assert "free some" in ended.stderr


@pytest.mark.slow
def test_trials_above_the_kept_depth_learn_the_same(demo_search, free, tmp_path):
    words = ["--data", "demo:76", "--trials", 2, "--no-variants", "--seed", 7]
    assert demo_search(*words, "--study", tmp_path / "all", "--cache", tmp_path / "roomy").status == 0
    free(int(1.5 * TAP_BYTES))
    assert demo_search(*words, "--study", tmp_path / "one", "--cache", tmp_path / "small").status == 0

    found = []
    for name in ("all", "one"):
        entries = read_plain(tmp_path / name)
        assert {e["config"]["tail"]["n_blocks"] for e in entries if e["event"] == "ask"} == {1, 2}
        found.append([e["metrics"]["score/all"] for e in entries if e["event"] == "report"])
    # features of other depths are rounded to half precision, before the blocks between or after them
    assert found[1] == pytest.approx(found[0], rel=input_bound(torch.float16))
