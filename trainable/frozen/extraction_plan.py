"""What a feature store will hold, how it is cut into shards, and which of them are still missing."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

from trainable.checksums import from_json, to_json
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone, check_taps
from trainable.frozen.features import read_manifest, store_identity
from trainable.frozen.shards import discard_shard, read_record, sha256_of, shard_path, write_atomically
from trainable.plain_values import JsonObject, misfits

_PLAN_NAME = "plan.json"
# A GPU wants large batches; on a CPU a small shard loses less when interrupted, and a small batch stays in its cache.
_SHARD_BYTES = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
_BATCH_TOKENS = {"cpu": 2048, "cuda": 16384}
_MIN_SHARDS = 8  # so that progress shows and little is lost, also on small data


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionPlan:
    """What a store will hold, and how it is cut into shards.

    taps: ascending. n: specimens. rows_per_shard: specimens in every shard but the last. copy: the number of an altered
    copy of the images, 0 for them as they are.
    """

    path: Path
    identity: JsonObject
    taps: tuple[int, ...]
    n: int
    rows_per_shard: int
    n_tokens: int
    width: int
    copy: int = 0

    @property
    def n_shards(self) -> int:
        """Shards of every tap."""
        return -(-self.n // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """The specimens of a shard."""
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.n))

    def missing_taps(self, shard: int) -> tuple[int, ...]:
        """The taps that a shard still lacks."""
        return tuple(tap for tap in self.taps if read_record(self.path, tap, shard) is None)

    @property
    def row_bytes(self) -> int:
        """Bytes of one specimen at one tap in half precision."""
        return 2 * self.n_tokens * self.width


def make_plan(
    path: Path,
    *,
    backbone: Backbone,
    data_fingerprint: str,
    n: int,
    taps: Collection[int],
    batch_size: int | None = None,
    copy: int = 0,
) -> ExtractionPlan:
    """Lay out a store, or take up the layout of an unfinished or smaller one; taps that it already has stay.

    Raises: UserError when the folder holds a store of another identity or size, with both values.
    """
    if n < 1:
        raise UserError("there must be at least one specimen to extract, but got 0")
    check_taps(taps, backbone.architecture)
    arch = backbone.architecture
    plan = ExtractionPlan(
        path=path,
        identity=store_identity(backbone, data_fingerprint, copy=copy),
        taps=tuple(sorted({*taps, *_sealed_taps(path)})),
        n=n,
        rows_per_shard=1,
        n_tokens=arch.n_tokens,
        width=arch.width,
        copy=copy,
    )
    plan = replace(plan, rows_per_shard=_rows_per_shard(plan, backbone.device.type, batch_size))
    plan_file = path / _PLAN_NAME
    if plan_file.is_file():
        found = _read_plan(plan_file)
        _refuse_other(path, found, {"n": n, **plan.identity})
        return replace(plan, rows_per_shard=found["rows_per_shard"])
    path.mkdir(parents=True, exist_ok=True)
    values = {"n": n, "rows_per_shard": plan.rows_per_shard, "identity": plan.identity}
    write_atomically(plan_file, to_json(values, indent=1).encode())
    return plan


def shards_missing(plan: ExtractionPlan) -> list[int]:
    """The shards that lack at least one tap, ascending."""
    return [shard for shard in range(plan.n_shards) if plan.missing_taps(shard)]


def bytes_missing(plan: ExtractionPlan) -> int:
    """Bytes on disk that the missing shards will take, at half precision."""
    rows = sum(len(plan.rows(shard)) * len(plan.missing_taps(shard)) for shard in range(plan.n_shards))
    return rows * plan.row_bytes


def sweep(plan: ExtractionPlan) -> None:
    """Remove what a killed writer left under temporary names; only for who knows that nobody else is writing."""
    for leftover in plan.path.glob("**/*.tmp"):
        leftover.unlink()


def discard_damaged(plan: ExtractionPlan) -> list[Path]:
    """Read all finished shards and make those count as missing whose bytes are not what was written; returns them."""
    damaged = []
    for tap in plan.taps:
        for shard in range(plan.n_shards):
            record, file = read_record(plan.path, tap, shard), shard_path(plan.path, tap, shard)
            if record is not None and sha256_of(file) != record.sha256:
                discard_shard(plan.path, tap, shard)
                damaged.append(file)
    return damaged


class _Written(TypedDict):
    n: int
    rows_per_shard: int
    identity: JsonObject


def _read_plan(file: Path) -> JsonObject:
    try:
        found = from_json(file.read_bytes())
        problem = next(misfits(found, _Written, "plan"), None)
        if problem is None and found["rows_per_shard"] < 1:
            problem = f"`plan.rows_per_shard` must be at least 1, but is {found['rows_per_shard']}"
    except (OSError, ValueError) as error:
        problem = f"reading it failed: {error}"
    if problem is not None:
        raise UserError(
            f"{file} must be the plan of a feature store, but {problem}; delete the folder {file.parent}, then run "
            "the same command again: it extracts the features again"
        )
    return found


def _sealed_taps(path: Path) -> tuple[int, ...]:
    try:
        return tuple(read_manifest(path)["taps"])
    except UserError:
        return ()


def _refuse_other(path: Path, found: JsonObject, wanted: JsonObject) -> None:
    found = {"n": found["n"], **found["identity"]}
    problems = [
        f"`{name}` of the feature store {path} must be {wanted.get(name)!r}, but is {found.get(name)!r}"
        for name in {**wanted, **found}
        if wanted.get(name) != found.get(name)
    ]
    if problems:
        raise UserError([*problems, "delete that folder or name another cache folder"])


def _rows_per_shard(plan: ExtractionPlan, device_type: str, batch_size: int | None) -> int:
    batch_size = batch_size or fitting_batch_size(plan, device_type)
    fitting = _SHARD_BYTES.get(device_type, _SHARD_BYTES["cpu"]) // (plan.row_bytes * len(plan.taps))
    rows = min(fitting, -(-plan.n // _MIN_SHARDS))
    return max(rows // batch_size, 1) * batch_size if rows >= batch_size else max(rows, min(batch_size, 8))


def fitting_batch_size(plan: ExtractionPlan, device_type: str) -> int:
    tokens = _BATCH_TOKENS.get(device_type, _BATCH_TOKENS["cpu"])
    return max(1, tokens // plan.n_tokens)
