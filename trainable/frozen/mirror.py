"""Finished feature stores on object storage, and their copies on the disks of the nodes that read them.

FEATURES/KEY/manifest.json     as in the store, written last
FEATURES/KEY/files/SHA256      each file under its checksum: what is there is right, and never changes under a reader

A copy holds the wanted taps alone, is checked byte for byte, and is made once a node, whoever asks for it first.
"""

import shutil
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainable.checksums import to_json
from trainable.counts import counted
from trainable.errors import UserError
from trainable.frozen.extract import StoreTooLarge, finished_store, only_one
from trainable.frozen.features import (
    MANIFEST_NAME,
    FeatureStore,
    manifest_files,
    parse_manifest,
    read_manifest,
)
from trainable.frozen.shards import sha256_of, write_atomically
from trainable.plain_values import JsonObject
from trainable.shown import size_text
from trainable.storage.remote_folder import RemoteFolder, StorageError

FILES_NAME = "files"
TRANSFERS = 4
"""Files under way at a time."""

_GO_ON = "what was transferred is kept: run the same command again when the storage answers"

Say = Callable[[str], None]


def put_store(store: FeatureStore, remote: RemoteFolder, *, say: Say) -> None:
    """Put a store where other nodes and later searches find it; what is there already is not sent again.

    remote: of this one store.
    Raises: UserError when the storage does not take it.
    """
    try:
        there = _manifest(remote)
        if there is not None and set(store.taps) <= set(there["taps"]):
            return
        manifest = read_manifest(store.path)
        present = (remote / FILES_NAME).sizes()
        missing = {sha: name for name, size, sha in manifest_files(manifest) if present.get(sha) != size}
        if missing:
            say(f"putting the features on {remote}: {counted(len(missing), 'file')}")
        with ThreadPoolExecutor(TRANSFERS) as transfers:
            list(transfers.map(lambda item: _put(store.path / item[1], remote, sha256=item[0]), missing.items()))
        remote.write(MANIFEST_NAME, (store.path / MANIFEST_NAME).read_bytes())
    except StorageError as error:
        raise _not_usable(remote, error) from error


def mirror_store(remote: RemoteFolder, path: Path, *, taps: Collection[int], say: Say) -> FeatureStore | None:
    """The store in `path` on this node's disk, copied there where it lacks; None when none with these taps is remote.

    Another process that is copying it is waited for.
    Raises: StoreTooLarge when the disk does not hold it; UserError when the storage cannot be read, or holds a damaged
    file.
    """
    if (store := finished_store(path, taps)) is not None:
        return store
    try:
        with only_one(path, say):
            if (store := finished_store(path, taps)) is not None:
                return store
            manifest = _manifest(remote)
            here = finished_store(path, ())
            wanted = {*taps, *(here.taps if here is not None else ())}  # readers of what is here must find it still
            if manifest is None or not wanted <= set(manifest["taps"]):
                return None
            _copy(remote, path, _only(manifest, sorted(wanted)), say)
    except StorageError as error:
        raise _not_usable(remote, error) from error
    return FeatureStore.open(path)


def _copy(remote: RemoteFolder, path: Path, manifest: JsonObject, say: Say) -> None:
    files = manifest_files(manifest)
    missing = [(name, size, sha) for name, size, sha in files if not _is_here(path / name, size, sha)]
    n_bytes = sum(size for _, size, _ in missing)
    path.mkdir(parents=True, exist_ok=True)
    if n_bytes > (free := shutil.disk_usage(path).free):
        raise StoreTooLarge(
            f"the disk of {path} must have {size_text(n_bytes)} free for a copy of the features, but has "
            f"{size_text(free)}; free some, or name another --cache folder"
        )
    say(f"copying the features from {remote}: {size_text(n_bytes)} in {counted(len(missing), 'file')}")
    with ThreadPoolExecutor(TRANSFERS) as transfers:
        list(transfers.map(lambda file: _fetch(remote, path / file[0], sha256=file[2]), missing))
    write_atomically(path / MANIFEST_NAME, to_json(manifest).encode())


def _put(file: Path, remote: RemoteFolder, *, sha256: str) -> None:
    if sha256_of(file) != sha256:
        raise UserError(
            f"{file} must have the checksum it was written with, but has another; delete it, then extract again"
        )
    (remote / FILES_NAME).upload(file, sha256)


def _fetch(remote: RemoteFolder, file: Path, *, sha256: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrived = file.with_name(f"{file.name}.arrived")
    try:
        (remote / FILES_NAME).download(sha256, arrived)
        if sha256_of(arrived) != sha256:
            raise UserError(f"{remote}/{FILES_NAME}/{sha256} must have its name's checksum, but has another; delete it")
        arrived.replace(file)
    except FileNotFoundError:
        raise UserError(f"{remote} must hold {FILES_NAME}/{sha256}, but does not; delete its {MANIFEST_NAME}") from None
    finally:
        arrived.unlink(missing_ok=True)


def _is_here(file: Path, n_bytes: int, sha256: str) -> bool:
    return file.is_file() and file.stat().st_size == n_bytes and sha256_of(file) == sha256


def _manifest(remote: RemoteFolder) -> JsonObject | None:
    """The remote store's, checked; None when none is finished there."""
    try:
        content = remote.read(MANIFEST_NAME)
    except FileNotFoundError:
        return None
    return parse_manifest(content, remote / MANIFEST_NAME)


def _only(manifest: JsonObject, taps: list[int]) -> JsonObject:
    """The manifest of a store that has these of its taps."""
    return {
        **manifest,
        "taps": taps,
        **{
            name: {tap: value for tap, value in manifest[name].items() if int(tap) in taps}
            for name in ("shards", "channel_std")
        },
    }


def _not_usable(remote: RemoteFolder, error: StorageError) -> UserError:
    return UserError(f"`--features` must be on storage that can be used, but {remote} is not: {error}; {_GO_ON}")
