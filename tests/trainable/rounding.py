"""How far results may lie apart that differ in rounding alone: other kernels, another order of sums, more threads.

With errors of rounding that are independent, a sum of n terms is off by at most λ √n u of its terms' magnitude but with
a probability of 2 exp(-λ²/2), in whatever order it is added (Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), A2815;
u is half of eps, the step from 1 to the next number). Sums behind one another count as one sum of all their terms.
"""

import numpy as np
import torch

from trainable.architecture import VisionArchitecture

_LAMBDA = 8
"""4, which chance exceeds once in 1,500 values, times 2 for terms larger than their sum (layer norms, softmax).

Measured against float64: 0.5 at most with the kernels that CI forces on an AMD processor; on an Intel one 0.8 for the
class token's row alone, 3.7 for a block written out plainly.
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
    assert error(found, exact, magnitude) <= rounding_bound(n_terms), name


def assert_same_but_rounding(
    found: object,
    other: object,
    n_terms: int,
    name: str = "",
    *,
    magnitude: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Two results of one type lie within the bound of the same exact one, which is not computed."""
    assert error(found, other, magnitude) <= 2 * rounding_bound(n_terms, dtype), name


def _double(values: object) -> torch.Tensor:
    return torch.as_tensor(values).detach().to(torch.float64)
