"""The numbers that fix a vision tower's shape: what a tail must know to be rebuilt without open_clip."""

from dataclasses import asdict, dataclass
from typing import Literal, Self

from trainable.plain_values import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionArchitecture:
    """Shape of an open_clip `VisionTransformer`: stem | block 0..n_blocks-1 | ln_post | proj.

    n_blocks: residual attention blocks (L). width: channels of the residual stream. n_heads: attention heads.
    mlp_width: hidden channels of a block's MLP. n_tokens: class token + patches. embed_dim: channels after `proj`.
    image_size: pixels a side. quick_gelu: x * sigmoid(1.702 x) in place of GELU. layer_scale: blocks carry
    `ls_1/ls_2.gamma`. pool: "tok" reads the class token, "avg" the mean of the patch tokens.
    ln_post_after_pool: pooling comes before `ln_post` (open_clip's `final_ln_after_pool`).
    ln_eps: epsilon of every LayerNorm.
    """

    n_blocks: int
    width: int
    n_heads: int
    mlp_width: int
    n_tokens: int
    embed_dim: int
    image_size: int
    quick_gelu: bool = False
    layer_scale: bool = False
    pool: Literal["tok", "avg"] = "tok"
    ln_post_after_pool: bool = False
    ln_eps: float = 1e-5

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> Self:
        """Inverse of `to_dict`; unknown or missing keys raise TypeError."""
        return cls(**values)


def is_in_tail(name: str, first_block: int) -> bool:
    """Whether an open_clip weight belongs to block `first_block` or above, `ln_post` or `proj`."""
    if name.startswith("transformer.resblocks."):
        return int(name.split(".")[2]) >= first_block
    return name == "proj" or name.startswith("ln_post.")
