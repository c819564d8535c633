"""One pass of the frozen blocks over all images: every missing tap, shard by shard, into a `FeatureStore`.

The steps stand alone, so that several workers can share them: under the lock of `only_one`, `lay_out` once,
`extract_shards` anywhere on `shards_missing`, `seal` once. `extract` does all of them here.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainable.checksums import to_json
from trainable.counts import counted
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone
from trainable.frozen.extraction_pass import Progress, extract_shards
from trainable.frozen.extraction_plan import (
    ExtractionPlan,
    bytes_missing,
    discard_damaged,
    make_plan,
    shards_missing,
    sweep,
)
from trainable.frozen.features import MANIFEST_NAME, FeatureStore, store_path
from trainable.frozen.image_feed import Images
from trainable.frozen.shards import ShardRecord, merge_moments, read_record, room_for, sha256_of, write_atomically
from trainable.frozen.tail_weights import tail_file_content
from trainable.frozen.verification import DamagedFeatures
from trainable.plain_values import JsonObject
from trainable.shown import size_text

__all__ = [
    "ExtractionPlan",
    "Progress",
    "extract",
    "extract_shards",
    "finished_store",
    "lay_out",
    "make_plan",
    "only_one",
    "seal",
    "shards_missing",
]


class StoreTooLarge(UserError):
    """The disk cannot hold the features at all the depths asked for."""


def extract(
    backbone: Backbone,
    images: Images,
    *,
    data_fingerprint: str,
    taps: Collection[int],
    cache_dir: Path,
    n_processes: int,
    batch_size: int | None = None,
    copy: int = 0,
    verify: bool = False,
    progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> FeatureStore:
    """The store of these images, with at least these taps; only what is missing is extracted.

    n_processes: image decoding processes; 0 decodes in this one. batch_size: specimens a forward pass; None fits the
    device. copy: the number of an altered copy of the images, which has a store of its own; 0: they as they are.
    verify: read all files first and extract damaged shards anew. progress: called first with what earlier runs
    left, then after each batch; never called when nothing is missing. on_wait: told once, when another process is
    extracting into the same store and this one waits for it.
    Raises: StoreTooLarge when the disk is too small; UserError when an image cannot be decoded, or the folder holds
    another store.
    """
    path = store_path(cache_dir, backbone=backbone, specimens_fingerprint=data_fingerprint, copy=copy)
    if not verify and (store := finished_store(path, taps)):
        return store
    with only_one(path, on_wait):
        if not verify and (store := finished_store(path, taps)):
            return store
        plan = lay_out(
            path,
            backbone=backbone,
            data_fingerprint=data_fingerprint,
            n=len(images),
            taps=taps,
            batch_size=batch_size,
            copy=copy,
            verify=verify,
        )
        extract_shards(
            plan,
            shards_missing(plan),
            backbone=backbone,
            images=images,
            n_processes=n_processes,
            batch_size=batch_size,
            progress=progress,
        )
        return seal(plan, backbone=backbone)


def lay_out(
    path: Path,
    *,
    backbone: Backbone,
    data_fingerprint: str,
    n: int,
    taps: Collection[int],
    batch_size: int | None = None,
    copy: int = 0,
    verify: bool = False,
) -> ExtractionPlan:
    """The plan of a store whose lock is held, once its folder is swept and the disk is large enough.

    Raises: StoreTooLarge; UserError when the folder holds another store.
    """
    plan = make_plan(
        path,
        backbone=backbone,
        data_fingerprint=data_fingerprint,
        n=n,
        taps=taps,
        batch_size=batch_size,
        copy=copy,
    )
    sweep(plan)
    if verify:
        discard_damaged(plan)
    check_disk(plan)
    return plan


def check_disk(plan: ExtractionPlan) -> None:
    """Raises: StoreTooLarge unless the missing shards fit the disk, with one percent to spare for records and tail."""
    needed = room_for(bytes_missing(plan))
    free = shutil.disk_usage(plan.path).free
    if needed > free:
        raise StoreTooLarge(
            f"the disk of {plan.path} must have {size_text(needed)} free for the features "
            f"({counted(plan.n, 'specimen')}, taps {', '.join(map(str, plan.taps))}), but has {size_text(free)}; "
            "free some, name another cache folder, or search fewer values of tail.n_blocks"
            f"{' or augment.image_copies' if plan.copy else ''}"
        )


def seal(plan: ExtractionPlan, *, backbone: Backbone) -> FeatureStore:
    """Write the tail's weights and the manifest; from then on the store can be opened.

    Raises: UserError when shards are missing.
    """
    if missing := shards_missing(plan):
        raise UserError(f"{plan.path} must hold all {plan.n_shards} shards, but lacks {missing}; extract them first")
    records = {tap: [_record(plan, tap, shard) for shard in range(plan.n_shards)] for tap in plan.taps}
    manifest = {
        "identity": plan.identity,
        "n": plan.n,
        "rows_per_shard": plan.rows_per_shard,
        "taps": list(plan.taps),
        "shards": {
            str(tap): [{"n_bytes": r.n_bytes, "sha256": r.sha256, "dtype": r.dtype} for r in records[tap]]
            for tap in plan.taps
        },
        "channel_std": {
            str(tap): [float(v) for v in merge_moments(r.moments for r in records[tap]).std()] for tap in plan.taps
        },
        "tail": _write_tail(plan, backbone),
    }
    write_atomically(plan.path / MANIFEST_NAME, to_json(manifest).encode())
    return FeatureStore.open(plan.path, just_written=True)


def _record(plan: ExtractionPlan, tap: int, shard: int) -> ShardRecord:
    record = read_record(plan.path, tap, shard)
    assert record is not None
    return record


def _write_tail(plan: ExtractionPlan, backbone: Backbone) -> JsonObject:
    """A file of its own for each lowest tap, so that a store that gains a lower one never changes under its readers."""
    lowest = plan.taps[0]
    name = f"tail-from-{lowest:02d}.safetensors"
    file = plan.path / name
    write_atomically(file, tail_file_content(backbone.tail_state(backbone.architecture.n_blocks - lowest)))
    return {"name": name, "n_bytes": file.stat().st_size, "sha256": sha256_of(file)}


def finished_store(path: Path, taps: Collection[int]) -> FeatureStore | None:
    """The store, when it is sealed, complete, and has these taps.

    Raises: DamagedFeatures: what was made of it before must not be made of others without a word.
    """
    try:
        store = FeatureStore.open(path)
    except DamagedFeatures:
        raise
    except UserError:  # unfinished: to be extracted
        return None
    return store if set(taps) <= set(store.taps) else None


@contextmanager
def only_one(path: Path, on_wait: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the store's lock; the operating system lets go of it when the holder dies.

    Across machines the lock is as good as the folder's own `flock`: NFS has it unless mounted with `nolock`.
    on_wait: told once, when another process holds the lock.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_wait is not None:
            on_wait(f"another process is extracting into {path}; waiting for it to finish")
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()
