"""Figure 14: an adapted projection's forward and backward pass, the way that is chosen / the faster of the two ways.

`FoldingLinear` either computes the adapter beside its weight or multiplies it into the weight first, by a rule of
multiply-adds and passes through memory. Here both ways run for widths, ranks and numbers of rows on either side of it.
"""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.figure import Figure, Target, Value
from benchmarks.interleaved import clock_of, measure_in_turns
from benchmarks.setting import Setting
from trainable.tail.adapters import add_adapters
from trainable.tail.folding import FoldingLinear

_SHAPES = ((128, 128), (128, 512), (512, 128), (192, 768), (384, 384), (1024, 1024))
_RANKS = (4, 16, 64)
_N_ROWS = (1088, 12608)  # 64 images of 17 and of 197 tokens
_OPERATIONS = 1e9  # an arm's, about


class _Ways(FoldingLinear):
    """Folds where it is told to."""

    folds = False

    def _pays(self, x: torch.Tensor) -> bool:  # noqa: ARG002
        return self.folds


def measure(setting: Setting) -> list[Figure]:
    """For each adapter the mean over all cases; its parts are the worst case and how often the choice was wrong."""
    return [_figure(setting, kind) for kind in ("lora", "dora")]


def _figure(setting: Setting, kind: str) -> Figure:
    shapes, rows = (_SHAPES[:2], (128,)) if setting.quick else (_SHAPES, _N_ROWS)
    losses = [_loss(setting, kind, shape, rank, n_rows) for shape in shapes for rank in _RANKS for n_rows in rows]
    return Figure(
        number=14,
        name=f"{kind}: way chosen / faster way, {len(losses)} cases",
        ratio=sum(losses) / len(losses),
        parts=(Value("worst case", max(losses)), Value("cases chosen wrongly", sum(loss > 1 for loss in losses))),
        target=Target("<=", 1.05),
    )


def _loss(setting: Setting, kind: str, shape: tuple[int, int], rank: int, n_rows: int) -> float:
    layer = _adapted(shape, rank, dora=kind == "dora").to(setting.device)
    x = torch.randn(n_rows, shape[0], device=setting.device, requires_grad=True)
    chosen = "folded" if FoldingLinear._pays(layer, x) else "beside"
    n_passes = max(1, int(_OPERATIONS / (6 * n_rows * shape[0] * shape[1])))
    arms = {way: _passes(layer, x, n_passes, folds=way == "folded") for way in ("folded", "beside")}
    times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device))
    other = "beside" if chosen == "folded" else "folded"
    return max(1.0, times.ratio(chosen, other))


def _passes(layer: _Ways, x: torch.Tensor, n_passes: int, *, folds: bool) -> Callable[[], None]:
    gradient = torch.randn(len(x), layer.out_features, device=x.device)

    def run() -> None:
        layer.folds = folds
        for _ in range(n_passes):
            layer(x).backward(gradient)

    return run


def _adapted(shape: tuple[int, int], rank: int, *, dora: bool) -> _Ways:
    block = nn.Module()
    block.attn = nn.Module()
    block.attn.q_proj = nn.Linear(*shape)
    blocks = nn.ModuleList([block])
    add_adapters(
        blocks, rank=rank, alpha=16.0, rank_stabilized=False, dora=dora, dropout=0.0, targets=["q_proj"], seed=0
    )
    layer = block.attn.q_proj
    layer.__class__ = _Ways
    nn.init.normal_(layer.lora_B["default"].weight, std=0.01)
    return layer
