"""Inputs without a dataset: drawn images, and stores and trials of random features."""

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from trainable.data.splits import Split
from trainable.frozen.backbone import Backbone
from trainable.frozen.extract import make_plan, seal
from trainable.frozen.features import FeatureStore
from trainable.frozen.shards import Moments, write_shard
from trainable.training.trial_data import TrialData

_DISTINCT = 16


class DrawnImages:
    """`n` JPEG photographs' worth of bytes, of which every 16th is the same."""

    def __init__(self, n: int, *, side: int) -> None:
        self._n = n
        self._encoded = [_draw(seed, side) for seed in range(_DISTINCT)]

    def __len__(self) -> int:
        return self._n

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """Encoded bytes of some rows."""
        return [self._encoded[i % _DISTINCT] for i in indices]


def _draw(seed: int, side: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((side, side)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextmanager
def random_trial_data(backbone: Backbone, *, tap: int, n: int) -> Iterator[TrialData]:
    """`n` specimens with standard-normal features at one tap, four in five of them for training, on disk meanwhile."""
    with tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder:
        store = _random_store(Path(folder), backbone, tap=tap, n=n)
        rng = np.random.default_rng(0)
        rows = np.arange(n)
        yield TrialData(
            store=store,
            labels=rng.normal(size=(n, 3)).clip(-2.09, 2.09).astype(np.float32),
            domain_ids=np.where(rows % 10 == 9, 99, 1 + rows % 5),
            event_ids=rows // 4,
            site_ids=np.array([f"S{i % 3}" for i in rows]),
            species=np.array(["a"] * n),
            split=Split(
                policy="both",
                fold=0,
                train=rows[rows % 10 < 8],
                id_=rows[rows % 10 == 8],
                ood=rows[rows % 10 == 9],
                held_out_sites=(),
                held_out_domains=(99,),
                n_leaked_events=0,
            ),
        )


def _random_store(folder: Path, backbone: Backbone, *, tap: int, n: int) -> FeatureStore:
    plan = make_plan(folder, backbone=backbone, data_fingerprint="0" * 64, n=n, taps=(tap,))
    rng = np.random.default_rng(0)
    for shard in range(plan.n_shards):
        shape = (len(plan.rows(shard)), plan.n_tokens, plan.width)
        values = rng.standard_normal(shape, dtype=np.float32).astype(np.float16)
        ones = np.ones(plan.width)
        count = shape[0] * shape[1]
        write_shard(folder, tap, shard, values, Moments(count=count, mean=0 * ones, m2=count * ones))
    return seal(plan, backbone=backbone)
