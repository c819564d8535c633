"""Figure 4: bytes of the feature store on disk / (n x tokens x width x 2), and copies of the features a host holds.

Trials map the same files, so their pages are in memory once however many trials read them: counted as the growth of
private memory in this process, in copies of a tap, while two feeds read every row.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.setting import Setting
from trainable.frozen.features import FeatureStore

_BATCH = 16


def measure(setting: Setting) -> list[Figure]:
    """One figure for the bytes and one for the copies, a backbone."""
    figures = []
    for name in setting.backbones:
        backbone = random_backbone(name, setting.device)
        tap = backbone.architecture.n_blocks - 2
        with random_trial_data(backbone, tap=tap, n=setting.sized(2048, 256)) as data:
            figures += [_bytes_on_disk(name, data.store, tap), _copies(name, data.store, tap)]
    return figures


def _bytes_on_disk(name: str, store: FeatureStore, tap: int) -> Figure:
    stored = sum(file.stat().st_size for file in (store.path / f"tap-{tap:02d}").iterdir())
    needed = _tap_bytes(store)
    parts = (Value("stored", stored / 2**20, "MiB"), Value("needed", needed / 2**20, "MiB"))
    return Figure(number=4, name=f"stored bytes, {name}", ratio=stored / needed, parts=parts, target=Target("<=", 1.01))


def _copies(name: str, store: FeatureStore, tap: int) -> Figure:
    buffer = torch.zeros(_BATCH, store.architecture.n_tokens, store.architecture.width, dtype=torch.float16)
    first = FeatureStore.open(store.path)
    _read(first, tap, buffer)  # what a process takes once, to check the files and to gather, is no copy
    readers = [store, FeatureStore.open(store.path)]  # their lists of files are no copy either
    before = _private_bytes()
    for reader in readers:
        _read(reader, tap, buffer)
    private = max(_private_bytes() - before, 0) / _tap_bytes(store)
    parts = (Value("trials", len(readers)), Value("private copies", private))
    target = Target("<=", 1.01)
    return Figure(
        number=4, name=f"copies of the features a host, {name}", ratio=1 + private, parts=parts, target=target
    )


def _read(reader: FeatureStore, tap: int, buffer: Tensor) -> None:
    mapped = reader.mapped(tap)
    for positions in mapped.positions(np.arange(reader.n)).split(_BATCH):
        mapped.gather(positions, buffer[: len(positions)])


def _tap_bytes(store: FeatureStore) -> int:
    return 2 * store.n * store.architecture.n_tokens * store.architecture.width


def _private_bytes() -> int:
    """Memory of this process that no file backs (Linux's `RssAnon`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
