"""Figure 2: operations a second of the model's forward passes as an extraction makes them / of the best matrix product.

The products are tried in the model's own dtype in the sizes of its blocks and in squares; the fastest counts.
"""

import torch

from benchmarks.backbones import random_backbone
from benchmarks.extraction import bare_loop, deepest_tap, gflop_an_image, model_batch
from benchmarks.extraction_rate import IMAGES, SIDE
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import DrawnImages
from benchmarks.interleaved import Arm, clock_of, measure_in_turns
from benchmarks.setting import Setting
from trainable.frozen.backbone import Backbone


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone."""
    return [_figure(setting, name) for name in setting.backbones]


def _figure(setting: Setting, name: str) -> Figure:
    backbone = random_backbone(name, setting.device)
    n = max(setting.sized(*IMAGES[name]) // 4, model_batch(backbone, 4096))
    images, tap = DrawnImages(n, side=SIDE[name]), deepest_tap(backbone)
    sizes = _sizes(backbone, n)
    arms = {"model": bare_loop(backbone, images, tap)} | {_label(size): _product(backbone, size) for size in sizes}
    times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device))
    rates = {_label(size): 2 * size[0] * size[1] * size[2] / 1e9 / times.median(_label(size)) for size in sizes}
    best = max(rates, key=lambda label: rates[label])
    model = gflop_an_image(backbone, tap) * n / times.median("model")
    return Figure(
        number=2,
        name=f"extraction's operations / best matrix product, {name}",
        ratio=model / rates[best],
        parts=(Value("model", model, "GFLOP/s"), Value(f"product {best}", rates[best], "GFLOP/s")),
        target=Target(">=", 0.55 if setting.device == "cuda" else 0.6),
    )


def _sizes(backbone: Backbone, n: int) -> list[tuple[int, int, int]]:
    """(rows, in, out)"""
    arch = backbone.architecture
    rows = model_batch(backbone, n) * arch.n_tokens
    squares = [(side, side, side) for side in ((4096, 8192) if backbone.device.type == "cuda" else (1024, 1536))]
    return [(rows, arch.width, arch.mlp_width), (rows, arch.mlp_width, arch.width), *squares]


def _product(backbone: Backbone, size: tuple[int, int, int]) -> Arm:
    dtype = torch.float16 if backbone.device.type == "cuda" else torch.float32
    rows, n_in, n_out = size
    x = torch.randn(rows, n_in, dtype=dtype, device=backbone.device)
    weight = torch.randn(n_in, n_out, dtype=dtype, device=backbone.device)
    out = torch.empty(rows, n_out, dtype=dtype, device=backbone.device)
    return lambda: torch.mm(x, weight, out=out)


def _label(size: tuple[int, int, int]) -> str:
    return "x".join(map(str, size))
