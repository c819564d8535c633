"""What numbers that are known when predicting add to the image feature."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class NumberCode(nn.Module):
    """A linear map of numbers, beside an indicator each of being missing, added to the unit-norm image feature.

    Of standardised numbers that are independent, the root mean square of the code's norm starts at `scale`. Indicators
    start without effect, so that a number which was never missing in training counts as its mean where it is.
    """

    def __init__(self, n_numbers: int, embed_dim: int, *, scale: float) -> None:
        super().__init__()
        self.gain = scale / embed_dim**0.5
        drawn = torch.randn(embed_dim, n_numbers) / n_numbers**0.5
        self.weight = nn.Parameter(torch.cat([drawn, torch.zeros(embed_dim, n_numbers)], dim=1))

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch embed_dim"]:
        """What `NumberUnits.read` gives, or mixtures of it, for mixtures of what it stands for."""
        code: Tensor = F.linear(inputs.to(self.weight.dtype), self.table())
        return code

    def table(self) -> Float[Tensor, "embed_dim inputs"]:
        """The map as one matrix."""
        table: Tensor = self.weight * self.gain
        return table


def all_missing(inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch inputs"]:
    """The same of specimens of which no number is known: zeros, and a 1 for each number."""
    n_numbers = inputs.shape[1] // 2
    return torch.cat([torch.zeros_like(inputs[:, :n_numbers]), torch.ones_like(inputs[:, n_numbers:])], dim=1)
