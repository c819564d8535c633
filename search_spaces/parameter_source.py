"""Parameters as a space file writes them, checked against the configuration they vary.

    adapter.rank: {int: [4, 256], log: true, when: {adapter.kind: [lora, dora]}, role: scientific, why: ...}

One of `choices: [...]`, `int: [low, high]` (with `step`) or `float: [low, high]`; `log`; `role`; `why`; `when`, with
`otherwise` (the base's value if not given); `times`, an earlier key that the sampled factor is multiplied with.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from search_spaces.parameter import Kind, Parameter, Plain, Role, encode, is_among
from trainable.config import TrialConfig, config_fields
from trainable.errors import UserError
from trainable.shown import brief
from trainable.yaml_source import Document, Position

ROLES: tuple[Role, ...] = get_args(Role)

_RANGES = ("choices", "int", "float")
_KEYS = (*_RANGES, "log", "step", "times", "when", "otherwise", "role", "why")


@dataclass(kw_only=True)
class ParameterReader:
    """Reads a space's parameters one after the other; `read` and `problems` are the result.

    names: all keys that the space varies, right or wrong.
    """

    document: Document
    base: TrialConfig
    names: tuple[str, ...]
    read: dict[str, Parameter] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, spec: Any) -> None:
        """Read one parameter; it joins `read` if nothing is wrong with it."""
        position: Position = ("parameters", key)
        n_before = len(self.problems)
        if not self._is_variable(key, position):
            return
        if not isinstance(spec, Mapping):
            self._problem(
                position, f"`{key}` must be a mapping such as {{float: [0, 1], role: ...}}, but got {brief(spec)}"
            )
            return
        self.problems += self.document.unknown_keys(position, spec, _KEYS)
        kind = self._kind(key, spec, position)
        role, why = self._role(key, spec, position), self._why(key, spec, position)
        when = self._when(key, spec, position)
        otherwise = self._otherwise(key, spec, position)
        times = self._times(key, spec, position)
        fields: dict[str, Any] = {}
        if kind == "categorical":
            fields = self._choices(key, spec, position)
        elif kind is not None:
            fields = self._range(key, kind, spec, position)
        if kind is None or role is None or len(self.problems) > n_before:
            return
        parameter = Parameter(
            key=key, kind=kind, role=role, why=why, when=when, otherwise=otherwise, times=times, **fields
        )
        self._check_extremes(parameter, position)
        if len(self.problems) == n_before:
            self.read[key] = parameter

    def _problem(self, position: Position, text: str) -> None:
        self.problems.append(self.document.problem(position, text))

    def _is_variable(self, key: str, position: Position) -> bool:
        if key == "epochs":
            self._problem(position, "`epochs` must not vary: it is the search's own length, given with it")
        elif key not in config_fields():
            valid = ", ".join(name for name in config_fields() if name != "epochs")
            self._problem(position, f"`{key}` is not a configuration key; valid: {valid}")
        else:
            return True
        return False

    def _kind(self, key: str, spec: Mapping[str, Any], position: Position) -> Kind | None:
        given = [name for name in _RANGES if name in spec]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            self._problem(position, f"`{key}` must have exactly one of {', '.join(_RANGES)}, but got {found}")
            return None
        kind: Kind = {"choices": "categorical", "int": "int", "float": "float"}[given[0]]  # type: ignore[assignment]
        hint = config_fields()[key]
        if kind != "categorical" and hint is not {"int": int, "float": float}[kind]:
            right = {int: "int", float: "float"}.get(hint, "choices")
            self._problem(
                (*position, kind), f"`{key}` must be given by `{right}`, but got `{kind}`: {_type_text(hint)}"
            )
            return None
        for name, allowed in (("log", ("int", "float")), ("step", ("int",)), ("times", ("int", "float"))):
            if name in spec and kind not in allowed:
                self._problem((*position, name), f"`{name}` of `{key}` must only be given with {' or '.join(allowed)}")
        return kind

    def _role(self, key: str, spec: Mapping[str, Any], position: Position) -> Role | None:
        role = spec.get("role")
        for known in ROLES:
            if role == known:
                return known
        self._problem(
            (*position, "role"), f"`role` of `{key}` must be one of {', '.join(ROLES)}, but got {brief(role)}"
        )
        return None

    def _why(self, key: str, spec: Mapping[str, Any], position: Position) -> str:
        why = spec.get("why")
        if isinstance(why, str) and why.strip():
            return " ".join(why.split())
        self._problem(
            (*position, "why"), f"`why` of `{key}` must say why it varies in this range, but got {brief(why)}"
        )
        return ""

    def _choices(self, key: str, spec: Mapping[str, Any], position: Position) -> dict[str, Any]:
        choices = spec["choices"]
        if not isinstance(choices, list) or not choices:
            self._problem(
                (*position, "choices"), f"`choices` of `{key}` must be a list of values, but got {brief(choices)}"
            )
            return {}
        encoded: list[Plain] = []
        for i, choice in enumerate(choices):
            value = encode(self._configured(key, choice, (*position, "choices", i)))
            if is_among(value, tuple(encoded)):
                self._problem(
                    (*position, "choices", i), f"`choices` of `{key}` must differ, but {brief(value)} stands twice"
                )
            encoded.append(value)
        return {"choices": tuple(encoded), "is_list": get_origin(config_fields()[key]) is tuple}

    def _range(self, key: str, kind: Kind, spec: Mapping[str, Any], position: Position) -> dict[str, Any]:
        place = (*position, kind)
        bounds = spec[kind]
        if not isinstance(bounds, list) or len(bounds) != 2:
            self._problem(place, f"`{kind}` of `{key}` must be [low, high], but got {brief(bounds)}")
            return {}
        are_numbers = [self._is_number(key, kind, bound, (*place, i)) for i, bound in enumerate(bounds)]
        if not all(are_numbers):
            return {}
        low, high = bounds if kind == "int" else map(float, bounds)
        log, step = spec.get("log", False), spec.get("step", 1)
        if low >= high:
            self._problem(place, f"`low < high` of `{key}` must hold, but got [{low:g}, {high:g}]")
        if not isinstance(log, bool):
            self._problem((*position, "log"), f"`log` of `{key}` must be true or false, but got {brief(log)}")
        elif log and low <= 0:
            self._problem(place, f"`low > 0` of `{key}` must hold with `log`, but got [{low:g}, {high:g}]")
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            self._problem(
                (*position, "step"), f"`step` of `{key}` must be a whole number from 1, but got {brief(step)}"
            )
        elif step != 1 and log is True:
            self._problem((*position, "step"), f"`step` of `{key}` must not be given with `log`, but got {step}")
        elif kind == "int" and (high - low) % step:
            self._problem(
                (*position, "step"),
                f"`high - low` of `{key}` must be a multiple of `step`, but got [{low}, {high}] and {step}",
            )
        return {"low": low, "high": high, "log": log, "step": step}

    def _is_number(self, key: str, kind: Kind, bound: Any, position: Position) -> bool:
        allowed = int if kind == "int" else (int, float)
        if isinstance(bound, allowed) and not isinstance(bound, bool) and math.isfinite(bound):
            return True
        wanted = "a whole number" if kind == "int" else "a finite number"
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(bound, str) and _reads_as_number(bound) else ""
        self._problem(position, f"bounds of `{key}` must each be {wanted}, but got {brief(bound)}{hint}")
        return False

    def _when(self, key: str, spec: Mapping[str, Any], position: Position) -> dict[str, tuple[Plain, ...]]:
        when = spec.get("when", {})
        place = (*position, "when")
        if not isinstance(when, Mapping) or ("when" in spec and not when):
            self._problem(place, f"`when` of `{key}` must map earlier keys to lists of values, but got {brief(when)}")
            return {}
        conditions = {}
        for other, allowed in when.items():
            values = tuple(map(encode, allowed)) if isinstance(allowed, list) else ()
            if not values:
                self._problem((*place, other), f"`when: {other}` of `{key}` must list values, but got {brief(allowed)}")
            elif (controller := self._earlier(key, other, "when", (*place, other))) is not None:
                self._check_condition(key, controller, values, (*place, other))
            conditions[other] = values
        return conditions

    def _check_condition(self, key: str, controller: Parameter, values: tuple[Plain, ...], position: Position) -> None:
        if controller.kind == "float" or controller.times:
            self._problem(position, f"`when` of `{key}` must not ask for exact values of the number `{controller.key}`")
            return
        for value in values:
            if not controller.contains(value) and not is_among(value, (encode(controller.otherwise),)):
                allowed = controller.range_text()
                self._problem(
                    position,
                    f"`when: {controller.key}` of `{key}` must be in its range, {allowed}, but got {brief(value)}",
                )

    def _earlier(self, key: str, other: str, word: str, position: Position) -> Parameter | None:
        if other in self.read:
            return self.read[other]
        if other in self.names[: self.names.index(key)] and other in config_fields():
            return None  # it is earlier but wrong itself, which is said at its own place
        above = ", ".join(self.read) or "none"
        self._problem(
            position,
            f"`{word}` of `{key}` must name a parameter that stands above it ({above}), but got {brief(other)}",
        )
        return None

    def _otherwise(self, key: str, spec: Mapping[str, Any], position: Position) -> Any:
        if "otherwise" not in spec:
            return self.base.flat()[key]
        if "when" not in spec:
            self._problem((*position, "otherwise"), f"`otherwise` of `{key}` must only be given with `when`")
        return self._configured(key, spec["otherwise"], (*position, "otherwise"))

    def _times(self, key: str, spec: Mapping[str, Any], position: Position) -> str | None:
        if "times" not in spec:
            return None
        other, place = spec["times"], (*position, "times")
        controller = self._earlier(key, str(other), "times", place)
        if controller is not None and (controller.kind == "categorical" or controller.low <= 0):
            self._problem(
                place, f"`times` of `{key}` must name a parameter of positive numbers, but got {brief(other)}"
            )
        return str(other)

    def _configured(self, key: str, value: Any, position: Position) -> Any:
        """`value` as the configuration holds it, once it passed the configuration's own checks."""
        try:
            return self.base.with_values({key: value}).flat()[key]
        except UserError as error:
            for problem in error.problems:
                self._problem(position, problem)
            return value

    def _check_extremes(self, parameter: Parameter, position: Position) -> None:
        if parameter.kind == "categorical" or (parameter.times and parameter.times not in self.read):
            return
        factors: tuple[float, ...] = (1,)
        if parameter.times:
            other = self.read[parameter.times]
            factors = (other.low, other.high)
        for value in {bound * factor for bound in (parameter.low, parameter.high) for factor in factors}:
            self._configured(parameter.key, value, (*position, parameter.kind))


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _type_text(hint: Any) -> str:
    if hint in (int, float, bool):
        return {int: "it is a whole number", float: "it is a number", bool: "it is true or false"}[hint]
    return (
        "it is a list of names" if get_origin(hint) is tuple else f"it is one of {', '.join(map(str, get_args(hint)))}"
    )
