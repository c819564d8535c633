"""Decoded images ahead of the model: in order, in memory that is not taken while in use, and gone however it ends."""

import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from trainable.data.decoding import decode
from trainable.errors import UserError
from trainable.frozen.image_feed import decoded_batches
from trainable.frozen.shared_buffer import SharedBuffer

SIDE = 16
BATCHES = [range(40), range(40, 47), [3, 1, 2], range(50, 90), range(90, 91), range(100, 140), range(140, 180)]


class ColourImages:
    """A small image of its own for each row; whoever reads a `deadly` row is killed."""

    def __init__(self, *, deadly: int | None = None) -> None:
        self.deadly = deadly

    def __len__(self) -> int:
        return 200

    def read(self, indices: Sequence[int]) -> list[bytes]:
        if self.deadly in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return [encode(row) for row in indices]


class WatchedImages(ColourImages):
    """Tells how far it was read, where a thread of this process reads."""

    def __init__(self, *, until: int) -> None:
        super().__init__()
        self.until, self.reached, self.rows = until, threading.Event(), set[int]()

    def read(self, indices: Sequence[int]) -> list[bytes]:
        self.rows.update(indices)
        if self.until in indices:
            self.reached.set()
        return super().read(indices)


def encode(row: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(row).integers(0, 256, (SIDE, SIDE + 3, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def expected(rows: Sequence[int]) -> np.ndarray:
    return np.stack([decode(encode(row), SIDE) for row in rows])


def shared_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("decoded-images")


@pytest.mark.seconds
@pytest.mark.parametrize("n_processes", [0, 2])
def test_batches_of_any_size_come_in_order(n_processes: int) -> None:
    feed = decoded_batches(ColourImages(), BATCHES, SIDE, n_processes=n_processes)
    for batch, decoded in zip(BATCHES, feed, strict=True):
        np.testing.assert_array_equal(decoded, expected(batch))


def test_no_batches_are_no_error() -> None:
    assert list(decoded_batches(ColourImages(), [], SIDE, n_processes=2)) == []


def test_a_batch_stays_as_it_is_while_all_others_ahead_are_decoded() -> None:
    batches = [range(10 * i, 10 * i + 10) for i in range(8)]
    images = WatchedImages(until=39)
    feed = decoded_batches(images, batches, SIDE, n_processes=0)
    first = next(feed)
    assert images.reached.wait(timeout=60)
    feed.close()  # waits for the batch that is being decoded
    assert images.rows == set(range(40))
    np.testing.assert_array_equal(first, expected(batches[0]))


@pytest.mark.seconds
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_a_feed_that_is_closed_early_leaves_no_process_and_no_memory() -> None:
    before = shared_mappings()
    feed = decoded_batches(ColourImages(), BATCHES, SIDE, n_processes=1)
    batch = next(feed)
    assert shared_mappings() > before
    feed.close()
    assert not multiprocessing.active_children()
    np.testing.assert_array_equal(batch, expected(BATCHES[0]))  # a view that is held stays good
    del batch
    assert shared_mappings() == before


@pytest.mark.seconds
def test_a_decoding_process_that_is_killed_is_an_error_of_one_line() -> None:
    feed = decoded_batches(ColourImages(deadly=141), BATCHES, SIDE, n_processes=2)
    with pytest.raises(UserError, match="image decoding processes must stay alive, but one was killed"):
        for _ in feed:
            pass


PARENT = """
import sys, time
sys.path[:0] = [{tests!r}, {root!r}]
import test_image_feed as t
if __name__ == "__main__":
    feed = t.decoded_batches(t.ColourImages(), t.BATCHES, t.SIDE, n_processes=1)
    next(feed)
    print("decoded", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow  # both processes import this file
def test_a_killed_parent_takes_its_decoding_processes_along(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(tests=str(Path(__file__).parent), root=str(Path(__file__).parents[2])))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "decoded\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs(children, timeout=30)[1] == []


@pytest.mark.seconds
@pytest.mark.parametrize("has_memfd", [True, False], ids=["memory", "temporary file, as on macOS"])
def test_shared_memory_has_no_name_that_could_stay(has_memfd: bool, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    batches = decoded_batches(ColourImages(), BATCHES, SIDE, n_processes=int(not has_memfd))
    np.testing.assert_array_equal(next(batches), expected(BATCHES[0]))
    assert list(tmp_path.iterdir()) == []
    batches.close()


def test_too_little_room_is_told_before_it_is_used() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(UserError, match=r"4\.0 MiB must be free for decoded images, but"):
            SharedBuffer(2**22)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
