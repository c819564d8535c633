"""CPUs and memory that a process may use, against cgroup trees laid out as kernels, containers and Slurm have them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainable.allowance import usable_cpus, usable_memory

GIB = 2**30
MINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
HALF = (str(MINE * 50_000), "100000")
"""A quota of half the CPUs that affinity gives."""


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A root folder with /proc/self/cgroup and files of /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


V2, V1 = "0::/slurm/job_7/step_0", "12:pids:/\n4:cpu,cpuacct:/slurm/job_7\n3:memory:/slurm/job_7\n0::/"
TREES = {
    "v2, on the group itself": (V2, {"slurm/job_7/step_0/cpu.max": " ".join(HALF)}),
    "v2, on a group around it": (V2, {"slurm/job_7/step_0/cpu.max": "max 100000", "slurm/cpu.max": " ".join(HALF)}),
    "v2, named from outside of the container": ("0::/docker/abc", {"cpu.max": " ".join(HALF)}),
    "v1": (V1, {"cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": HALF[0],
                "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": HALF[1]}),
    "v1, mounted by one name": (V1, {"cpu/slurm/job_7/cpu.cfs_quota_us": HALF[0],
                                     "cpu/slurm/job_7/cpu.cfs_period_us": HALF[1]}),
    "v1, container": (V1, {"cpu/cpu.cfs_quota_us": HALF[0], "cpu/cpu.cfs_period_us": HALF[1]}),
}  # fmt: skip


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_quota_of_cpu_time_counts_as_whole_cpus_and_at_least_one(tmp_path, tree):
    assert usable_cpus(machine(tmp_path, *tree)) == max(1, MINE // 2)


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("", {}),
        (V2, {"slurm/job_7/step_0/cpu.max": "max 100000"}),
        (V2, {"slurm/job_7/step_0/cpu.max": f"{(MINE + 1) * 100_000} 100000"}),
        (V1, {"cpu/slurm/job_7/cpu.cfs_quota_us": "-1", "cpu/slurm/job_7/cpu.cfs_period_us": "100000"}),
        ("0::/mine", {"others/cpu.max": "50000 100000"}),
    ],
    ids=["no cgroups", "v2 without quota", "more than affinity", "v1 without quota", "a quota of others"],
)
def test_without_a_lower_quota_affinity_decides(tmp_path, cgroup, files):
    assert usable_cpus(machine(tmp_path, cgroup, files)) == MINE


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (V2, {"slurm/job_7/memory.max": str(GIB), "slurm/memory.max": str(2 * GIB), "cpu.max": "max 100000"}),
        (V2, {"slurm/job_7/step_0/memory.max": "max", "memory.max": str(GIB)}),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": str(GIB)}),
    ],
    ids=["v2", "v2, on the root of a container", "v1"],
)
def test_the_lowest_limit_of_memory_counts(tmp_path, cgroup, files):
    assert usable_memory(machine(tmp_path, cgroup, files)) == GIB


def test_an_endless_limit_of_memory_is_that_of_the_machine(tmp_path):
    installed = usable_memory(tmp_path / "nothing")
    assert installed == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    endless = {"memory/slurm/job_7/memory.limit_in_bytes": "9223372036854771712"}
    assert usable_memory(machine(tmp_path, V1, endless)) == installed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have no affinity here")
def test_workers_are_by_default_as_many_as_the_cpus_of_the_process():
    code = "from tune.command_line.options import MachineOptions; print(MachineOptions().workers)"
    one = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {code}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["1"]
