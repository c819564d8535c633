"""Figure 5: how long a step waits for its features: 1 - step on a fixed batch / step on batches of the real feed.

On a CPU the feed works in the same process, so that its whole work shows in CPU time, also what a second core would
hide. Full fine-tuning, B = 64.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.interleaved import clock_of, measure_in_turns
from benchmarks.setting import Setting
from benchmarks.trainers import BATCH_SIZE, fixed_batch, make_trainer, steps_on
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

_DEPTHS = {"cpu": (1, 2), "cuda": (1, 2, 4, 6)}


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone and depth."""
    return [_figure(setting, name, n) for name in setting.backbones for n in _DEPTHS[setting.device]]


def _figure(setting: Setting, name: str, n_blocks: int) -> Figure:
    backbone = random_backbone(name, setting.device)
    batch_size = setting.sized(BATCH_SIZE, 16)
    n_steps = setting.sized(32 if n_blocks == 1 else 8, 2)  # short ones scatter more
    n = 4096 if setting.device == "cuda" else 2 * batch_size * n_steps
    with random_trial_data(backbone, tap=backbone.architecture.n_blocks - n_blocks, n=n) as data:
        trainer = make_trainer(data, kind="full", n_blocks=n_blocks, device=setting.device, batch_size=batch_size)
        arms = {
            "fixed batch": steps_on(trainer, fixed_batch(trainer, data), n_steps=n_steps),
            "real feed": _fed_steps(trainer, data, n_steps=n_steps),
        }
        times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device))
    return Figure(
        number=5,
        name=f"feed stall, {name}, N={n_blocks}, B={batch_size}",
        ratio=1 - 1 / times.ratio("real feed", "fixed batch"),
        parts=tuple(Value(arm, 1000 * times.median(arm) / n_steps, "ms a step") for arm in arms),
        target=Target("<=", 0.02 if setting.device == "cuda" else 0.03),
    )


def _fed_steps(trainer: TailTrainer, data: TrialData, *, n_steps: int) -> Callable[[], None]:
    """Steps on shuffled batches, as an epoch takes them."""
    rng = np.random.default_rng(0)

    def run() -> None:
        size = trainer.config.optim.batch_size
        shuffled = rng.permutation(data.split.train)
        batches = np.split(shuffled, range(size, len(shuffled), size))
        for batch in trainer._rows.batches(batches[:n_steps], trainer._feed):
            trainer._step(batch)

    return run
