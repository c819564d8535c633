"""DoRA's arithmetic without building B·A: plugged into peft's own layers, equal to peft's to rounding.

Imports peft; imported only by who trains DoRA.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from peft.tuners.lora.dora import DoraLinearLayer
from torch import Tensor


class FactoredDora(DoraLinearLayer):
    """peft's `DoraLinearLayer` with the rows' norms of W + sBA taken as

        ||w||^2 + 2s <w A^T, b> + s^2 <b (A A^T), b>        for each row w of W and b of B,

    and with magnitude and scale folded into B, which saves passes over the activations. Merging, saving and the
    magnitudes are peft's. As there, the norm gets no gradient (Liu 2024, arXiv 2402.09353, section 4.3).
    """

    def __init__(
        self, magnitude: Float[torch.nn.Parameter, " n_out"], base_weight: Float[Tensor, "n_out n_in"]
    ) -> None:
        super().__init__(fan_in_fan_out=False)
        self.weight = magnitude
        self.register_buffer("_row_squares", base_weight.detach().square().sum(dim=1), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "*rows n_in"],
        *,
        lora_A: Any,
        lora_B: Any,
        scaling: float,
        base_layer: Any,
        base_result: Float[Tensor, "*rows n_out"] | None = None,
        adapter_name: str = "default",  # noqa: ARG002
    ) -> Float[Tensor, "*rows n_out"]:
        """What is added to the base layer's output.

        base_result: the base layer's output for the same x, or None when x went through dropout.
        """
        relative = self.weight / self._row_norms(base_layer.weight, lora_A.weight, lora_B.weight, scaling)
        surplus = relative - 1
        bias = None if base_layer.bias is None or base_result is None else -surplus * base_layer.bias
        if base_result is None:
            base_result = F.linear(x, base_layer.weight)
        update = F.linear(lora_A(x), lora_B.weight * (relative * scaling)[:, None], bias)
        return torch.addcmul(update, base_result, surplus.to(base_result.dtype))

    @torch.no_grad()
    def _row_norms(
        self,
        weight: Float[Tensor, "n_out n_in"],
        a: Float[Tensor, "rank n_in"],
        b: Float[Tensor, "n_out rank"],
        scaling: float,
    ) -> Float[Tensor, " n_out"]:
        with torch.autocast(weight.device.type, enabled=False):
            inner = torch.addmm(weight @ a.T, b, a @ a.T, beta=2 * scaling, alpha=scaling**2)
            squares: Tensor = self._row_squares + (inner * b).sum(dim=1)
            return squares.clamp_min(0).sqrt()


def use_factored_norm(layer: Any, adapter_name: str) -> None:
    """Let one of peft's LoRA layers with DoRA compute so; its magnitudes stay the same parameter."""
    magnitude = layer.lora_magnitude_vector[adapter_name].weight
    factored = FactoredDora(magnitude, layer.get_base_layer().weight)
    layer.lora_magnitude_vector[adapter_name] = factored
