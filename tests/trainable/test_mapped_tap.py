"""One mapping of all shards gives every row as its file holds it, whatever the sizes of rows, shards and pages."""

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from trainable.frozen.mapped_tap import MappedTap

PAGE = mmap.ALLOCATIONGRANULARITY


def write_shards(folder: Path, sizes: list[int], shape: tuple[int, int], dtypes: str = "e") -> tuple[list[Path], list]:
    """Shards of so many rows; dtypes: a letter for each shard, or one for all."""
    rng, files, rows = np.random.default_rng(0), [], []
    for i, n_rows in enumerate(sizes):
        values = rng.standard_normal((n_rows, *shape)).astype(dtypes[i % len(dtypes)])
        files.append(folder / f"shard-{i}.npy")
        np.save(files[-1], values)
        rows.extend(torch.from_numpy(values))
    return files, rows


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((17, 128), [16, 16, 5]),  # rows that cross pages
        ((1, PAGE // 2), [3, 3, 3]),  # rows of a page
        ((3, 5), [200, 200, 1]),  # rows of a few bytes
        ((2, 2048), [1, 1, 1, 1]),
        ((7, 3), [9]),
    ],
)
@pytest.mark.parametrize("dtype", ["e", "f"])
def test_every_row_is_the_files(tmp_path, shape, sizes, dtype):
    files, rows = write_shards(tmp_path, sizes, shape, dtype)
    tap = MappedTap(files)

    order = np.random.default_rng(1).permutation(np.repeat(np.arange(len(rows)), 2))
    found = tap.gather(tap.positions(order))

    assert found.dtype == tap.dtype == rows[0].dtype
    assert torch.equal(found, torch.stack([rows[i] for i in order]))


def test_shards_of_two_types_are_gathered_in_the_wider(tmp_path):
    files, rows = write_shards(tmp_path, [4, 4, 4, 4, 2], (3, 8), "efeef")
    tap = MappedTap(files)
    out = torch.empty(7, 3, 8)
    order = np.array([17, 0, 5, 12, 5, 9, 16])

    assert tap.dtype == torch.float32
    assert tap.gather(tap.positions(order), out) is out
    assert torch.equal(out, torch.stack([rows[i].float() for i in order]))
    assert torch.equal(tap.gather(tap.positions(np.array([4]))), rows[4][None])


def test_a_buffer_is_filled_in_place(tmp_path):
    files, rows = write_shards(tmp_path, [4, 4], (3, 8))
    tap = MappedTap(files)
    buffer = torch.empty(5, 3, 8, dtype=torch.float16)

    tap.gather(tap.positions(np.array([6, 1])), buffer[:2])

    assert torch.equal(buffer[:2], torch.stack([rows[6], rows[1]]))


def test_the_mapping_goes_with_the_last_that_uses_it(tmp_path):
    files, _ = write_shards(tmp_path, [64] * 3, (17, 128))
    tap = MappedTap(files)
    assert str(files[1]) in Path("/proc/self/maps").read_text()

    del tap

    assert str(files[1]) not in Path("/proc/self/maps").read_text()


def test_a_file_that_cannot_be_mapped_is_named(tmp_path):
    files, _ = write_shards(tmp_path, [4, 4], (3, 8))
    files[1].unlink()

    with pytest.raises(FileNotFoundError, match=r"shard-1\.npy"):
        MappedTap(files)
