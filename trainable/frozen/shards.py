"""Shards: one tap of a run of specimens in one `.npy` file, with a record beside it that says what it must be.

A shard counts only when its record exists, and the record is written last: whatever is killed leaves no half shard.
"""

import base64
import hashlib
import io
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy.typing import NDArray

from trainable.checksums import from_json, to_json
from trainable.plain_values import misfits


def room_for(n_bytes: float) -> int:
    """Bytes that must be free for so many of features: one percent more, for records beside them and the tail."""
    return int(n_bytes * 1.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Mean and centred sum of squares of each channel over `count` values."""

    count: int
    mean: Float64[NDArray[np.float64], " width"]
    m2: Float64[NDArray[np.float64], " width"]

    def std(self) -> Float32[NDArray[np.float32], " width"]:
        """Population standard deviation."""
        return np.sqrt(self.m2 / self.count).astype(np.float32)


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """Moments of all parts together, in their order (Chan, Golub, LeVeque 1979: pairwise update)."""
    first, *rest = parts
    for part in rest:
        count = first.count + part.count
        delta = part.mean - first.mean
        first = Moments(
            count=count,
            mean=first.mean + delta * (part.count / count),
            m2=first.m2 + part.m2 + delta**2 * (first.count * part.count / count),
        )
    return first


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """What a shard's file must be: its size, sha256 and dtype ("float16", or "float32" where half overflowed)."""

    n_bytes: int
    sha256: str
    dtype: str
    moments: Moments


class _Written(TypedDict):
    """A record as its file has it; mean, m2: the bytes of the moments in base64."""

    n_bytes: int
    sha256: str
    dtype: Literal["float16", "float32"]
    count: int
    mean: str
    m2: str


def shard_path(folder: Path, tap: int, shard: int) -> Path:
    """The `.npy` file of a shard, [rows, tokens, width]."""
    return folder / f"tap-{tap:02d}" / f"shard-{shard:05d}.npy"


def write_shard(
    folder: Path, tap: int, shard: int, values: Float[NDArray[np.generic], "rows tokens width"], moments: Moments
) -> None:
    """Write file, then record, each under a temporary name, flushed to disk and renamed."""
    path = shard_path(folder, tap, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    record_path = path.with_suffix(".json")
    record_path.unlink(missing_ok=True)  # the old record must not vouch for the new file
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(values))
    parts = (header.getbuffer(), np.ascontiguousarray(values).data.cast("B"))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_atomically(path, *parts)
    record = {
        "n_bytes": sum(len(part) for part in parts),
        "sha256": digest.hexdigest(),
        "dtype": str(values.dtype),
        "count": moments.count,
        "mean": base64.b64encode(moments.mean.tobytes()).decode(),
        "m2": base64.b64encode(moments.m2.tobytes()).decode(),
    }
    write_atomically(record_path, to_json(record).encode())


def read_record(folder: Path, tap: int, shard: int) -> ShardRecord | None:
    """The record of a shard; None when it is damaged or was never written, or the shard's file has another size."""
    path = shard_path(folder, tap, shard)
    try:
        values = from_json(path.with_suffix(".json").read_bytes())
        if any(misfits(values, _Written, "record")):
            return None
        mean, m2 = (np.frombuffer(base64.b64decode(values[k]), dtype=np.float64) for k in ("mean", "m2"))
        if values["count"] < 1 or mean.shape != m2.shape:
            return None
        moments = Moments(count=values["count"], mean=mean, m2=m2)
        record = ShardRecord(n_bytes=values["n_bytes"], sha256=values["sha256"], dtype=values["dtype"], moments=moments)
        return record if path.stat().st_size == record.n_bytes else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def discard_shard(folder: Path, tap: int, shard: int) -> None:
    """Make a shard count as missing."""
    shard_path(folder, tap, shard).with_suffix(".json").unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Whoever reads `path` sees the old content or the whole new one, also after a crash."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")  # machines may share process numbers
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
