"""Checkpoints of a trial: safetensors files named by epoch, checksummed, written whole or not at all; no pickle.

epoch-000012.safetensors    tensors; in its metadata the plain values as JSON and a sha256 over both
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainable.shown import brief
from trainable.storage.place import Place, delete_file, file_names, read_as_file, written_as_file

FORMAT_VERSION = 1

TIME_SHARE = 0.05
"""Of a trial's time, what its checkpoints may take."""

_NAME = re.compile(r"epoch-(\d{6,})\.safetensors")


class CheckpointNotWritten(OSError):
    """The disk or storage did not take a checkpoint (full, quota, lost mount); the older ones are as they were."""


class CheckpointPace:
    """When a trial's state is worth writing: once the time since the last writing is 20 times what that one took.

    The first time is after the first epoch, whatever it costs: from then on the cost is known.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ended = clock()
        self._seconds = 0.0

    def is_due(self) -> bool:
        """Whether a checkpoint written now keeps within `TIME_SHARE`."""
        return self._clock() - self._ended >= self._seconds / TIME_SHARE

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around the writing of one, to learn what it takes."""
        started = self._clock()
        yield
        self._ended = self._clock()
        self._seconds = self._ended - started


def save_checkpoint(folder: Place, state: Mapping[str, Any], *, keep: int = 2) -> Place:
    """Write `TailTrainer.state_dict()` as `epoch-EPOCH.safetensors`, then delete all but the newest `keep`.

    When this returns the file is on the disk or storage: a crash at any moment leaves the older ones as they were.
    state: {"tensors": {name: tensor}, "values": {"epoch": int, ...}}; values hold what JSON can.
    Raises: CheckpointNotWritten.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {name: value.detach().cpu().contiguous() for name, value in state["tensors"].items()}
    values = json.dumps(state["values"])
    metadata = {"format_version": str(FORMAT_VERSION), "values": values, "sha256": _checksum(tensors, values)}
    name = f"epoch-{state['values']['epoch']:06d}.safetensors"
    with _told(folder / name), written_as_file(folder, name) as file:
        save_file(tensors, file, metadata=metadata)
    names = file_names(folder)
    leftovers = [left for left in names if left.startswith(".epoch-")]  # of a process that was killed while writing
    for old in [*_newest_first(names)[keep:], *leftovers]:
        delete_file(folder, old)
    return folder / name


def make_checkpoint_folder(folder: Place) -> None:
    """Make the folder, and the one around it that holds those of all trials; on object storage there is none to make.

    What both lie in must be there: the folder of a study that was moved away is not begun anew.
    Raises: CheckpointNotWritten.
    """
    if isinstance(folder, Path):
        with _told(folder):
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)


@contextmanager
def _told(file: Place) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointNotWritten(f"{file}: {error}") from error


def load_latest(folder: Place) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint of a folder, or None; and why each newer one was passed over: "FILE: reason"."""
    skipped: list[str] = []
    for name in _newest_first(file_names(folder)):
        try:
            with read_as_file(folder, name) as file:
                return load_checkpoint(file), skipped
        except (ValueError, FileNotFoundError) as error:
            skipped.append(f"{folder / name}: {error}")
    return None, skipped


def load_checkpoint(file: Path) -> dict[str, Any]:
    """One checkpoint as `save_checkpoint` was given it, tensors on the CPU.

    Raises: ValueError when it is damaged, truncated, of a newer format, or not ours.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"not a whole safetensors file ({error})") from error
    if not {"format_version", "values", "sha256"} <= metadata.keys():
        raise ValueError("not a checkpoint of a trial: its metadata lacks ours")
    if int(metadata["format_version"]) > FORMAT_VERSION:
        raise ValueError(f"format version {metadata['format_version']} is newer than {FORMAT_VERSION}")
    if metadata["sha256"] != _checksum(tensors, metadata["values"]):
        raise ValueError("its checksum does not match its content")
    return {"tensors": tensors, "values": json.loads(metadata["values"])}


def _newest_first(names: Iterable[str]) -> list[str]:
    found = [(int(match.group(1)), name) for name in names if (match := _NAME.fullmatch(name))]
    return [name for _, name in sorted(found, reverse=True)]


def _checksum(tensors: Mapping[str, Tensor], values: str) -> str:
    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def identity_problems(wanted: Mapping[str, Any], found: Any, path: str = "") -> Iterator[str]:
    """What a checkpoint is of that it should not be, one line a value."""
    for key, value in wanted.items():
        other = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(value, Mapping):
            yield from identity_problems(value, other, f"{path}{key}.")
        elif value != other:
            rule = f"the checkpoint's `{path}{key}` must be {brief(value)}"
            yield f"{rule}, but is {brief(other)}; give it its own checkpoint"
