"""An adapter folded into its weight for one pass: peft's LoRA layer, cheaper for many rows or a high rank.

Imports peft; imported only by who trains adapters.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft.tuners.lora import Linear
from torch import Tensor, nn

PASSES = {"lora": 150, "dora": 250}
"""Multiply-adds that take as long as an output value's passes through memory, forward and back, when it lies beside
the weight: scaled and added, or with DoRA weighed row by row (measured: benchmarks/folding.py)."""


class FoldingLinear(Linear):
    """peft's `lora.Linear` that multiplies by W + sBA at once where that takes fewer operations.

    With `rows` inputs a training step costs, in multiply-adds, rows * (2 io + 3 r (i + o) + p o) beside the weight and
    rows * 3 io + 3 r io folded in (i, o: channels in and out; r: rank; p: what adding the update to the output takes,
    `PASSES`): high ranks, narrow layers and many tokens favour folding. Only in float32: in half precision a small
    update would vanish in the rounding of W. Parameters, names, saving and merging are peft's; DoRA's norm gets no
    gradient, as there (Liu 2024, arXiv 2402.09353, section 4.3).
    """

    def forward(self, x: Float[Tensor, "*rows n_in"], *args: Any, **kwargs: Any) -> Float[Tensor, "*rows n_out"]:
        """Row by row."""
        # extra arguments choose an adapter a row, which is peft's own to compute
        if args or kwargs or not self._pays(x):
            result: Tensor = super().forward(x, *args, **kwargs)
            return result
        return F.linear(x, self.folded_weight(), self.base_layer.bias)

    def folded_weight(self) -> Float[Tensor, "n_out n_in"]:
        """W + sBA, with DoRA each row scaled to its magnitude; differentiable in A, B and magnitude."""
        (name,) = self.active_adapters
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        folded = torch.addmm(self.base_layer.weight, b, a, alpha=self.scaling[name])
        if name in self.lora_magnitude_vector:
            norms = torch.linalg.vector_norm(folded.detach(), dim=1)
            folded = folded * (self.lora_magnitude_vector[name].weight / norms)[:, None]
        return folded

    def rank_to_fold(self) -> int | None:
        """The adapter's rank; None while it cannot be folded, above all while dropout acts on its input alone."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        (name,) = self.active_adapters
        if self.training and not isinstance(self.lora_dropout[name], nn.Identity):
            return None
        rank: int = self.r[name]
        return rank

    def _pays(self, x: Float[Tensor, "*rows n_in"]) -> bool:
        rank = self.rank_to_fold()
        # autocast would round the folded weight, and a small update with it, to half precision
        if rank is None or x.dtype != torch.float32 or torch.is_autocast_enabled(x.device.type):
            return False
        n_out, n_in = self.base_layer.weight.shape
        rows = x.numel() // n_in
        passes = PASSES["dora" if self.lora_magnitude_vector else "lora"]
        # the class's two costs, with what both have, rows * 2 io, left out
        return bool(n_in * n_out * (rows + 3 * rank) < rows * (3 * rank * (n_in + n_out) + passes * n_out))
