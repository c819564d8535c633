"""Figure 15: a training step with float32 products / the same with bfloat16 ones. B = 64.

On a CPU that multiplies bfloat16; on CUDA the float32 products of the second arm are TF32.
"""

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Value
from benchmarks.inputs import random_trial_data
from benchmarks.interleaved import clock_of, measure_in_turns
from benchmarks.setting import NotHere, Setting
from benchmarks.trainers import BATCH_SIZE, fixed_batch, make_trainer, steps_on
from trainable.training.precision import lack_of_bfloat16

KINDS = ("full", "lora")
_N_BLOCKS = 2


def measure(setting: Setting) -> list[Figure]:
    """A figure a backbone and kind.

    Raises: NotHere where the device has no bfloat16.
    """
    if lack := lack_of_bfloat16(setting.device):
        raise NotHere(f"needs bfloat16, but this machine {lack}")
    return [figure for name in setting.backbones for figure in _figures(setting, name)]


def _figures(setting: Setting, name: str) -> list[Figure]:
    backbone, batch_size, arms = random_backbone(name, setting.device), setting.sized(BATCH_SIZE, 16), {}
    with random_trial_data(backbone, tap=backbone.architecture.n_blocks - _N_BLOCKS, n=2 * batch_size) as data:
        for kind in KINDS:
            for precision in ("float32", "bfloat16"):
                trainer = make_trainer(
                    data, kind=kind, n_blocks=_N_BLOCKS, device=setting.device, batch_size=batch_size,
                    precision=precision,
                )  # fmt: skip
                arms[f"{kind}, {precision}"] = steps_on(trainer, fixed_batch(trainer, data), n_steps=1)
        times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device), warm_up=2)
    return [
        Figure(
            number=15,
            name=f"step in float32 / in bfloat16, {kind}, {name}, N={_N_BLOCKS}, B={batch_size}",
            ratio=times.ratio(f"{kind}, float32", f"{kind}, bfloat16"),
            parts=tuple(
                Value(arm, 1000 * times.median(arm), "ms") for arm in (f"{kind}, float32", f"{kind}, bfloat16")
            ),
        )
        for kind in KINDS
    ]
