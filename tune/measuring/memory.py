"""What memory a device has, and the most that this process ever took of it."""

import resource
import sys
from pathlib import Path

from trainable.allowance import usable_memory

CUDA_CONTEXT_BYTES = 600 * 2**20
"""What a process takes of a GPU beside its tensors (assumption; 400 to 600 MB on recent cards)."""


def device_memory(device: str) -> int:
    """Bytes that all trials side by side may take: a GPU's memory, or what this machine or container allows."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    return usable_memory()


def peak_bytes(device: str) -> int:
    """On a GPU what its allocator ever held, and the context; on a CPU the process's own memory at its highest.

    Memory-mapped files, features above all, are left out where the system tells them apart: trials share them.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved()) + CUDA_CONTEXT_BYTES
    status = Path("/proc/self/status")
    if status.is_file():
        kib = {name: value.split()[0] for name, _, value in (x.partition(":") for x in status.read_text().splitlines())
               if value.strip().endswith("kB")}  # fmt: skip
        return (int(kib["VmHWM"]) - int(kib["RssFile"])) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
