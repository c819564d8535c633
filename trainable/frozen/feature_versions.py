"""Features of images and of altered copies of them, as one: version after version, each with a row a specimen."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.architecture import VisionArchitecture
from trainable.checksums import checksum_of
from trainable.errors import UserError
from trainable.frozen.features import FeatureStore
from trainable.frozen.mapped_tap import MappedTap


@dataclass(frozen=True, kw_only=True)
class FeatureVersions:
    """Row `version * n_specimens + specimen` is that of a specimen's image (version 0) or of one of its copies.

    stores: of the images, then of each copy, all of the same specimens and backbone. To who reads features it is as a
    `FeatureStore`.
    """

    stores: tuple[FeatureStore, ...]
    _mapped: dict[int, MappedTap] = field(repr=False, compare=False, default_factory=dict)

    def __reduce__(self) -> tuple[Callable[..., "FeatureVersions"], tuple[tuple[FeatureStore, ...]]]:
        return _versions_of, (self.stores,)

    @property
    def architecture(self) -> VisionArchitecture:
        """Of the backbone."""
        return self.stores[0].architecture

    @property
    def n(self) -> int:
        """Rows: versions of specimens."""
        return sum(store.n for store in self.stores)

    @property
    def key(self) -> str:
        """Hex hash of what the features were made from."""
        return checksum_of({"keys": [store.key for store in self.stores]})

    @property
    def taps(self) -> tuple[int, ...]:
        """Those that all have, ascending."""
        return tuple(tap for tap in self.stores[0].taps if all(tap in store.taps for store in self.stores))

    def best_tap(self, n_frozen: int) -> int:
        """The deepest tap that all have at or below `n_frozen` blocks.

        Raises: UserError when there is none.
        """
        fitting = [tap for tap in self.taps if tap <= n_frozen]
        if not fitting:
            raise UserError(
                f"the feature store {self.stores[0].path} and those of copies must have a tap at or below {n_frozen} "
                f"in common, but have {', '.join(map(str, self.taps)) or 'none'}; extract a lower tap or train fewer "
                "blocks"
            )
        return fitting[-1]

    def dtype(self, tap: int) -> torch.dtype:
        """float16, or float32 when any shard of the tap overflowed half precision."""
        return torch.float16 if all(s.dtype(tap) == torch.float16 for s in self.stores) else torch.float32

    def gather(self, tap: int, indices: Int64[NDArray[np.int64], " batch"]) -> Float[Tensor, "batch tokens width"]:
        """Features of rows, in the order asked, of `dtype(tap)`."""
        mapped = self.mapped(tap)
        return mapped.gather(mapped.positions(indices))

    def mapped(self, tap: int) -> MappedTap:
        """All features of a tap, memory-mapped once."""
        if tap not in self._mapped:
            self._mapped[tap] = MappedTap([file for store in self.stores for file in store.shard_files(tap)])
        return self._mapped[tap]


def _versions_of(stores: tuple[FeatureStore, ...]) -> FeatureVersions:
    return FeatureVersions(stores=stores)


Features = FeatureStore | FeatureVersions
"""What trials read: of images alone, or of copies as well."""
