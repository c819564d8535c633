"""Predictions for the held-out specimens, kept epoch by epoch where a later choice among epochs needs them."""

import io

import numpy as np
from numpy.typing import NDArray

from trainable.errors import UserError
from trainable.storage.place import Place, read_file, write_file
from trainable.training.checkpoint import CheckpointNotWritten


def save_predictions(folder: Place, epoch: int, predictions: NDArray[np.float32]) -> None:
    """Write one epoch's predictions [n, 3], the ID rows first, whole or not at all.

    Raises: CheckpointNotWritten.
    """
    content, name = io.BytesIO(), _name(epoch)
    np.save(content, predictions, allow_pickle=False)
    try:
        write_file(folder, name, content.getvalue())
    except OSError as error:
        raise CheckpointNotWritten(f"{folder / name}: {error}") from error


def load_predictions(folder: Place, epoch: int) -> NDArray[np.float32]:
    """What `save_predictions` wrote.

    Raises: UserError when it is missing or damaged.
    """
    name = _name(epoch)
    try:
        predictions: NDArray[np.float32] = np.load(io.BytesIO(read_file(folder, name)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder / name} must hold an epoch's predictions, but reading it failed: {error}") from error
    return predictions


def _name(epoch: int) -> str:
    return f"predictions-{epoch:06d}.npy"
