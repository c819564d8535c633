"""A trial's complete configuration: frozen, typed, unknown keys rejected, every value checked.

Two equal configurations, with the same data and seed, give the same weights on the same device.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.shown import brief

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj")
"""The six linear maps of a transformer block that an adapter may wrap."""

NO_NAME = "unknown"
"""In place of the `scientificName` of a specimen that has none: an insect that nobody could identify."""

NO_DOMAIN = -1
"""The domain of every specimen where a task has none."""


def _limits(low: float, high: float, *, default: Any = MISSING, open_low: bool = False, open_high: bool = False) -> Any:
    metadata = {"low": low, "high": high, "open_low": open_low, "open_high": open_high}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


def _later(default: Any, **limits: Any) -> Any:
    """A key younger than the first recorded studies: its default is what went before it, and never changes.

    limits: as `_limits` takes them, of a number.
    """
    bounds = _limits(**limits).metadata if limits else {}
    return field(default=default, metadata={**bounds, "later": True})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What trains in the tail's blocks.

    kind: "full" trains all weights; "lora" and "dora" train adapters on `targets` and leave the rest frozen.
    rank: adapter rank r. alpha: adapter numerator; the scale on B·A is alpha/r, or alpha/sqrt(r) if rank_stabilized
    (rsLoRA). dropout: probability on the adapter's input. targets: which of the six projections carry an adapter.
    """

    kind: Literal["full", "lora", "dora"] = "full"
    rank: int = _limits(1, 1024, default=16)
    alpha: float = _limits(0.0, 65536.0, default=16.0, open_low=True)
    rank_stabilized: bool = False
    dropout: float = _limits(0.0, 1.0, default=0.0, open_high=True)
    targets: tuple[str, ...] = PROJECTIONS

    @property
    def scaling(self) -> float:
        """The factor on B·A (Kalajdzievski 2023, arXiv 2312.03732, for the rank-stabilized form)."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilized else self.rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class TailConfig:
    """The trained part above the tap.

    n_blocks: trainable transformer blocks N, counted from the top. domain_scale: norm of the domain code at the start
    relative to the unit-norm image feature; 0 switches the code off. species_scale: the same of a code for the
    specimen's `scientificName`. number_scale: the same of a linear code for the task's numbers. head_dropout:
    probability between the regressor's layers. head: the regressor's hidden layers: "mlp", 512-128-32 as published;
    "narrow", one of 64; "linear", none, so that there is nothing to drop. probe_first: regressor and codes are trained
    to their end on frozen features before the first epoch, from where everything trains.
    """

    n_blocks: int = _limits(0, 64, default=2)
    domain_scale: float = _limits(0.0, 100.0, default=1.0)
    species_scale: float = _later(0.0, low=0.0, high=100.0)
    number_scale: float = _later(0.0, low=0.0, high=100.0)
    head_dropout: float = _limits(0.0, 1.0, default=0.0, open_high=True)
    head: Literal["mlp", "narrow", "linear"] = _later("mlp")
    probe_first: bool = _later(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """How the tail's weights move.

    lr: base learning rate. Block i of N gets lr * block_multiplier * (1 + layer_slope * i / N), i from 0 at the deepest
    trainable block; ln_post, head (regressor) and domain code get lr times their multipliers, codes for species and
    numbers the domain code's. schedule: "constant", or "cosine": linear warm-up over warmup_fraction of the steps, full
    rate over hold_fraction, then a cosine down to final_lr_fraction. batch_size: specimens a step. accumulation_steps:
    parts a batch is split into to save memory, same gradient and same masks but for rounding. max_grad_norm: gradients
    of each parameter group are clipped to this norm; 0 is off.
    average: which weights predict, in place of the newest: "ema", an exponential average over average_fraction of all
    steps, or "last", the mean over the last average_fraction of them, from when those begin.
    """

    name: Literal["adam", "adamw"] = "adamw"
    lr: float = _limits(0.0, 1.0, default=3e-4, open_low=True)
    batch_size: int = _limits(1, 65536, default=64)
    accumulation_steps: int = _limits(1, 1024, default=1)
    weight_decay: float = _limits(0.0, 1.0, default=0.01)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_fraction: float = _limits(0.0, 1.0, default=0.0)
    hold_fraction: float = _limits(0.0, 1.0, default=0.0)
    final_lr_fraction: float = _limits(0.0, 1.0, default=0.01)
    layer_slope: float = _limits(-1.0, 10.0, default=0.0, open_low=True)
    block_multiplier: float = _limits(0.0, 100.0, default=1.0)
    ln_post_multiplier: float = _limits(0.0, 100.0, default=1.0)
    head_multiplier: float = _limits(0.0, 100.0, default=1.0)
    domain_multiplier: float = _limits(0.0, 100.0, default=1.0)
    max_grad_norm: float = _limits(0.0, 1e6, default=0.0)
    average: Literal["none", "ema", "last"] = _later("none")
    average_fraction: float = _later(0.1, low=0.0, high=1.0, open_low=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Augmentation of cached features; a strength of 0 is exactly off.

    feature_noise: SD of Gaussian noise, in units of the features' own SD over all images, held-out ones among them.
    mixup_alpha: Beta(alpha, alpha) of mixup over features, targets and codes (Zhang 2018, arXiv 1710.09412).
    specimen_dropout: probability that a specimen is left out of a step. domain_dropout, species_dropout: probability,
    per specimen, that its domain, or the name of its species, is replaced by *unknown*; number_dropout: that all its
    numbers are taken for missing. ramp_fraction: share of the epochs over which all strengths grow linearly from 0; 0
    means full strength from the first epoch.
    image_copies: altered copies of each image that are stored beside it: copy 1 is flipped left to right, further ones
    by chance, with other brightness, contrast and saturation; an epoch draws for each specimen the image or one of
    them, all alike. test_flips: forecasts, of held-out events and of the exported model, are the mean of those for an
    image and for the image flipped left to right; copy 1 is stored for it.
    """

    feature_noise: float = _limits(0.0, 10.0, default=0.0)
    mixup_alpha: float = _limits(0.0, 10.0, default=0.0)
    specimen_dropout: float = _limits(0.0, 1.0, default=0.0, open_high=True)
    domain_dropout: float = _limits(0.0, 1.0, default=0.2)
    species_dropout: float = _later(0.0, low=0.0, high=1.0)
    number_dropout: float = _later(0.0, low=0.0, high=1.0)
    ramp_fraction: float = _limits(0.0, 1.0, default=0.0)
    image_copies: int = _later(0, low=0, high=64)
    test_flips: bool = _later(False)

    @property
    def n_copies(self) -> int:
        """Copies of each image that must be stored."""
        return max(self.image_copies, int(self.test_flips))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What is minimised.

    kind: "mse" over the targets, or "crps" of a normal with one learned sigma a target. Classes are learnt by their
    cross entropy, whatever it says.
    event_exponent: each image is weighted by (its event's size)^-exponent: 0, each image counts the same; 1, each event
    does.
    bag_size: so many specimens of an event, or what it has, are one bag, whose mean forecast is held against their
    label; 1, each specimen alone.
    label_smoothing: the part of a label that all classes share. class_exponent: each image is weighted further by (all
    weight of its class)^-exponent: 1, each class counts the same. Both are of classes alone.
    """

    kind: Literal["mse", "crps"] = "mse"
    event_exponent: float = _limits(0.0, 1.0, default=0.0)
    bag_size: int = _later(1, low=1, high=1024)
    label_smoothing: float = _later(0.0, low=0.0, high=1.0, open_high=True)
    class_exponent: float = _later(0.0, low=0.0, high=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialConfig:
    """One complete configuration.

    epochs: the most that any trial of a search trains. length: the share of them that this one does, at least one;
    schedules and ramps are laid out over what it trains.
    """

    epochs: int = _limits(1, 1_000_000)
    length: float = _later(1.0, low=0.0, high=1.0, open_low=True)
    adapter: AdapterConfig = AdapterConfig()
    tail: TailConfig = TailConfig()
    optim: OptimConfig = OptimConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from nested plain values; every unknown, missing, mistyped or out-of-range key is named.

        Raises: UserError with all problems at once.
        """
        problems: list[str] = []
        config = _build(cls, values, "", problems)
        if not problems:
            problems.extend(_contradictions(config))
        if problems:
            raise UserError(problems)
        assert isinstance(config, cls)
        return config

    def to_dict(self) -> JsonObject:
        """Nested plain values, ready for JSON or YAML; `from_dict` is its inverse.

        A key that came later is left out while it says what went before it: what is equal is written equally, whenever.
        """
        values: JsonObject = _plain(self)
        return values

    def complete(self) -> dict[str, Any]:
        """`to_dict` with every key."""
        values: dict[str, Any] = _plain(self, complete=True)
        return values

    def flat(self) -> dict[str, Any]:
        """Dotted names to values: `{"optim.lr": 1e-4, "epochs": 50, ...}`, in declaration order."""
        return {name: get(self) for name, _, get in _leaves(TrialConfig)}

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """A copy with some dotted names set; same checks as `from_dict`."""
        nested = self.complete()
        problems = []
        for name, value in values.items():
            *groups, leaf = name.split(".")
            place = nested
            for group in groups:
                place = place.get(group, {}) if isinstance(place, dict) else {}
            if leaf not in place:
                problems.append(f"`{name}` must be a configuration key; valid: {', '.join(self.flat())}")
            else:
                place[leaf] = value
        if problems:
            raise UserError(problems)
        return type(self).from_dict(nested)

    @property
    def n_epochs(self) -> int:
        """How many it trains."""
        return n_epochs_of(self.epochs, self.length)

    def with_epochs(self, epochs: int) -> Self:
        """A copy for a search of another length; fractions of it keep their meaning."""
        return replace(self, epochs=epochs)


def n_epochs_of(epochs: int, length: float) -> int:
    """A share of the epochs, rounded, at least one."""
    return max(1, round(epochs * length))


def config_fields() -> dict[str, Any]:
    """Dotted name of every leaf of `TrialConfig` -> its type hint, for those who must parse values."""
    return {name: part.hint for name, part, _ in _leaves(TrialConfig)}


def later_keys() -> dict[str, Any]:
    """Dotted name -> default of every key that `to_dict` leaves out while it has it, for those who show all keys."""
    config = TrialConfig(epochs=1)
    return {name: get(config) for name, part, get in _leaves(TrialConfig) if part.is_later}


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a class of configurations.

    origin: of the hint. is_group: has keys of its own. is_later: came after studies were written.
    """

    name: str
    hint: Any
    origin: Any
    default: Any
    limits: Mapping[str, Any]
    is_group: bool
    is_later: bool


@cache
def _parts(cls: type) -> tuple[_Part, ...]:
    """In declaration order; a resumed study builds thousands of configurations."""
    hints = get_type_hints(cls)
    return tuple(
        _Part(
            name=f.name,
            hint=hints[f.name],
            origin=get_origin(hints[f.name]),
            default=f.default,
            limits=f.metadata,
            is_group=is_dataclass(hints[f.name]),
            is_later=bool(f.metadata.get("later")),
        )
        for f in fields(cls)
    )


@cache
def _leaves(cls: type) -> tuple[tuple[str, _Part, Callable[[Any], Any]], ...]:
    """Dotted name of every key, the field that it is, and what reads it off a configuration."""
    return tuple((name, part, attrgetter(name)) for name, part in _named_leaves(cls, ""))


def _named_leaves(cls: type, prefix: str) -> Iterator[tuple[str, _Part]]:
    for part in _parts(cls):
        if part.is_group:
            yield from _named_leaves(part.hint, f"{prefix}{part.name}.")
        else:
            yield prefix + part.name, part


def _build(cls: Any, values: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"`{path.rstrip('.') or 'config'}` must be a mapping of keys, but got {brief(values)}")
        return None
    known = {part.name: part for part in _parts(cls)}
    if unknown := [name for name in values if name not in known]:
        valid = ", ".join(path + name for name in known)
        problems.extend(f"`{path}{name}` is not a configuration key; valid: {valid}" for name in unknown)
    found: dict[str, Any] = {}
    for name, part in known.items():
        if name not in values:
            if part.default is MISSING:
                problems.append(f"`{path}{name}` must be given")
            continue
        if part.is_group:
            found[name] = _build(part.hint, values[name], f"{path}{name}.", problems)
        else:
            found[name] = _checked(values[name], part, path + name, problems)
    return None if problems else cls(**found)


def _checked(value: Any, part: _Part, path: str, problems: list[str]) -> Any:
    hint, limits = part.hint, part.limits
    if part.origin is Literal:
        if value not in get_args(hint):
            problems.append(f"`{path}` must be one of {', '.join(map(str, get_args(hint)))}, but got {brief(value)}")
        return value
    if part.origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            problems.append(
                f"`{path}` must be a list of names, but got {brief(value)}; valid: {', '.join(PROJECTIONS)}"
            )
            return ()
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        as_text = " as text" if isinstance(value, str) else ""
        hint_text = " (YAML reads 1e-4 as text: write 1.0e-4)" if hint is float and as_text else ""
        problems.append(f"`{path}` must be {_type_name(hint)}, but got {brief(value)}{as_text}{hint_text}")
        return value
    if "low" in limits and not _inside(value, limits):
        left, right = "(" if limits["open_low"] else "[", ")" if limits["open_high"] else "]"
        problems.append(
            f"`{path}` must be in {left}{limits['low']:g}, {limits['high']:g}{right}, but got {brief(value)}"
        )
    return value


def _inside(value: float, limits: Mapping[str, Any]) -> bool:
    above = value > limits["low"] if limits["open_low"] else value >= limits["low"]
    below = value < limits["high"] if limits["open_high"] else value <= limits["high"]
    return bool(above and below)  # NaN fails both


def _type_name(hint: Any) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, str(hint))


def _contradictions(config: Any) -> Iterator[str]:
    targets, optim = config.adapter.targets, config.optim
    for name in targets:
        if name not in PROJECTIONS:
            yield f"`adapter.targets` must name projections, but got {brief(name)}; valid: {', '.join(PROJECTIONS)}"
    if not targets or len(set(targets)) != len(targets):
        yield f"`adapter.targets` must name each projection at most once and at least one, but got {list(targets)}"
    if optim.warmup_fraction + optim.hold_fraction > 1.0:
        yield (
            "`optim.warmup_fraction + optim.hold_fraction <= 1` must hold, "
            f"but got {optim.warmup_fraction:g} + {optim.hold_fraction:g}"
        )
    if optim.accumulation_steps > optim.batch_size:
        yield (
            "`optim.accumulation_steps <= optim.batch_size` must hold, "
            f"but got {optim.accumulation_steps} > {optim.batch_size}"
        )


def _plain(config: Any, *, complete: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind: Any = type(config)
    for part in _parts(kind):
        value = getattr(config, part.name)
        if part.is_group:
            found[part.name] = _plain(value, complete=complete)
        elif complete or not part.is_later or value != part.default:
            found[part.name] = list(value) if isinstance(value, tuple) else value
    return found
