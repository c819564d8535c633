"""What a configuration asks of a machine, computed from its shape alone: numbers that train, work, and bytes.

Only ratios between configurations matter here: two of them are measured, and the others lie on the line between.
"""

from dataclasses import dataclass

from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig

_FLOAT_BYTES = 4
_ADAM_COPIES = 4
"""Of each trained number: itself, its gradient, two moments."""

_KEPT_WIDTHS = 10
"""Residual-stream-wide activations that a trained block keeps for its backward pass (assumption)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """n_trainable: numbers that train in the blocks. train_flops, predict_flops: of one specimen. step_flops: of one
    step of the optimizer. bytes: of weights, moments and activations.
    """

    n_trainable: float
    train_flops: float
    predict_flops: float
    step_flops: float
    bytes: float


def demand(config: TrialConfig, architecture: VisionArchitecture) -> Demand:
    """A configuration's demand on a tail of this architecture that reads the tap right below its trained blocks."""
    a, n_blocks, batch = architecture, config.tail.n_blocks, config.optim.batch_size
    block_weights = 4 * a.width**2 + 2 * a.width * a.mlp_width
    block_flops = 2 * a.n_tokens * block_weights + 4 * a.n_tokens**2 * a.width
    adapter = _adapter_numbers(config, a)
    per_block = adapter if config.adapter.kind != "full" else block_weights
    backward = 2 if config.adapter.kind == "full" else 1  # without gradients of frozen weights
    train_flops = n_blocks * ((1 + backward) * block_flops + 6 * a.n_tokens * adapter)
    rows_at_once = -(-batch // config.optim.accumulation_steps)
    kept = a.n_tokens * (_KEPT_WIDTHS * a.width + 2 * a.mlp_width) * _FLOAT_BYTES * n_blocks
    fed = a.n_tokens * a.width * 3 * _FLOAT_BYTES
    n_trainable = n_blocks * per_block
    return Demand(
        n_trainable=n_trainable,
        train_flops=train_flops,
        predict_flops=n_blocks * (block_flops + 2 * a.n_tokens * adapter),
        step_flops=train_flops * batch,
        bytes=(_ADAM_COPIES + (config.optim.average != "none")) * _FLOAT_BYTES * n_trainable
        + _FLOAT_BYTES * n_blocks * block_weights
        + rows_at_once * (kept + fed),
    )


def _adapter_numbers(config: TrialConfig, architecture: VisionArchitecture) -> int:
    """Of one block; 0 for full weights."""
    if config.adapter.kind == "full":
        return 0
    width, mlp = architecture.width, architecture.mlp_width
    shapes = {"c_fc": (width, mlp), "c_proj": (mlp, width)}
    sides = [shapes.get(name, (width, width)) for name in config.adapter.targets]
    magnitudes = sum(out for _, out in sides) if config.adapter.kind == "dora" else 0
    return config.adapter.rank * sum(into + out for into, out in sides) + magnitudes
