"""Figure 1: images a second of an extraction, store written and sealed / of a bare loop of the same forward passes.

Images are decoded as well, by processes of their own as in a search; what that costs a core is a part of the figure.
On a CPU the clock is this process's CPU time, writer threads included; on CUDA it is elapsed time.
"""

import tempfile
from pathlib import Path

from benchmarks.backbones import random_backbone
from benchmarks.extraction import bare_loop, decoding, deepest_tap, extraction
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import DrawnImages
from benchmarks.interleaved import cpu_seconds, measure_in_turns, wall_seconds
from benchmarks.setting import Setting

IMAGES = {"tiny": (12288, 128), "vit-ti": (96, 16), "vit-l": (4096, 512)}
"""Enough for some seconds, and for a quick run."""

SIDE = {"tiny": 64, "vit-ti": 320, "vit-l": 500}
"""Pixels a side of the photographs."""


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone."""
    return [_figure(setting, name) for name in setting.backbones]


def _figure(setting: Setting, name: str) -> Figure:
    backbone = random_backbone(name, setting.device)
    images = DrawnImages(setting.sized(*IMAGES[name]), side=SIDE[name])
    on_gpu = setting.device == "cuda"
    with tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder:
        arms = {
            "bare loop": bare_loop(backbone, images, deepest_tap(backbone)),
            "extraction": extraction(
                backbone, images, (deepest_tap(backbone),), Path(folder), n_processes=12 if on_gpu else 1
            ),
        }
        times = measure_in_turns(arms, rounds=setting.rounds, clock=wall_seconds if on_gpu else cpu_seconds)
        decoding_ms = 1000 * cpu_seconds(decoding(backbone, images)) / len(images)
    rates = [Value(arm, len(images) / times.median(arm), "images/s") for arm in arms]
    return Figure(
        number=1,
        name=f"extraction, written / bare loop, {name}, {len(images)} images",
        ratio=times.ratio("bare loop", "extraction"),
        parts=(*rates, Value("decoding an image", decoding_ms, "ms on a core")),
        target=Target(">=", 0.95),
    )
