"""TrialData: all that the trials of one search share, saved once by the driver and opened by every worker."""

import io
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trainable.checksums import AlteredContent, with_checksum, without_checksum
from trainable.config import NO_NAME
from trainable.counts import counted
from trainable.data.splits import Split
from trainable.errors import UserError
from trainable.frozen.feature_versions import Features, FeatureVersions
from trainable.frozen.features import FeatureStore
from trainable.scoring.targets import Targets
from trainable.storage.place import Place, read_file, write_file
from trainable.storage.remote_folder import RemoteFolder, StorageError

FORMAT_VERSION = 2
ONE_SPLIT_VERSION = 1
"""Of a file with one split, which programs of before several folds read, too."""
FILE_NAME = "data.npz"
_COLUMNS = ("labels", "domain_ids", "event_ids", "site_ids", "species")
_NUMBERS = "numbers"  # of tasks that have some
_ROWS = ("train", "id_", "ood")
_REMEDY = "start the command again, which writes it anew"


@dataclass(frozen=True, eq=False, kw_only=True)
class TrialData:
    """Features, labels and sides of n specimens; row i is the same specimen everywhere.

    labels: float32 [n, targets]. domain_ids, event_ids: int64 or str [n]. site_ids, species: str [n], a species that
    has no name being `NO_NAME`. numbers: float64 [n, numbers], NaN where missing; None of a task without. targets: what
    the labels are of. split: of the first fold. other_splits: of further
    folds that a trial is trained on as well, and scored on together.
    remote_store: URI that a node without the store copies it from; None when nodes share its path. copies: stores of
    altered copies of the images, in their order; remote_copies: where a node without them copies them from, if any.
    """

    store: FeatureStore
    labels: NDArray[np.float32]
    domain_ids: NDArray[np.int64] | NDArray[np.str_]
    event_ids: NDArray[np.int64] | NDArray[np.str_]
    site_ids: NDArray[np.str_]
    species: NDArray[np.str_]
    split: Split
    other_splits: tuple[Split, ...] = ()
    remote_store: str | None = None
    targets: Targets = field(default_factory=Targets.beetles)
    numbers: NDArray[np.float64] | None = None
    copies: tuple[FeatureStore, ...] = ()
    remote_copies: tuple[str, ...] = ()
    _versions: dict[int, FeatureVersions] = field(repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises: ValueError unless every column has a row for each of the store's specimens, and the task's width."""
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        lengths |= {f"copy {number}": copy.n for number, copy in enumerate(self.copies, start=1)}
        if set(lengths.values()) != {self.store.n}:
            raise ValueError(f"every column must have {self.store.n} rows as the feature store has, but got {lengths}")
        if self.labels.ndim != 2 or self.labels.shape[1] != len(self.targets):
            wanted = f"[{self.store.n}, {len(self.targets)}] for {', '.join(self.targets.names)}"
            raise ValueError(f"labels must be {wanted}, but are {list(self.labels.shape)}")
        names = self.targets.task.numbers
        shape = None if self.numbers is None else self.numbers.shape
        if shape != ((self.store.n, len(names)) if names else None):
            wanted = f"[{self.store.n}, {len(names)}] for {', '.join(names)}" if names else "absent"
            raise ValueError(f"numbers must be {wanted}, but are {'absent' if shape is None else list(shape)}")

    @property
    def splits(self) -> tuple[Split, ...]:
        """Of all folds."""
        return self.split, *self.other_splits

    @property
    def folds(self) -> tuple[Self, ...]:
        """The same specimens once a fold, each with its split alone."""
        return tuple(replace(self, split=split, other_splits=()) for split in self.splits)

    def features(self, *, n_copies: int) -> Features:
        """Of the images and of the first `n_copies` copies of each.

        Raises: UserError when fewer are stored.
        """
        if n_copies > len(self.copies):
            raise UserError(
                f"features of {counted(n_copies, 'copy')} of each image must be stored for "
                f"`augment.image_copies` or `augment.test_flips`, but there are {len(self.copies)}; begin a new study "
                "whose space asks for them, or run `sentinel-tune train` with this configuration: either extracts them"
            )
        if n_copies == 0:
            return self.store
        if n_copies not in self._versions:  # mapped once for all trials of a process
            self._versions[n_copies] = FeatureVersions(stores=(self.store, *self.copies[:n_copies]))
        return self._versions[n_copies]

    def train_species(self) -> tuple[str, ...]:
        """Names of the training specimens' species, ascending, each once."""
        return tuple(str(name) for name in np.unique(self.species[self.split.train]) if name != NO_NAME)

    def save(self, folder: Place) -> Place:
        """Write `data.npz` into a folder, whole or not at all; the features stay where they are."""
        others = [_plain_split(split) for split in self.other_splits]
        meta = {
            "format_version": FORMAT_VERSION if others else ONE_SPLIT_VERSION,
            "store": str(Path(self.store.path).resolve()),
            "store_key": self.store.key,
            "taps": list(self.store.taps),
            "remote_store": self.remote_store,
            "split": _plain_split(self.split),
            **({"other_splits": others} if others else {}),
        }
        if not self.targets.task.is_beetles:
            meta["targets"] = self.targets.to_dict()
        if self.copies:
            remotes = self.remote_copies or (None,) * len(self.copies)
            meta["copies"] = [_plain_copy(*pair) for pair in zip(self.copies, remotes, strict=True)]
        arrays = {name: np.asarray(getattr(self, name)) for name in _COLUMNS}
        if self.numbers is not None:
            arrays[_NUMBERS] = self.numbers.astype(np.float64)
        arrays |= {"site_ids": self.site_ids.astype(np.str_), "species": self.species.astype(np.str_)}
        for number, split in enumerate(self.splits):
            arrays |= {_rows_name(number, name): np.asarray(getattr(split, name), dtype=np.int64) for name in _ROWS}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, meta=np.array(json.dumps(meta)), **arrays)
        write_file(folder, FILE_NAME, with_checksum(content.getvalue()))
        return folder / FILE_NAME

    @classmethod
    def load(cls, folder: Place, *, copy_features: bool = False) -> Self:
        """Read what `save` wrote and open the feature store it names.

        copy_features: from object storage, if they are kept there and this node has none.
        Raises: UserError when the file is missing, damaged or of a newer format, or its feature store is missing or
        another one; StorageError when its storage does not answer.
        """
        file = folder / FILE_NAME
        arrays, meta = _read(folder)
        remote_store, plain_copies = meta.get("remote_store"), meta.get("copies", [])
        store, *copies = (_opened(plain, copy_features=copy_features) for plain in (meta, *plain_copies))
        try:
            splits = [
                _split_of(plain, {name: arrays[_rows_name(number, name)] for name in _ROWS})
                for number, plain in enumerate([meta["split"], *meta.get("other_splits", ())])
            ]
            return cls(
                store=store,
                remote_store=remote_store,
                copies=tuple(copies),
                remote_copies=tuple(of["remote_store"] for of in plain_copies if of["remote_store"] is not None),
                targets=Targets.from_dict(meta["targets"]) if "targets" in meta else Targets.beetles(),
                split=splits[0],
                other_splits=tuple(splits[1:]),
                numbers=arrays.get(_NUMBERS),
                labels=arrays["labels"],
                domain_ids=arrays["domain_ids"],
                event_ids=arrays["event_ids"],
                site_ids=arrays["site_ids"],
                species=arrays["species"],
            )
        except ValueError as error:
            raise UserError(f"{file} must fit its feature store {meta['store']}, but {error}; {_REMEDY}") from error


def _plain_copy(copy: FeatureStore, remote: str | None) -> dict[str, Any]:
    return {
        "store": str(Path(copy.path).resolve()),
        "store_key": copy.key,
        "taps": list(copy.taps),
        "remote_store": remote,
    }


def _opened(plain: dict[str, Any], *, copy_features: bool) -> FeatureStore:
    """The store that `plain` names, copied here first from where it is remote, if asked to."""
    path, remote = Path(plain["store"]), plain.get("remote_store")
    if copy_features and remote is not None:
        from trainable.frozen.mirror import mirror_store  # loads PIL

        mirror_store(RemoteFolder.parse(remote), path, taps=plain["taps"], say=lambda _: None)
    return FeatureStore.open(path, key=plain["store_key"])


def _plain_split(split: Split) -> dict[str, Any]:
    """All but its rows."""
    return {name: value for name, value in asdict(split).items() if name not in _ROWS}


def _split_of(plain: dict[str, Any], rows: dict[str, NDArray[np.int64]]) -> Split:
    tuples = {name: tuple(plain[name]) for name in ("held_out_sites", "held_out_domains")}
    return Split(**plain | tuples | rows)


def _rows_name(number: int, name: str) -> str:
    """Of a split's rows in the file; the first one's as where there is no other."""
    return f"split_{name}" if number == 0 else f"split{number}_{name}"


def _read(folder: Place) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    file = folder / FILE_NAME
    try:
        content = without_checksum(read_file(folder, FILE_NAME))
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
        meta = json.loads(str(arrays.pop("meta")))
        version = meta["format_version"]
        n_splits = 1 + len(meta.get("other_splits", ()))
        rows = {_rows_name(number, name) for number in range(n_splits) for name in _ROWS}
        complete = {*_COLUMNS, *rows} <= set(arrays)
    except StorageError:
        raise
    except FileNotFoundError:
        raise UserError(f"{file} must exist, but does not; {_REMEDY}, or give the study's own folder") from None
    except AlteredContent as error:
        raise UserError(f"{file} must be as it was written, but {error}; {_REMEDY}") from error
    except Exception as error:  # numpy and zipfile raise all kinds on damaged headers
        raise UserError(f"{file} must be a readable data file, but reading it failed: {error!r}; {_REMEDY}") from error
    if version > FORMAT_VERSION:
        raise UserError(f"{file} must have a format version <= {FORMAT_VERSION}, but has {version}; update the program")
    if not complete:
        raise UserError(f"{file} must hold {', '.join(_COLUMNS)} and the split, but has {sorted(arrays)}; {_REMEDY}")
    return arrays, meta
