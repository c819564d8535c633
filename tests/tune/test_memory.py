"""A trial that needs more memory than there is, in a process whose address space is limited for real."""

import contextlib
import resource
import subprocess
import time
from pathlib import Path

import pytest

from tests.tune.plain_entries import read_plain
from trainable.errors import UserError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOM_BYTES = 256 * 2**20
"""Over the most that the search held while a small trial ran an epoch: MLflow, imported meanwhile, finds room in it;
the large trial, which takes some 500 MB more, does not."""

SPACE = """
about: a small trial, one with all specimens in a batch, a small one
base: default
start_from:
- default
- {name: large, tail.n_blocks: 6, adapter.kind: full, optim.batch_size: 1024}
- {name: small, optim.batch_size: 32}
parameters:
  tail.n_blocks: {choices: [2, 6], role: scientific, why: deep ones need more}
  adapter.kind: {choices: [full, lora], role: scientific, why: full weights need more}
  optim.batch_size: {choices: [32, 64, 1024], role: nuisance, why: the largest does not fit}
"""


def await_event(folder: Path, kind: str, search: subprocess.Popen, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while search.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(UserError):  # not begun yet
            if any(entry["event"] == kind for entry in read_plain(folder)):
                return
        time.sleep(0.01)


def test_out_of_memory_a_trial_is_run_once_more_in_half_batches_and_the_search_goes_on(
    processes, tracking_uri, tmp_path
):
    folder, space = tmp_path / "study", tmp_path / "large.yaml"
    space.write_text(SPACE)
    search = processes.start(
        "search", "--local", "--data", "demo:1500", "--space", space, "--trials", 3, "--epochs", 2, "--workers", 1,
        "--variants-in-full", "--no-confirm", "--study", folder, "--tracking-uri", tracking_uri, "--json",
    )  # fmt: skip
    await_event(folder, "report", search)
    status = Path(f"/proc/{search.pid}/status").read_text()
    (peak_kib,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmPeak")]
    resource.prlimit(search.pid, resource.RLIMIT_AS, (peak_kib * 1024 + ROOM_BYTES, resource.RLIM_INFINITY))
    # The limit counts all that the process ever mapped, so it stands for as long as the large trial is the one short of
    # memory: longer, and threads or libraries that have nothing to do with a trial would fail to be loaded.
    await_event(folder, "retry", search)
    resource.prlimit(search.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    ended = processes.wait(search)

    assert ended.status == 0, ended.stderr
    assert "t0001 is tried again: out of memory: batch split in 2, same effective batch" in ended.stderr
    entries = read_plain(folder)
    assert not [entry for entry in entries if entry["event"] == "error"]
    (retry,) = [entry for entry in entries if entry["event"] == "retry"]
    assert retry["trial"] == "t0001"
    assert retry["config"]["optim"]["batch_size"] == 1024
    assert retry["config"]["optim"]["accumulation_steps"] == 2
    ends = {entry["trial"]: entry["state"] for entry in entries if entry["event"] == "tell"}
    assert ends == {"t0000": "completed", "t0001": "completed", "t0002": "completed"}
