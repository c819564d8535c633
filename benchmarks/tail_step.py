"""Figure 6: a training step of ours / the same step hand-written, and a step with DoRA / one with LoRA. B = 64."""

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.hand_written import hand_written_step
from benchmarks.inputs import random_trial_data
from benchmarks.interleaved import Times, clock_of, measure_in_turns
from benchmarks.setting import Setting
from benchmarks.trainers import BATCH_SIZE, fixed_batch, make_trainer, steps_on

KINDS = ("full", "lora", "dora")
_DEPTHS = {"cpu": (1, 2), "cuda": (1, 2, 4, 6)}


def measure(setting: Setting) -> list[Figure]:
    """Four figures a backbone and depth: each kind against the hand-written one, and DoRA against LoRA."""
    return [
        figure for name in setting.backbones for n in _DEPTHS[setting.device] for figure in _figures(setting, name, n)
    ]


def _figures(setting: Setting, name: str, n_blocks: int) -> list[Figure]:
    backbone = random_backbone(name, setting.device)
    batch_size = setting.sized(BATCH_SIZE, 16)
    arms = {}
    with random_trial_data(backbone, tap=backbone.architecture.n_blocks - n_blocks, n=2 * batch_size) as data:
        for kind in KINDS:
            trainer = make_trainer(data, kind=kind, n_blocks=n_blocks, device=setting.device, batch_size=batch_size)
            batch = fixed_batch(trainer, data)
            arms[f"{kind}, hand-written"] = hand_written_step(trainer, batch)
            arms[f"{kind}, ours"] = steps_on(trainer, batch, n_steps=1)
        times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device), warm_up=2)
    where = f"{name}, N={n_blocks}, B={batch_size}"
    pairs = [(f"step / hand-written, {kind}", f"{kind}, ours", f"{kind}, hand-written", 1.05) for kind in KINDS]
    pairs.append(("step with DoRA / with LoRA", "dora, ours", "lora, ours", 1.15))
    return [_figure(f"{what}, {where}", times, over, under, bound) for what, over, under, bound in pairs]


def _figure(name: str, times: Times, over: str, under: str, bound: float) -> Figure:
    parts = tuple(Value(arm, 1000 * times.median(arm), "ms") for arm in (over, under))
    return Figure(number=6, name=name, ratio=times.ratio(over, under), parts=parts, target=Target("<=", bound))
