"""The arms whose forecasts are compared: named configurations, each held against another one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.variant import load_variant
from trainable.config import TrialConfig

REFERENCE = "reference"
DEFAULT = "default"
"""The variant of that name, which is held against every floor and published variant on worlds that chose nothing."""

FLOORS = ("constant", "domain_mean", "species_mean")
"""Arms that see no image, as `trainable.scoring.scoring.floors` names them."""


@dataclass(frozen=True, slots=True)
class Arm:
    """values: dotted keys that differ from `over`, an arm, a variant's name or the path of one. against: the arm that
    it is compared with on the same world, fold and seed.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    over: str = REFERENCE
    against: str = REFERENCE


_FULL = {"adapter.kind": "full", "optim.lr": 1e-3, "optim.block_multiplier": 0.1}
_NO_AUGMENTATION = {"augment.feature_noise": 0.0, "augment.mixup_alpha": 0.0, "augment.specimen_dropout": 0.0}

_STRONG_AUGMENTATION = {
    "augment.feature_noise": 0.1,
    "augment.mixup_alpha": 0.4,
    "augment.specimen_dropout": 0.4,
    "tail.head_dropout": 0.3,
}

_PROBE_BAGS = {
    "tail.probe_first": True,
    "tail.head": "narrow",
    "tail.domain_scale": 0.03,
    "optim.block_multiplier": 0.1,
    "loss.bag_size": 4,
}
_PROBE_ALONE = _PROBE_BAGS | {
    "length": 0.5,
    "tail.n_blocks": 0,
    "augment.feature_noise": 0.1,
    "augment.specimen_dropout": 0.3,
}

ARMS = {
    arm.name: arm
    for arm in (
        Arm(REFERENCE, over=str(Path(__file__).with_name("forecast_reference.yaml"))),
        Arm(DEFAULT, over=DEFAULT),
        *(Arm(name, over=name) for name in ("ft_did", "data_aug", "lora", "combined")),
        # how fast the parts move
        Arm("lr x2", {"optim.lr": 6e-4}),
        Arm("lr x4", {"optim.lr": 1.2e-3}),
        Arm("lr x8", {"optim.lr": 2.4e-3}),
        Arm("head x4", {"optim.head_multiplier": 4.0, "optim.domain_multiplier": 4.0}),
        Arm("head x10", {"optim.head_multiplier": 10.0, "optim.domain_multiplier": 10.0}),
        Arm("probe first", {"tail.probe_first": True}),
        # what trains
        Arm("full", _FULL),
        Arm("full, quiet code", _FULL | {"tail.domain_scale": 0.1}),
        # one value at a time, where the rate is no longer what holds the reference back
        *(
            Arm(name, values, over="lr x4", against="lr x4")
            for name, values in {
                "0 blocks": {"tail.n_blocks": 0},
                "1 block": {"tail.n_blocks": 1},
                "4 blocks": {"tail.n_blocks": 4},
                "quiet code": {"tail.domain_scale": 0.1},
                "no head dropout": {"tail.head_dropout": 0.0},
                "images count": {"loss.event_exponent": 0.0},
                "events count": {"loss.event_exponent": 1.0},
                "rank 64": {"adapter.rank": 64, "adapter.alpha": 64.0},
                "crps": {"loss.kind": "crps"},
                "no augmentation": _NO_AUGMENTATION,
                "domain dropout 0.5": {"augment.domain_dropout": 0.5},
            }.items()
        ),
        # and where the regressor learns ten times as fast as the adapters
        *(
            Arm(f"{name} (head x10)", values, over="head x10", against="head x10")
            for name, values in {
                "quiet code": {"tail.domain_scale": 0.1},
                "probe first": {"tail.probe_first": True},
                "linear head": {"tail.head": "linear"},
                "narrow head": {"tail.head": "narrow"},
                "moving average": {"optim.average": "ema", "optim.average_fraction": 0.1},
                "mean of the last fifth": {"optim.average": "last", "optim.average_fraction": 0.2},
                "0 blocks": {"tail.n_blocks": 0},
                "batch 32": {"optim.batch_size": 32},
                "no augmentation": _NO_AUGMENTATION,
                "domain dropout 0.5": {"augment.domain_dropout": 0.5},
                "images count": {"loss.event_exponent": 0.0},
            }.items()
        ),
        # and around the default, for worlds that are easily memorised
        *(
            Arm(f"{name} (default)", values, over=DEFAULT, against=DEFAULT)
            for name, values in {
                "head x3": {"optim.head_multiplier": 3.0, "optim.domain_multiplier": 3.0},
                "head x1": {"optim.head_multiplier": 1.0, "optim.domain_multiplier": 1.0},
                "lr / 3": {"optim.lr": 1e-4},
                "lr x3": {"optim.lr": 9e-4},
                "0 blocks": {"tail.n_blocks": 0},
                "narrow head": {"tail.head": "narrow"},
                "linear head, probe first": {"tail.head": "linear", "tail.probe_first": True},
                "probe first": {"tail.probe_first": True},
                "loud code": {"tail.domain_scale": 1.0},
                "silent code": {"tail.domain_scale": 0.01},
                "domain dropout 0.6": {"augment.domain_dropout": 0.6},
                "head dropout 0.3": {"tail.head_dropout": 0.3},
                "noise 0.1": {"augment.feature_noise": 0.1},
                "specimen dropout 0.4": {"augment.specimen_dropout": 0.4},
                "strong augmentation": _STRONG_AUGMENTATION,
                "decay 0.1": {"optim.weight_decay": 0.1},
                "crps": {"loss.kind": "crps"},
                "events count": {"loss.event_exponent": 1.0},
                "moving average": {"optim.average": "ema", "optim.average_fraction": 0.1},
                "no mixup": {"augment.mixup_alpha": 0.0},
                "mixup 0.4": {"augment.mixup_alpha": 0.4},
                "mixup 1": {"augment.mixup_alpha": 1.0},
                "batch 32": {"optim.batch_size": 32},
                "batch 128": {"optim.batch_size": 128},
                "bags of 16": {"loss.bag_size": 16},
                "bags of 16, no mixup": {"loss.bag_size": 16, "augment.mixup_alpha": 0.0},
                "1 copy": {"augment.image_copies": 1},
                "2 copies": {"augment.image_copies": 2},
                "4 copies": {"augment.image_copies": 4},
                "flips at test": {"augment.test_flips": True},
                "4 copies, flips at test": {"augment.image_copies": 4, "augment.test_flips": True},
                "species code": {"tail.species_scale": 0.1, "augment.species_dropout": 0.3},
                "half as long": {"length": 0.5},
                "probe first, narrow head": {"tail.probe_first": True, "tail.head": "narrow"},
                "and a silent code, slow blocks, bags of 4": _PROBE_BAGS,
                "the same alone, half as long": _PROBE_ALONE,
            }.items()
        ),
    )
}
"""By name, in the order of the tables."""


def config_of(name: str, *, epochs: int) -> TrialConfig:
    """An arm's configuration, laid out over `epochs`.

    Raises: UserError for a value that the configuration refuses.
    """
    arm = ARMS[name]
    if arm.over in ARMS and arm.over != name:
        return config_of(arm.over, epochs=epochs).with_values(arm.values)
    return load_variant(arm.over, epochs=epochs).with_values(arm.values)
