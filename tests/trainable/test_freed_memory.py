"""What a process frees it keeps, where its C library can: the next step's activations are pages that it has."""

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
import torch
from trainable.freed_memory import keep_freed_memory

if sys.argv[1] == "keeps":
    assert keep_freed_memory()
torch.set_num_threads(1)
def step():
    return torch.ones(16 * 2**20).add(1)  # two blocks of 64 MiB
for _ in range(10):  # until the heap has found room for both
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    found = subprocess.run([sys.executable, "-c", _STEPS, how], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
def test_a_step_takes_its_memory_from_what_the_step_before_freed():
    assert page_faults("keeps") < 100
    assert page_faults("gives back") > 1000  # else this proves nothing
