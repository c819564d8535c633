"""Self-attention for one row alone, without keys or values: exact, and memory-bound where it was compute-bound.

When nothing above a block reads any row but the class token's, one query an image meets all tokens, and multiplication
may be done in another order. With x_t = g * z_t + b a token behind `ln_1` (z_t of mean 0 and variance 1), per head h:

    score_t = q_h . (K_h x_t + k_h)      = (g * K_h^T q_h) . z_t + what is the same for every t
    output  = sum_t a_t (V_h x_t + v_h)  = V_h (g * sum_t a_t z_t + b) + v_h

The softmax a over t does not see what is the same for every t (so the keys' bias gets no gradient), and sums to 1. So
K_h^T goes to the query and V_h to the mean, one row each, and the tokens are only read: for T tokens, H heads and
width w a pass takes 2 HTw + 2 w^2 multiply-adds an image in place of 2 Tw^2, 60 times fewer for ViT-L. An adapter's
W + sBA is multiplied out once a batch. The norm's gain and shift act on rows, too, so that the tokens need no gradient
unless a trained block lies below.
"""

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@runtime_checkable
class Adapted(Protocol):
    """An adapted projection that may act as one matrix: `trainable.tail.folding.FoldingLinear`."""

    bias: Tensor | None

    def rank_to_fold(self) -> int | None:
        """The adapter's rank; None while it cannot be folded into the weight."""
        ...

    def folded_weight(self) -> Float[Tensor, "n_out n_in"]:
        """Differentiable in what trains of it."""
        ...


class Attention(Protocol):
    """Self-attention with a layer a projection: `trainable.tail.blocks.SplitAttention`."""

    n_heads: int
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear


def is_cheaper(attention: Attention, tokens: Float[Tensor, "batch tokens width"]) -> bool:
    """Whether `attend_from_class_row` takes fewer multiply-adds than keys and values for all tokens."""
    ranks = [_rank_to_fold(layer) for layer in (attention.k_proj, attention.v_proj)]
    if None in ranks:  # an adapter with dropout on its input is no one matrix, so nothing can be reordered
        return False
    n_images, n_tokens, width = tokens.shape
    folding = sum(rank or 0 for rank in ranks) * width**2
    # queries and the output projection cost the same in both
    reordered = n_images * (2 * attention.n_heads * n_tokens * width + 2 * width**2) + folding
    return reordered < n_images * 2 * n_tokens * width**2


def attend_from_class_row(
    attention: Attention, norm: nn.LayerNorm, tokens: Float[Tensor, "batch tokens width"]
) -> Float[Tensor, "batch 1 width"]:
    """`attention(norm(tokens)[:, :1], norm(tokens))`.

    Computed in float32 also under autocast: K^T q in half precision would be rounded once more than q and K are.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        # without gain and shift torch's CPU kernel takes twice as long
        ones, zeros = torch.ones_like(norm.weight), torch.zeros_like(norm.bias)
        z = F.layer_norm(tokens, norm.normalized_shape, ones, zeros, norm.eps)
        by_head = (attention.n_heads, -1)
        row = torch.addcmul(norm.bias, z[:, 0], norm.weight)
        queries = attention.q_proj(row).unflatten(-1, by_head).transpose(0, 1)  # [heads, B, width / heads]
        scale = queries.shape[-1] ** -0.5
        to_tokens = queries @ (_weight(attention.k_proj) * scale).unflatten(0, by_head)  # [heads, B, width]
        means = _Attend.apply(to_tokens.transpose(0, 1) * norm.weight, z)  # [B, heads, width]
        means = torch.addcmul(norm.bias, means, norm.weight).transpose(0, 1)
        values = means @ _weight(attention.v_proj).unflatten(0, by_head).mT  # [heads, B, width / heads]
        attended = values.transpose(0, 1).flatten(1)
        if attention.v_proj.bias is not None:
            attended = attended + attention.v_proj.bias
        output: Tensor = attention.out_proj(attended[:, None])
    return output


class _Attend(torch.autograd.Function):
    """softmax(q z^T) z for queries q and tokens z that are keys and values at once.

    As autograd's own, but that both gradients of the tokens come out of one product, in the tokens' memory order.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Float[Tensor, "batch heads width"], tokens: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch heads width"]:
        weights = torch.softmax((tokens @ queries.mT).mT, dim=-1)
        ctx.save_for_backward(queries, tokens, weights)
        return weights @ tokens

    @staticmethod
    @once_differentiable  # to a second derivative the saved weights would be constants
    def backward(
        ctx: Any, gradient: Float[Tensor, "batch heads width"]
    ) -> tuple[Float[Tensor, "batch heads width"] | None, Float[Tensor, "batch tokens width"] | None]:
        queries, tokens, weights = ctx.saved_tensors
        of_weights = (tokens @ gradient.mT).mT
        of_scores = weights * (of_weights - (weights * of_weights).sum(dim=-1, keepdim=True))
        of_queries = of_scores @ tokens if ctx.needs_input_grad[0] else None
        of_tokens = None  # wanted only when a block below trains
        if ctx.needs_input_grad[1]:
            of_tokens = torch.cat([of_scores, weights], dim=1).mT @ torch.cat([queries, gradient], dim=1)
        return of_queries, of_tokens


def _rank_to_fold(layer: nn.Module) -> int | None:
    """0 for a plain projection; None for one that is not known to be a matrix."""
    if isinstance(layer, nn.Linear):
        return 0
    return layer.rank_to_fold() if isinstance(layer, Adapted) else None


def _weight(layer: nn.Linear | Adapted) -> Float[Tensor, "n_out n_in"]:
    return layer.weight if isinstance(layer, nn.Linear) else layer.folded_weight()
