"""Predictions for the held-out specimens, kept epoch by epoch where a later choice among epochs needs them."""

import io

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from trainable.checksums import with_checksum, without_checksum
from trainable.errors import UserError
from trainable.storage.place import Place, read_file, written_as_file
from trainable.training.checkpoint import CheckpointNotWritten


def save_predictions(folder: Place, epoch: int, predictions: Float[NDArray[np.float32], "held_out outputs"]) -> None:
    """Write one epoch's predictions, the ID rows first, whole or not at all.

    Raises: CheckpointNotWritten.
    """
    content, name = io.BytesIO(), predictions_name(epoch)
    np.save(content, predictions, allow_pickle=False)
    try:
        with written_as_file(folder, name) as file:
            file.write_bytes(with_checksum(content.getvalue()))
    except OSError as error:
        raise CheckpointNotWritten(f"{folder / name}: {error}") from error


def load_predictions(folder: Place, epoch: int, *, remedy: str) -> Float[NDArray[np.float32], "held_out outputs"]:
    """What `save_predictions` wrote.

    remedy: what helps where they are missing or damaged, for the message.
    Raises: UserError when it is missing or damaged.
    """
    name = predictions_name(epoch)
    try:
        content = without_checksum(read_file(folder, name))
        predictions: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # numpy raises all kinds on a damaged header
        raise UserError(
            f"{folder / name} must hold an epoch's predictions, but reading it failed: {error}; {remedy}"
        ) from error
    return predictions


def predictions_name(epoch: int) -> str:
    """The file of an epoch's predictions."""
    return f"predictions-{epoch:06d}.npy"
