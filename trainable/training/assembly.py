"""From a `TrialConfig` to the parts that train: where the configuration's groups meet the modules' flat arguments."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.tail.tail import Tail, make_tail
from trainable.training.augment import Strengths
from trainable.training.losses import LossOf, class_losses, specimen_losses
from trainable.training.optim import Multipliers, make_groups, make_optimizer, schedule_factor
from trainable.training.weight_average import WeightAverage


def tail_of(
    config: TrialConfig,
    architecture: VisionArchitecture,
    open_clip_state: Mapping[str, Tensor],
    *,
    tap: int,
    n_domains: int,
    n_species: int = 0,
    n_numbers: int = 0,
    n_outputs: int = 3,
    seed: int,
) -> Tail:
    """The tail of a configuration as it is before the first step, adapters included, on the CPU.

    open_clip_state: float32 weights of the blocks from `tap` up, `ln_post` and `proj`. n_domains, n_species: known.
    n_numbers: that the task has.
    """
    adapter = config.adapter
    is_adapted = adapter.kind != "full" and config.tail.n_blocks > 0
    tail = make_tail(
        architecture,
        open_clip_state,
        tap=tap,
        n_blocks=config.tail.n_blocks,
        n_domains=n_domains,
        domain_scale=config.tail.domain_scale,
        n_species=n_species,
        species_scale=config.tail.species_scale,
        n_numbers=n_numbers,
        number_scale=config.tail.number_scale,
        n_outputs=n_outputs,
        head=config.tail.head,
        head_dropout=config.tail.head_dropout,
        learns_sigma=config.loss.kind == "crps",
        trains_blocks=not is_adapted,
        seed=seed,
    )
    if is_adapted:
        from trainable.tail.adapters import add_adapters  # brings peft

        add_adapters(
            tail.blocks,
            rank=adapter.rank,
            alpha=adapter.alpha,
            rank_stabilized=adapter.rank_stabilized,
            dora=adapter.kind == "dora",
            dropout=adapter.dropout,
            targets=adapter.targets,
            seed=seed,
        )
    return tail


def loss_of(tail: Tail, task: Task) -> LossOf:
    """What its training minimises, a value a specimen."""
    return class_losses if task.has_classes else partial(specimen_losses, log_sigma=tail.head.log_sigma)


def optimizer_of(config: TrialConfig, named_parameters: Sequence[tuple[str, Tensor]]) -> torch.optim.Optimizer:
    """The optimizer of a configuration over the tail's named parameters."""
    optim = config.optim
    multipliers = Multipliers(
        block=optim.block_multiplier,
        layer_slope=optim.layer_slope,
        ln_post=optim.ln_post_multiplier,
        head=optim.head_multiplier,
        domain=optim.domain_multiplier,
    )
    groups = make_groups(
        named_parameters,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        multipliers=multipliers,
        n_blocks=config.tail.n_blocks,
    )
    return make_optimizer(groups, name=optim.name)


def average_of(config: TrialConfig, parameters: Sequence[Tensor], *, n_steps: int) -> WeightAverage | None:
    """The average of a configuration's weights, None where the newest predict; n_steps: of the whole training."""
    optim = config.optim
    if optim.average == "none":
        return None
    return WeightAverage(parameters, average=optim.average, fraction=optim.average_fraction, n_steps=n_steps)


def lr_factor_of(config: TrialConfig, *, step: int, n_steps: int) -> float:
    """The schedule's factor in step `step` (from 0) of `n_steps`."""
    optim = config.optim
    return schedule_factor(
        step,
        n_steps,
        schedule=optim.schedule,
        warmup_fraction=optim.warmup_fraction,
        hold_fraction=optim.hold_fraction,
        final_lr_fraction=optim.final_lr_fraction,
    )


def strengths_of(config: TrialConfig, *, epoch: int) -> Strengths:
    """The augmentation's strengths in epoch `epoch` (from 0)."""
    augment = config.augment
    full = Strengths(
        feature_noise=augment.feature_noise,
        mixup_alpha=augment.mixup_alpha,
        specimen_dropout=augment.specimen_dropout,
        domain_dropout=augment.domain_dropout,
        species_dropout=augment.species_dropout,
        number_dropout=augment.number_dropout,
        image_copies=augment.image_copies,
        copy_probability=augment.image_copies / (augment.image_copies + 1),  # all versions alike
    )
    return full.ramped(epoch=epoch, epochs=config.n_epochs, ramp_fraction=augment.ramp_fraction)
