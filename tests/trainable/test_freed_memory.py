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
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))  # a small block in between may still move a large one, once
"""

_GIVES_BACK = """
import psutil, torch
from trainable.freed_memory import give_back_freed_memory, keep_freed_memory

assert keep_freed_memory()
resident = lambda: psutil.Process().memory_info().rss
before = resident()
torch.ones(64 * 2**20)  # 256 MiB, and free again
kept = resident() - before
assert give_back_freed_memory()
print(kept, resident() - before)
"""


def page_faults(how: str) -> int:
    """Of one step."""
    found = subprocess.run([sys.executable, "-c", _STEPS, how], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
def test_a_step_takes_its_memory_from_what_the_step_before_freed():
    assert page_faults("keeps") < 100
    assert page_faults("gives back") > 1000  # else this proves nothing


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
def test_where_memory_is_short_all_of_it_goes_back():
    found = subprocess.run([sys.executable, "-c", _GIVES_BACK], capture_output=True, text=True, check=True)
    kept, left = map(int, found.stdout.split())
    assert kept > 200 * 2**20
    assert left < 20 * 2**20
