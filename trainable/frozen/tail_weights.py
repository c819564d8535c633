"""A store's file of tail weights: written so that they can be used where they are mapped, by all trials of a node.

Which instructions a product of one row takes, and so how it rounds, goes by where its weights begin within a cache
line. Safetensors begins them at any multiple of 8 bytes, as long as the header's names happen to be: a trial on a store
with one tap more would round otherwise. Weights therefore begin at a multiple of `ALIGNMENT`, or are copied to one.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trainable.architecture import is_in_tail

ALIGNMENT = 64
"""Bytes: a cache line, the longest vector of today's processors, and where torch begins all tensors of its own."""

_LENGTH_BYTES = 8  # before the header: how long it is


def tail_file_content(state: Mapping[str, Tensor]) -> bytes:
    """A safetensors file whose header is filled up with spaces, as the format allows, until the weights are aligned."""
    from safetensors.torch import save

    content: bytes = save(dict(state))
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = content[_LENGTH_BYTES:end] + b" " * (-end % ALIGNMENT)
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header + content[end:]


def read_tail_weights(file: Path, first_block: int) -> dict[str, Tensor]:
    """Weights of the blocks from `first_block` up, `ln_post` and `proj`: mapped, or copied if not aligned."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        found = {name: opened.get_tensor(name) for name in opened.keys() if is_in_tail(name, first_block)}  # noqa: SIM118
    return {name: value.clone() if value.data_ptr() % ALIGNMENT else value for name, value in found.items()}
