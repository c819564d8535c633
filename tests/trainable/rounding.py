"""How far a result may lie from the exact one that differs in rounding alone: by kernel, order of sums, threads.

With errors of rounding that are independent, a sum of n terms is off by at most λ √n u of its terms' magnitude but with
a probability of 2 exp(-λ²/2), in whatever order it is added (Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), A2815;
u is half of eps, the step from 1 to the next number). Terms that cancel have up to √n times the magnitude of their sum,
but then the error is λ u of it (the same 2020, 42(5), A3427): λ √n u of the largest result holds either way. Sums
behind one another count as one sum of all their terms.

The exact result is computed in float64, by another way than the one under test where there is one. What is float64
throughout is compared with a share of 1e-9 or pytest's 1e-6, far above its rounding. Tests that ask for equal bits
compare what the same operations make of the same numbers in the same order, or copies.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainable.architecture import VisionArchitecture
from trainable.export.standalone import ExportedModel
from trainable.frozen.backbone import Backbone
from trainable.tail.dora import use_factored_norm

M = TypeVar("M", bound=nn.Module)

_LAMBDA = 8
"""Exceeded by chance once in 4e13 values; a run of all tests compares some 1e6.

Seen with `ATEN_CPU_CAPABILITY=default` and what CI forces beside it: 0.3 at most of float32 results, 1.0 between two
of float64. On an Intel processor: 0.8 for the class token's row alone, 3.7 for a block written out plainly.
"""


def forward_terms(architecture: VisionArchitecture, n_blocks: int) -> int:
    """Terms of the sums behind one another on the way through blocks: two norms, q·k, softmax, values, four layers."""
    return n_blocks * (6 * architecture.width + 2 * architecture.n_tokens + architecture.mlp_width)


TINY_TERMS = 6 * (6 * 128 + 2 * 17 + 512)
"""`forward_terms` of the whole tiny tower."""


def gradient_terms(architecture: VisionArchitecture, n_blocks: int, n_images: int) -> int:
    """The same there and back, where each product is two, and a weight's gradient adds up all rows."""
    return 3 * forward_terms(architecture, n_blocks) + n_images * architecture.n_tokens


def rounding_bound(n_terms: int, dtype: torch.dtype = torch.float32) -> float:
    """How far from the exact result one may be that was computed in this type, as a share of the largest value."""
    return float(_LAMBDA * np.sqrt(n_terms) * torch.finfo(dtype).eps / 2)


def input_bound(dtype: torch.dtype) -> float:
    """How far a result moves when what it is computed from is rounded to this type: one error a term, not n."""
    return float(_LAMBDA * torch.finfo(dtype).eps / 2)


def error(found: object, wanted: object, magnitude: float | None = None) -> float:
    """The largest difference as a share of the largest value wanted, or of `magnitude`."""
    found, wanted = _double(found), _double(wanted)
    assert found.shape == wanted.shape
    if magnitude is None:
        magnitude = float(wanted.abs().max())
    assert magnitude > 0
    return float((found - wanted).abs().max()) / magnitude


def assert_rounded(
    found: object, exact: object, n_terms: int, name: str = "", *, magnitude: float | None = None
) -> None:
    """A float32 result is the one computed in float64, but for its rounding."""
    assert torch.as_tensor(exact).dtype == torch.float64, "an exact result is computed in float64"
    assert error(found, exact, magnitude) <= rounding_bound(n_terms), name


def assert_same_in_float64(
    found: object, other: object, n_terms: int, name: str = "", *, magnitude: float | None = None
) -> None:
    """Two results computed in float64 lie within the bound of the same exact one."""
    assert {torch.as_tensor(values).dtype for values in (found, other)} == {torch.float64}
    assert error(found, other, magnitude) <= 2 * rounding_bound(n_terms, torch.float64), name


def assert_stored_in_half(found: torch.Tensor, exact: torch.Tensor, n_terms: int) -> None:
    """Each value is a float32 result that was rounded to float16."""
    half = torch.finfo(torch.float16)
    room = rounding_bound(n_terms) * exact.abs().max()
    stored = half.eps / 2 * (exact.abs() + room).clamp_min(half.smallest_normal)
    assert found.dtype == torch.float16
    assert ((found.double() - exact).abs() <= room + stored).all()


def in_float64(module: M) -> M:
    """A copy that computes exactly."""
    return to_float64(copy.deepcopy(module))


def to_float64(module: M) -> M:
    """In place, parameters stay those of an optimizer; DoRA takes its weights' squares anew, which were rounded."""
    for layer in module.double().modules():
        if "default" in getattr(layer, "lora_magnitude_vector", ()):
            use_factored_norm(layer, "default")
    return module


def taps_in_float64(backbone: Backbone, pixels: torch.Tensor, taps: Collection[int]) -> dict[int, torch.Tensor]:
    """`backbone.forward_taps`, exact."""
    return replace(backbone, visual=in_float64(backbone.visual)).forward_taps(pixels.double(), taps)


def predicted_in_float64(
    model: ExportedModel,
    pixels: torch.Tensor,
    domains: Sequence[int | None],
    species: Sequence[str | None] | None = None,
    numbers: Sequence[Mapping[str, float | None] | None] | None = None,
) -> NDArray[np.float64]:
    """`model.predict_pixels`, exact."""
    exact = ExportedModel(model.config, [in_float64(member) for member in model.members])
    return exact.predict_pixels(pixels.double(), domains, species, numbers)


def _double(values: object) -> torch.Tensor:
    return torch.as_tensor(values).detach().to(torch.float64)
