"""One thing that varies in a search: its range, when it applies, and why it is there."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from trainable.config import TrialConfig
from trainable.shown import brief

Plain = str | int | float | bool
"""What Optuna takes as a categorical value."""


class Draws(Protocol):
    """What a space draws its values from: Optuna's define-by-run trial, or what stands in its place."""

    def suggest_categorical(self, name: str, choices: Sequence[Plain], /) -> Plain:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int, log: bool) -> int:
        """A whole number from `low` to `high`, in steps."""

    def suggest_float(self, name: str, low: float, high: float, /, *, log: bool) -> float:
        """A number from `low` to `high`."""


Kind = Literal["categorical", "int", "float"]
Role = Literal["scientific", "nuisance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A configuration key that a search varies.

    key: dotted configuration key, such as `optim.lr`. low, high: inclusive bounds of "int" and "float"; log: sampled
    evenly in the logarithm; step: of "int". choices: of "categorical", encoded (see `encode`); is_list: they stand for
    lists. role: "scientific", what the search is to learn about, or "nuisance", what must be tuned for a fair
    comparison. when: key of an earlier parameter -> encoded values under all of which this one applies; where it does
    not, the configuration gets `otherwise`. times: the sampled number is multiplied by the value of this earlier key.
    """

    key: str
    kind: Kind
    role: Role
    why: str
    low: float = 0
    high: float = 0
    log: bool = False
    step: int = 1
    choices: tuple[Plain, ...] = ()
    is_list: bool = False
    when: Mapping[str, tuple[Plain, ...]]
    otherwise: Any
    times: str | None = None

    @property
    def name(self) -> str:
        """What the sampler calls it: the key, or `key/times` where a factor is sampled."""
        return f"{self.key}/{self.times}" if self.times else self.key

    def is_active(self, config_values: Mapping[str, Any]) -> bool:
        """Whether it applies, given the configuration's values of all earlier keys."""
        return not self.when or all(is_among(encode(config_values[k]), allowed) for k, allowed in self.when.items())

    def suggest(self, trial: Draws) -> Plain:
        """Draw a value."""
        if self.kind == "categorical":
            return trial.suggest_categorical(self.name, self.choices)
        if self.kind == "int":
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=self.step, log=self.log)
        return trial.suggest_float(self.name, float(self.low), float(self.high), log=self.log)

    def contains(self, value: object) -> bool:
        """Whether the sampler could draw exactly this value."""
        if self.kind == "categorical":
            return is_among(value, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.kind == "int" and (not isinstance(value, int) or (value - int(self.low)) % self.step):
            return False
        return self.low <= value <= self.high

    def to_config(self, value: Plain, config_values: Mapping[str, Any]) -> Any:
        """The configuration's value for a sampled one."""
        if self.times:
            assert isinstance(value, int | float)
            return value * config_values[self.times]
        return tuple(str(value).split("+")) if self.is_list else value

    def from_config(self, config_value: Any, config_values: Mapping[str, Any]) -> Plain | None:
        """The sampled value that gives exactly `config_value`; None where there is none in the range."""
        candidates = [encode(config_value)]
        if self.times:
            factor = config_value / config_values[self.times]
            # Division rounds: one of the neighbours may be the factor whose product is exact.
            candidates = [factor, math.nextafter(factor, math.inf), math.nextafter(factor, -math.inf)]
            if self.kind == "int":
                candidates = [round(factor)]
        for value in candidates:
            if self.contains(value) and encode(self.to_config(value, config_values)) == encode(config_value):
                found: Plain = value
                return found
        return None

    def range_text(self) -> str:
        """The allowed values in words."""
        if self.kind == "categorical":
            return f"one of {', '.join(map(in_words, self.choices))}"
        step = f" in steps of {self.step}" if self.step != 1 else ""
        factor = f" times {self.times}" if self.times else ""
        return f"[{self.low:g}, {self.high:g}]{' log' if self.log else ''}{step}{factor}"

    def when_text(self) -> str:
        """The condition in words; empty without one."""
        return " and ".join(f"{key} is {_alternatives(values)}" for key, values in self.when.items())

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a file."""
        plain: dict[str, Any] = {}
        if self.kind == "categorical":
            plain["choices"] = [str(c).split("+") if self.is_list else c for c in self.choices]
        else:
            plain[self.kind] = [self.low, self.high]
            plain["log"] = self.log
            if self.step != 1:
                plain["step"] = self.step
        if self.times:
            plain["times"] = self.times
        if self.when:
            plain["when"] = {key: list(values) for key, values in self.when.items()}
            plain["otherwise"] = list(self.otherwise) if isinstance(self.otherwise, tuple) else self.otherwise
        return {**plain, "role": self.role, "why": self.why}


def encode(value: Any) -> Any:
    """A configuration value as the sampler sees it: lists of names become one text, "q_proj+v_proj"."""
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else value


def is_among(value: Any, allowed: tuple[Plain, ...]) -> bool:
    """Membership that tells `true` from 1."""
    return any(isinstance(value, bool) == isinstance(choice, bool) and value == choice for choice in allowed)


def in_words(value: Any) -> str:
    """A configuration's or sampler's value as a file would have it, lists joined by +."""
    return str(value).lower() if isinstance(value, bool) else str(encode(value))


def _alternatives(values: Sequence[Plain]) -> str:
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    if len(whole) == len(values) > 2 and whole == list(range(whole[0], whole[-1] + 1)):
        return f"{whole[0]} to {whole[-1]}"
    return " or ".join(map(in_words, values))


def resolve(
    parameters: Sequence[Parameter], base: TrialConfig, values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Configuration keys and values that sampled values stand for, and all problems."""
    config_values = base.flat()
    active: list[str] = []
    problems: list[str] = []
    for parameter in parameters:
        if not parameter.is_active(config_values):
            config_values[parameter.key] = parameter.otherwise
            continue
        name = parameter.name
        active.append(name)
        if name not in values:
            problems.append(f"`{name}` must be given, {parameter.range_text()}")
        elif not parameter.contains(values[name]):
            problems.append(f"`{name}` must be in the space, {parameter.range_text()}, but got {brief(values[name])}")
        else:
            config_values[parameter.key] = parameter.to_config(values[name], config_values)
    problems += [
        f"`{name}` is no active parameter of the space; active: {', '.join(active)}"
        for name in values
        if name not in active
    ]
    return config_values, problems


def project(
    parameters: Sequence[Parameter],
    base: TrialConfig,
    config: TrialConfig,
    *,
    ignored_keys: Collection[str] = ("epochs",),
) -> tuple[dict[str, Plain], list[str]]:
    """The sampled values that give exactly `config`, and why there are none."""
    wanted, fixed = config.flat(), base.flat()
    by_key = {parameter.key: parameter for parameter in parameters}
    values: dict[str, Plain] = {}
    problems: list[str] = []
    for parameter in parameters:
        found, key = wanted[parameter.key], parameter.key
        if not parameter.is_active(wanted):
            if encode(found) != encode(parameter.otherwise):
                rule = f"must be {in_words(parameter.otherwise)} unless {parameter.when_text()}"
                problems.append(f"`{key}` {rule}, but got {in_words(found)}")
            continue
        value = parameter.from_config(found, wanted)
        if value is None:
            problems.append(f"`{key}` must be in the space, {parameter.range_text()}, but got {in_words(found)}")
        else:
            values[parameter.name] = value
    moved = [
        key
        for key, found in wanted.items()
        if key not in by_key and key not in ignored_keys and encode(found) != encode(fixed[key])
    ]
    if moved:
        names, needed, got = (
            ", ".join(shown)
            for shown in zip(*((f"`{key}`", in_words(fixed[key]), in_words(wanted[key])) for key in moved), strict=True)
        )
        do = "does" if len(moved) == 1 else "do"
        problems.append(f"{names} {do} not vary in the space and must be {needed}, but got {got}")
    return values, problems
