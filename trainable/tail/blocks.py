"""A transformer block whose q, k, v and out projections are layers of their own, and the way from open_clip and back.

open_clip's block calls `nn.MultiheadAttention`, which reads `out_proj.weight` itself and has no q, k, v layers, so an
adapter on them would be dead or find nothing to wrap. Here every projection is an `nn.Linear` that is called.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trainable.architecture import VisionArchitecture
from trainable.tail.class_row import attend_from_class_row, is_cheaper

_UNTOUCHED = ("ln_1.", "ln_2.", "mlp.", "ls_1.", "ls_2.", "attn.out_proj.")


class SplitAttention(nn.Module):
    """Multi-head self-attention, equal to `nn.MultiheadAttention(width, n_heads, batch_first=True)` without a mask."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "batch queries width"], tokens: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch queries width"]:
        """Queries attend to tokens."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.q_proj(queries)), self._heads(self.k_proj(tokens)), self._heads(self.v_proj(tokens))
        )
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output

    def _heads(self, x: Float[Tensor, "batch rows width"]) -> Float[Tensor, "batch heads rows head_width"]:
        heads: Tensor = x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        return heads


class Mlp(nn.Module):
    """c_fc, activation, c_proj."""

    def __init__(self, width: int, hidden: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.quick_gelu = quick_gelu
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Row by row."""
        hidden = self.c_fc(x)
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.quick_gelu else F.gelu(hidden)
        output: Tensor = self.c_proj(hidden)
        return output


class LayerScale(nn.Module):
    """One learned gain a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Row by row."""
        return x * self.gamma


class TailBlock(nn.Module):
    """Equal to open_clip's `ResidualAttentionBlock` (open_clip/transformer.py, version 3.3.0)."""

    def __init__(self, architecture: VisionArchitecture) -> None:
        super().__init__()
        width, scaled = architecture.width, architecture.layer_scale
        self.ln_1 = nn.LayerNorm(width, eps=architecture.ln_eps)
        self.attn = SplitAttention(width, architecture.n_heads)
        self.ls_1 = LayerScale(width) if scaled else nn.Identity()
        self.ln_2 = nn.LayerNorm(width, eps=architecture.ln_eps)
        self.mlp = Mlp(width, architecture.mlp_width, quick_gelu=architecture.quick_gelu)
        self.ls_2 = LayerScale(width) if scaled else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch tokens width"], *, class_row_only: bool = False
    ) -> Float[Tensor, "batch rows width"]:
        """A row for each token, or with `class_row_only` just the first one.

        When nothing above reads another row, only attention looks at all tokens; the result is the same.
        """
        attended = self._attend_from_class_row(x) if class_row_only else self._attend(x)
        x = x[:, : attended.shape[1]] + self.ls_1(attended)
        output: Tensor = x + self.ls_2(self.mlp(self.ln_2(x)))
        return output

    def _attend(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        normed = self.ln_1(x)
        attended: Tensor = self.attn(normed, normed)
        return attended

    def _attend_from_class_row(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch 1 width"]:
        if is_cheaper(self.attn, x):
            return attend_from_class_row(self.attn, self.ln_1, x)
        normed = self.ln_1(x)
        attended: Tensor = self.attn(normed[:, :1], normed)
        return attended


def make_block(architecture: VisionArchitecture, open_clip_state: Mapping[str, Tensor], index: int) -> TailBlock:
    """Block `index` (0..n_blocks-1, counted from the stem), frozen, from weights under open_clip's names.

    The weights are taken as they are, not copied: memory-mapped ones stay so.
    Raises: RuntimeError (torch's) when a weight is missing or has another shape.
    """
    with torch.device("meta"):
        block = TailBlock(architecture)
    block.load_state_dict(split_block_state(open_clip_state, index), strict=True, assign=True)
    return block.requires_grad_(False)


def split_block_state(open_clip_state: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """The weights of block `index` under `TailBlock`'s names; q, k and v are views of the thirds of `in_proj`."""
    prefix = f"transformer.resblocks.{index}."
    state: dict[str, Tensor] = {}
    for name, value in open_clip_state.items():
        local = name.removeprefix(prefix)
        if local == name:
            continue
        if local.startswith("attn.in_proj_"):
            kind = local.removeprefix("attn.in_proj_")
            state |= {f"attn.{p}_proj.{kind}": third for p, third in zip("qkv", value.chunk(3), strict=True)}
        else:
            state[local] = value
    return state


def fuse_block_state(block_state: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """Inverse of `split_block_state`, bit-equal: weights of a plain `TailBlock` under open_clip's names.

    Raises: ValueError for names that a plain block does not have, such as an adapter's.
    """
    prefix = f"transformer.resblocks.{index}."
    projections = {f"attn.{p}_proj.{kind}" for p in "qkv" for kind in ("weight", "bias")}
    strange = [n for n in block_state if n not in projections and not n.startswith(_UNTOUCHED)]
    strange += [n for n in block_state if "lora_" in n or "base_layer" in n]
    if strange:
        raise ValueError(f"only a plain block can be fused, but this one holds {strange[:3]}; merge its adapters first")
    fused = {prefix + name: value for name, value in block_state.items() if name not in projections}
    for kind in ("weight", "bias"):
        fused[f"{prefix}attn.in_proj_{kind}"] = torch.cat([block_state[f"attn.{p}_proj.{kind}"] for p in "qkv"])
    return fused
