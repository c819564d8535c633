"""Figure 7: a training step whose last block computes all rows / one whose last block computes the class token's only.

Full fine-tuning, B = 64. The target is four fifths of what a last block with keys and values for all tokens could save
(8.3 times at N = 1, 1.8 at N = 2 for ViT-L); on CUDA, where reading the tokens is what remains, 3 at N = 1.
"""

from functools import partial
from itertools import pairwise
from typing import Any

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import random_trial_data
from benchmarks.interleaved import clock_of, measure_in_turns
from benchmarks.setting import Setting
from benchmarks.trainers import BATCH_SIZE, fixed_batch, make_trainer, steps_on
from trainable.architecture import VisionArchitecture
from trainable.data.task import beetles
from trainable.tail.tail import HIDDEN_WIDTHS, Tail


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone and depth."""
    return [_figure(setting, name, n_blocks) for name in setting.backbones for n_blocks in (1, 2)]


def _figure(setting: Setting, name: str, n_blocks: int) -> Figure:
    backbone = random_backbone(name, setting.device)
    batch_size = setting.sized(BATCH_SIZE, 16)
    with random_trial_data(backbone, tap=backbone.architecture.n_blocks - n_blocks, n=2 * batch_size) as data:
        n_steps = setting.sized(8, 1) if n_blocks == 1 else 1  # in a row, as in training
        arms = {}
        for arm in ("all rows", "class row"):
            trainer = make_trainer(data, kind="full", n_blocks=n_blocks, device=setting.device, batch_size=batch_size)
            if arm == "all rows":
                _compute_all_rows(trainer.tail)
            arms[arm] = steps_on(trainer, fixed_batch(trainer, data), n_steps=n_steps)
        times = measure_in_turns(arms, rounds=setting.rounds, clock=clock_of(setting.device))
    limit = operations_saved(backbone.architecture, n_blocks)
    bound = 3.0 if setting.device == "cuda" and n_blocks == 1 else 0.8 * limit
    parts = [Value(arm, 1000 * times.median(arm) / n_steps, "ms") for arm in arms]
    return Figure(
        number=7,
        name=f"step with all rows / class row only, {name}, N={n_blocks}, B={batch_size}",
        ratio=times.ratio("all rows", "class row"),
        parts=(*parts, Value("limit with keys and values", limit)),
        target=Target(">=", round(bound, 2)),
    )


def _compute_all_rows(tail: Tail) -> None:
    """As if something above the last block read them: `_run_blocks` then drops all but the first."""
    last: Any = tail.blocks[-1]
    last.forward = partial(_first_row_of_all, last.forward)


def _first_row_of_all(forward: Any, x: Any, *, class_row_only: bool = False) -> Any:
    del class_row_only
    return forward(x)


def operations_saved(arch: VisionArchitecture, n_blocks: int) -> float:
    """Multiply-adds of a step with all rows / with keys and values for all tokens and all else for the class token.

    A block takes (4 width + 2 mlp) width a row for its matrices and 2 T width a row for attention's core, three times:
    forward and both gradients. The tap needs no gradient, which saves q, k and v of the lowest block a third.
    """
    width, rows = arch.width, arch.n_tokens
    a_row = (4 * width + 2 * arch.mlp_width) * width + 2 * rows * width
    sizes = (arch.embed_dim, *HIDDEN_WIDTHS["mlp"], len(beetles().names))
    head = 3 * sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    no_gradient = rows * 3 * width**2
    keys_and_values = rows * 2 * width**2
    below = head + 3 * rows * a_row * (n_blocks - 1) - no_gradient * (n_blocks > 1)
    whole = 3 * rows * a_row - no_gradient * (n_blocks == 1)
    last = keys_and_values * (2 if n_blocks == 1 else 3) + 3 * (a_row - 2 * width**2)
    return (below + whole) / (below + last)
