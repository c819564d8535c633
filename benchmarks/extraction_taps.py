"""Figure 3: time of an extraction of several taps in one pass / of the deepest tap alone, store written and sealed."""

import tempfile
from pathlib import Path

from benchmarks.backbones import random_backbone
from benchmarks.extraction import deepest_tap, extraction
from benchmarks.extraction_rate import IMAGES, SIDE
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import DrawnImages
from benchmarks.interleaved import cpu_seconds, measure_in_turns, wall_seconds
from benchmarks.setting import Setting

_N_TAPS = {"tiny": 2, "vit-ti": 4, "vit-l": 4}


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone."""
    return [_figure(setting, name) for name in setting.backbones]


def _figure(setting: Setting, name: str) -> Figure:
    backbone = random_backbone(name, setting.device)
    images = DrawnImages(setting.sized(*IMAGES[name]), side=SIDE[name])
    on_gpu, deepest = setting.device == "cuda", deepest_tap(backbone)
    taps = tuple(range(deepest - _N_TAPS[name] + 1, deepest + 1))
    n_processes = 12 if on_gpu else 1
    with tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder:
        arms = {
            "one tap": extraction(backbone, images, (deepest,), Path(folder), n_processes=n_processes),
            "all taps": extraction(backbone, images, taps, Path(folder), n_processes=n_processes),
        }
        times = measure_in_turns(arms, rounds=setting.rounds, clock=wall_seconds if on_gpu else cpu_seconds)
    return Figure(
        number=3,
        name=f"extraction of {len(taps)} taps / of the deepest, {name}, {len(images)} images",
        ratio=times.ratio("all taps", "one tap"),
        parts=tuple(Value(arm, times.median(arm), "s") for arm in arms),
        target=Target("<=", 1.15 if on_gpu else 1.05),
    )
