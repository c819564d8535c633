"""What a process frees it keeps, where its C library can: the next step's activations are pages that it has."""

import platform
import subprocess
import sys

import pytest

_SIZE = 2**28
"""Of the block that is freed, bytes; what else moves meanwhile is held to a tenth of it, whatever a page's size."""

_STEPS = """
import sys
import psutil, torch
from trainable.freed_memory import keep_freed_memory

if sys.argv[1] == "keeps":
    assert keep_freed_memory()
resident = lambda: psutil.Process().memory_info().rss
before = resident()
torch.ones(int(sys.argv[2]) // 4)  # and free again
print(resident() - before)
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


def kept(how: str) -> int:
    """Bytes that stay with the process when a step has freed them."""
    command = [sys.executable, "-c", _STEPS, how, str(_SIZE)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.seconds
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
def test_what_a_step_freed_stays_for_the_step_after():
    assert kept("keeps") > 0.9 * _SIZE
    assert kept("gives back") < 0.1 * _SIZE  # else this proves nothing


@pytest.mark.seconds
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the setting")
def test_where_memory_is_short_all_of_it_goes_back():
    found = subprocess.run([sys.executable, "-c", _GIVES_BACK], capture_output=True, text=True, check=True)
    stayed, left = map(int, found.stdout.split())
    assert stayed > 0.9 * _SIZE
    assert left < 0.1 * _SIZE
