"""Checkpoints of a trial: one safetensors file an epoch, checksummed, written whole or not at all; no pickle.

epoch-000012.safetensors    tensors; in its metadata the plain values as JSON and a sha256 over both
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainable.whole_file import whole_file

FORMAT_VERSION = 1
_NAME = re.compile(r"epoch-(\d{6,})\.safetensors")


class CheckpointNotWritten(OSError):
    """The disk did not take a checkpoint (full, quota, lost mount); the older ones are as they were."""


def save_checkpoint(folder: Path, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write `TailTrainer.state_dict()` as `epoch-EPOCH.safetensors`, then delete all but the newest `keep`.

    When this returns the file is on disk: a crash at any moment leaves the older ones as they were.
    state: {"tensors": {name: tensor}, "values": {"epoch": int, ...}}; values hold what JSON can.
    Raises: CheckpointNotWritten.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {name: value.detach().cpu().contiguous() for name, value in state["tensors"].items()}
    values = json.dumps(state["values"])
    metadata = {"format_version": str(FORMAT_VERSION), "values": values, "sha256": _checksum(tensors, values)}
    file = folder / f"epoch-{state['values']['epoch']:06d}.safetensors"
    _write_whole(file, tensors, metadata)
    for old in _newest_first(folder)[keep:]:
        old.unlink(missing_ok=True)
    for leftover in folder.glob(".epoch-*.partial"):  # of a process that was killed while writing
        leftover.unlink(missing_ok=True)
    return file


def _write_whole(file: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointNotWritten(f"{file}: {error}") from error


def load_latest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint of a folder, or None; and why each newer one was passed over: "FILE: reason"."""
    skipped: list[str] = []
    for file in _newest_first(Path(folder)):
        try:
            return load_checkpoint(file), skipped
        except ValueError as error:
            skipped.append(f"{file}: {error}")
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


def _newest_first(folder: Path) -> list[Path]:
    found = [(int(match.group(1)), file) for file in folder.glob("epoch-*") if (match := _NAME.fullmatch(file.name))]
    return [file for _, file in sorted(found, reverse=True)]


def _checksum(tensors: Mapping[str, Tensor], values: str) -> str:
    digest = hashlib.sha256(values.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
