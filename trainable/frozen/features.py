"""FeatureStore: taps extracted once, memory-mapped by every trial. Reading only; `extract.py` writes.

On disk, one folder a backbone and dataset, and one for each altered copy of the dataset's images:

    plan.json           what is extracted: identity, number of specimens, rows a shard
    tap-22/             shard-00000.npy [rows, tokens, width] and its record shard-00000.json, and so on
    tail-from-22.safetensors   the blocks from the lowest tap up, ln_post, proj, in open_clip's names
    manifest.json       written last: taps, every file's size and sha256, the channels' standard deviations

Beside it KEY.verified.json, what `verification.py` has found right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.architecture import VisionArchitecture
from trainable.checksums import KEY, checksum_of
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone
from trainable.frozen.image_copies import copy_identity
from trainable.frozen.mapped_tap import MappedTap
from trainable.frozen.shards import shard_path
from trainable.frozen.tail_weights import read_tail_weights
from trainable.frozen.verification import StoreFile, check_contents, check_sizes
from trainable.plain_values import JsonObject, parse_json
from trainable.storage.place import Place

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
_GO_ON = "run the same command again: it extracts what is missing and keeps the rest"


def store_identity(backbone: Backbone, data_fingerprint: str, *, copy: int = 0) -> JsonObject:
    """All that decides what features are; two stores of equal identity hold the same features.

    copy: the number of an altered copy of the images (`image_copies.py`), or 0 for them as they are.
    """
    return {
        "format_version": FORMAT_VERSION,
        "backbone": backbone.fingerprint,
        "architecture": backbone.architecture.to_dict(),
        "transform": backbone.transform.to_dict(),
        "data": data_fingerprint,
        "dtype": "float16",
        **copy_identity(copy),
    }


def identity_key(identity: Mapping[str, object]) -> str:
    """Hex sha256 of an identity."""
    return checksum_of(identity)


def store_path(cache_dir: Path, *, backbone: Backbone, specimens_fingerprint: str, copy: int = 0) -> Path:
    """The folder of the store of this backbone and this dataset, or of a copy of its images."""
    key = identity_key(store_identity(backbone, specimens_fingerprint, copy=copy))
    return Path(cache_dir) / "features" / key[:20]


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """A finished store, opened read-only.

    taps: ascending depths at which the residual stream is stored. n: specimens. key: hex hash of what the features
    were made from. A copy sent to another process is the path, opened again.
    """

    path: Path
    architecture: VisionArchitecture
    taps: tuple[int, ...]
    n: int
    key: str
    rows_per_shard: int
    _manifest: JsonObject = field(repr=False, compare=False)
    _mapped: dict[int, MappedTap] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, key: str | None = None, just_written: bool = False) -> Self:
        """Open a finished store; files that are not known to be right are read and compared with their sha256.

        key: the key it must have, if known. just_written: by this process, so that sizes are enough for now.
        Raises: UserError when the store is unfinished, of a newer format, or has another key; DamagedFeatures.
        """
        manifest = read_manifest(path)
        found = identity_key(manifest["identity"])
        if key is not None and found != key:
            raise UserError(
                f"the feature store {path} must have key {key}, but has {found}; give the one searched with"
            )
        files = manifest_files(manifest)
        check_sizes(path, files, remedy=_GO_ON)
        if not just_written:
            check_contents(path, files)
        return cls(
            path=path,
            architecture=VisionArchitecture.from_dict(manifest["identity"]["architecture"]),
            taps=tuple(manifest["taps"]),
            n=manifest["n"],
            key=found,
            rows_per_shard=manifest["rows_per_shard"],
            _manifest=manifest,
        )

    def __reduce__(self) -> tuple[Callable[[Path], "FeatureStore"], tuple[Path]]:
        return (type(self).open, (self.path,))

    def best_tap(self, n_frozen: int) -> int:
        """The deepest stored tap at or below `n_frozen` blocks.

        Raises: UserError when all stored taps are deeper.
        """
        fitting = [tap for tap in self.taps if tap <= n_frozen]
        if not fitting:
            n_blocks = self.architecture.n_blocks
            raise UserError(
                f"tail.n_blocks <= {n_blocks - self.taps[0]} must hold for the feature store {self.path}, "
                f"but got {n_blocks - n_frozen}; extract a lower tap or train fewer blocks"
            )
        return fitting[-1]

    def dtype(self, tap: int) -> torch.dtype:
        """float16, or float32 when any shard of the tap overflowed half precision."""
        halves = all(shard["dtype"] == "float16" for shard in self._manifest["shards"][str(tap)])
        return torch.float16 if halves else torch.float32

    def gather(self, tap: int, indices: Int64[NDArray[np.int64], " batch"]) -> Float[Tensor, "batch tokens width"]:
        """Features of specimens, in the order asked, of `dtype(tap)`.

        Raises: IndexError for an index outside 0..n-1.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.n):
            raise IndexError(f"0 <= index < {self.n} must hold, but got {wanted.min()} to {wanted.max()}")
        mapped = self.mapped(tap)
        return mapped.gather(mapped.positions(wanted))

    def mapped(self, tap: int) -> MappedTap:
        """All features of a tap, memory-mapped once a store."""
        if tap not in self._mapped:
            self._mapped[tap] = MappedTap(self.shard_files(tap))
        return self._mapped[tap]

    def shard_files(self, tap: int) -> list[Path]:
        """Of a tap, in the order of their specimens."""
        self._check_tap(tap)
        return [shard_path(self.path, tap, shard) for shard in range(len(self._manifest["shards"][str(tap)]))]

    def channel_std(self, tap: int) -> Float32[Tensor, " width"]:
        """Standard deviation of each channel over all specimens and tokens of a tap.

        Held-out specimens are among them, their labels are not: it sets the scale of feature noise and nothing else. Of
        training rows alone it would take a pass over the tap in every trial, and change what recorded trials drew.
        """
        self._check_tap(tap)
        return torch.tensor(self._manifest["channel_std"][str(tap)], dtype=torch.float32)

    def tail_state(self, n_blocks: int) -> dict[str, Tensor]:
        """open_clip's names and float32 weights of the top `n_blocks` blocks, `ln_post` and `proj` [width, embed_dim].

        Raises: UserError when the store holds fewer blocks.
        """
        first = self.architecture.n_blocks - n_blocks
        self.best_tap(first)
        return read_tail_weights(self.path / self._manifest["tail"]["name"], first)

    def _check_tap(self, tap: int) -> None:
        if tap not in self.taps:
            raise UserError(f"tap {tap} must be stored in {self.path}, but it holds {', '.join(map(str, self.taps))}")


def read_manifest(path: Path) -> JsonObject:
    """A finished store's manifest.

    Raises: UserError when it is missing, damaged, or of a newer format.
    """
    file = path / MANIFEST_NAME
    if not file.is_file():
        raise UserError(f"{path} must be a finished feature store, but has no {MANIFEST_NAME}; {_GO_ON}")
    return parse_manifest(file.read_bytes(), file)


def parse_manifest(content: bytes, file: Place) -> JsonObject:
    """A manifest that was read from `file`.

    Raises: UserError when it is damaged, or of a newer format.
    """
    try:
        manifest = parse_json(content)
        checksum = manifest.pop(KEY)
    except (ValueError, KeyError, AttributeError, TypeError):
        manifest, checksum = {}, None
    if checksum != checksum_of(manifest):
        raise UserError(f"{file} must match its checksum, but does not; delete it, then {_GO_ON}")
    version = manifest["identity"]["format_version"]
    if version > FORMAT_VERSION:
        raise UserError(f"{file} must have a format version <= {FORMAT_VERSION}, but has {version}; update the program")
    assert isinstance(manifest, dict)
    return manifest


def manifest_files(manifest: JsonObject) -> list[StoreFile]:
    """(name, bytes, sha256) of every data file."""
    tail = manifest["tail"]
    files = [(tail["name"], tail["n_bytes"], tail["sha256"])]
    for tap, shards in manifest["shards"].items():
        for i, shard in enumerate(shards):
            name = str(shard_path(Path(), int(tap), i))
            files.append((name, shard["n_bytes"], shard["sha256"]))
    return files
