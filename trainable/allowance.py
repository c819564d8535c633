"""What this process may use of its machine: CPUs by affinity and cgroup quota, memory by cgroup limit.

A job of 4 CPUs on a node of 128 has 4, whatever `os.cpu_count()` says. Both versions of cgroups are read:
https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max, memory.max) and cgroup-v1 (cpu.cfs_*, memory.limit_*).
"""

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_V1 = {"cpu.max": "cpu", "memory.max": "memory"}


def usable_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may keep busy, at least 1.

    root: where /proc and /sys lie.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _cpu_quotas(root))]))


def usable_memory(root: Path = ROOT) -> int:
    """Bytes of main memory that this process and those beside it in its cgroup may take.

    root: where /proc and /sys lie.
    """
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *_memory_limits(root)])


def _cpu_quotas(root: Path) -> Iterator[float]:
    """CPUs' worth of time, of this process's cgroup and each one around it that has a quota."""
    for group in _groups(root, "cpu.max"):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):  # else "max", or -1
            yield int(quota) / int(period)


def _memory_limits(root: Path) -> Iterator[int]:
    for group in _groups(root, "memory.max"):
        limit = _text(group / "memory.max") or _text(group / "memory.limit_in_bytes")
        if limit.isdecimal():
            yield int(limit)


def _groups(root: Path, file: str) -> Iterator[Path]:
    """Folders of this process's cgroup and those around it, as far as they can be seen from here.

    Within a container they may be named as the host has them while only the container's own is mounted, as the root.
    """
    mounts = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        if not controllers:
            tops = {mounts, mounts / "unified"}
        elif _V1[file] in controllers.split(","):
            tops = {mounts / controllers, mounts / _V1[file]}
        else:
            continue
        inner = Path(path.lstrip("/"))
        for top in tops:
            yield from (top / group for group in (inner, *inner.parents))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
