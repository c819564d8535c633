"""Predictions for the held-out specimens, kept epoch by epoch where a later choice among epochs needs them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainable.errors import UserError
from trainable.training.checkpoint import CheckpointNotWritten
from trainable.whole_file import whole_file


def save_predictions(folder: Path, epoch: int, predictions: NDArray[np.float32]) -> None:
    """Write one epoch's predictions [n, 3], the ID rows first, whole or not at all.

    Raises: CheckpointNotWritten.
    """
    file = _file(folder, epoch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as temporary, temporary.open("wb") as out:
            np.save(out, predictions, allow_pickle=False)
    except OSError as error:
        raise CheckpointNotWritten(f"{file}: {error}") from error


def load_predictions(folder: Path, epoch: int) -> NDArray[np.float32]:
    """What `save_predictions` wrote.

    Raises: UserError when it is missing or damaged.
    """
    file = _file(folder, epoch)
    try:
        predictions: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} must hold an epoch's predictions, but reading it failed: {error}") from error
    return predictions


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"predictions-{epoch:06d}.npy"
