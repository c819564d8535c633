"""A search space: what may vary, in which ranges and why; read from YAML, checked, sampled, printed."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from search_spaces.parameter import Draws, Parameter, Plain, in_words, project, resolve
from search_spaces.parameter_source import ParameterReader
from search_spaces.variant import HERE, Variant, configuration_of, list_variants, load_variant, read_variant
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.shown import brief
from trainable.yaml_source import Document, file_names, find_file, read_document

__all__ = [
    "NamedConfig",
    "SearchSpace",
    "Variant",
    "list_spaces",
    "list_variants",
    "load_variant",
    "read_variant",
]

DEFAULT = "default"
"""The variant that a search runs in full, and that a confirmation holds all others against."""

_KEYS = ("name", "about", "base", "start_from", "compare_with", "parameters")
_TEXTS = ("about", "why", "role", "name")


@dataclass(frozen=True, slots=True)
class NamedConfig:
    """A configuration with the name it is shown under; its `epochs` is the published length."""

    name: str
    config: TrialConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """What a search varies, in the order in which it is drawn.

    base: what everything else is fixed to. start_from: lie in the space and are run first. compare_with: are run for
    comparison, may lie outside, and are not told to the sampler. The length of a trial is not part of a space.
    """

    name: str
    about: str
    base: NamedConfig
    parameters: tuple[Parameter, ...]
    start_from: tuple[NamedConfig, ...] = ()
    compare_with: tuple[NamedConfig, ...] = ()

    @classmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """A built-in space by name, or a YAML file.

        Raises: UserError with file, line, allowed values; all problems at once.
        """
        path = find_file(name_or_path, HERE, "a search space")
        return cls._read(read_document(path), name=path.stem)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, for studies that outlive their space's file."""
        return cls._read(
            Document(str(values.get("name", "space")), values, folder=HERE), name=str(values.get("name", "space"))
        )

    @classmethod
    def _read(cls, document: Document, *, name: str) -> Self:
        values = document.values
        problems = document.unknown_keys((), values, _KEYS)
        about = values.get("about")
        if not isinstance(about, str) or not about.strip():
            problems.append(
                document.problem(("about",), f"`about` must say what the space is for, but got {brief(about)}")
            )
        base = _read_base(document, problems)
        parameters, broken = _read_parameters(document, base, problems)
        lists = {key: _read_configs(document, key, base, problems) for key in ("start_from", "compare_with")}
        for i, start in lists["start_from"].items():
            _, outside = project(parameters, base.config, start.config, ignored_keys={"epochs", *broken})
            place = ("start_from", i)
            problems += [document.problem(place, f"starting point {start.name!r}: {problem}") for problem in outside]
        if problems:
            raise UserError(dict.fromkeys(problems))
        return cls(
            name=name,
            about=" ".join(str(about).split()),
            base=base,
            parameters=parameters,
            start_from=tuple(lists["start_from"].values()),
            compare_with=tuple(lists["compare_with"].values()),
        )

    def suggest(self, trial: Draws) -> dict[str, Plain]:
        """Draw every active parameter, in order."""
        config_values = self.base.config.flat()
        values: dict[str, Plain] = {}
        for parameter in self.parameters:
            if parameter.is_active(config_values):
                values[parameter.name] = value = parameter.suggest(trial)
                config_values[parameter.key] = parameter.to_config(value, config_values)
            else:
                config_values[parameter.key] = parameter.otherwise
        return values

    def config(self, values: Mapping[str, Plain], epochs: int) -> TrialConfig:
        """The complete configuration of sampled values.

        Raises: UserError as `check`.
        """
        return self.base.config.with_values({**self._resolved(values), "epochs": epochs})

    def check(self, values: Mapping[str, Plain]) -> None:
        """Raises: UserError naming every value that is missing, out of range, or of no active parameter."""
        self._resolved(values)

    def _resolved(self, values: Mapping[str, Plain]) -> dict[str, Any]:
        config_values, problems = resolve(self.parameters, self.base.config, values)
        if problems:
            raise UserError(problems)
        return config_values

    def values_of(self, config: TrialConfig) -> dict[str, Plain]:
        """The sampled values that give exactly `config`, whatever its length.

        Raises: UserError naming every key that is out of range, or that does not vary and differs from the base.
        """
        values, problems = project(self.parameters, self.base.config, config)
        if problems:
            raise UserError(problems)
        return values

    @property
    def named(self) -> tuple[NamedConfig, ...]:
        """What a search runs first, in its order: starting points, then comparisons, but the default before all."""
        points = (*self.start_from, *self.compare_with)
        return tuple(sorted(points, key=lambda point: point.name != DEFAULT))  # stable

    def reachable_blocks(self) -> tuple[int, ...]:
        """Every number of trainable blocks a trial may ask for, starting points and comparisons included; ascending."""
        return self._reachable("tail.n_blocks")

    def most_copies(self) -> int:
        """The most copies of each image a trial may ask for, starting points and comparisons included."""
        flips = self._reachable("augment.test_flips")
        return max(*self._reachable("augment.image_copies"), *flips)

    def _reachable(self, key: str) -> tuple[int, ...]:
        """Every value of a whole number or a switch, ascending."""
        values = {int(point.config.flat()[key]) for point in self.named}
        varied = next((p for p in self.parameters if p.key == key), None)
        if varied is None:
            values.add(int(self.base.config.flat()[key]))
        else:
            if varied.kind == "categorical":
                values.update(int(choice) for choice in varied.choices)
            else:
                values.update(range(int(varied.low), int(varied.high) + 1, varied.step))
            if varied.when:
                values.add(int(varied.otherwise))
        return tuple(sorted(values))

    def reaches_adapters(self) -> bool:
        """Whether any trial may ask for an adapter, starting points and comparisons included."""
        kinds: set[object] = {point.config.adapter.kind for point in self.named}
        varied = next((p for p in self.parameters if p.key == "adapter.kind"), None)
        kinds.update({self.base.config.adapter.kind} if varied is None else varied.choices)
        return kinds != {"full"}

    def table(self, width: int = 140) -> str:
        """For a terminal: what the space is for, and every parameter with range, role and reason."""
        rows = [("parameter", "range", "role", "why")]
        for p in self.parameters:
            condition = f", when {p.when_text()}, else {in_words(p.otherwise)}" if p.when else ""
            rows.append((p.key, (p.range_text() + condition).replace("+", " + "), p.role, p.why))
        name_width, role_width = (max(len(row[i]) for row in rows) for i in (0, 2))
        rest = max(width - name_width - role_width - 6, 40)
        widths = (name_width, rest * 2 // 5, role_width, rest - rest * 2 // 5)
        lines = textwrap.wrap(f"{self.name}: {self.about}", width)
        lines.append(f"base: {self.base.name}")
        for title, points in (("start from", self.start_from), ("compare with", self.compare_with)):
            if points:
                lines.append(f"{title}: {', '.join(point.name for point in points)}")
        return "\n".join([*lines, "", *itertools.chain.from_iterable(_row(row, widths) for row in rows)])

    def to_dict(self) -> dict[str, Any]:
        """Plain values that say all there is to the space without any file; `from_dict` is the inverse."""
        base = self.base.config.flat()

        def plain(point: NamedConfig, *, complete: bool = False) -> dict[str, Any]:
            differing = {k: v for k, v in point.config.flat().items() if complete or v != base[k]}
            return {"name": point.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in differing.items()}

        return {
            "name": self.name,
            "about": self.about,
            "base": plain(self.base, complete=True),
            "start_from": [plain(point) for point in self.start_from],
            "compare_with": [plain(point) for point in self.compare_with],
            "parameters": {parameter.key: parameter.to_dict() for parameter in self.parameters},
        }

    def differences(self, other: "SearchSpace") -> tuple[str, ...]:
        """What a trial drawn from `other` could see differently, as "`key`: mine, other's"; words do not count."""
        mine, theirs = _leaves(self.to_dict()), _leaves(other.to_dict())
        keys = [*mine, *(key for key in theirs if key not in mine)]
        return tuple(
            f"`{key}`: {mine.get(key, 'absent')}, {theirs.get(key, 'absent')}"
            for key in keys
            if mine.get(key, "absent") != theirs.get(key, "absent")
        )


def list_spaces() -> dict[str, str]:
    """Built-in spaces: name -> what it is for."""
    return {name: SearchSpace.load(name).about for name in file_names(HERE)}


def _read_base(document: Document, problems: list[str]) -> NamedConfig:
    code_defaults = TrialConfig(epochs=1)
    if "base" not in document.values:
        problems.append(document.problem((), f"`base` must name a variant: {', '.join(list_variants())}"))
        return NamedConfig("defaults", code_defaults)
    try:
        return NamedConfig(*configuration_of(document, ("base",), document.values["base"], code_defaults))
    except UserError as error:
        problems += error.problems
        return NamedConfig("defaults", code_defaults)


def _read_parameters(
    document: Document, base: NamedConfig, problems: list[str]
) -> tuple[tuple[Parameter, ...], set[str]]:
    """The sound parameters, and the keys of the others."""
    specs = document.values.get("parameters")
    if not isinstance(specs, Mapping) or not specs:
        problems.append(
            document.problem(
                ("parameters",), f"`parameters` must map configuration keys to ranges, but got {brief(specs)}"
            )
        )
        return (), set()
    reader = ParameterReader(document=document, base=base.config, names=tuple(specs))
    for key, spec in specs.items():
        reader.add(key, spec)
    problems += reader.problems
    if not reader.problems:
        problems += _contradictions(document, base.config, tuple(reader.read.values()))
    return tuple(reader.read.values()), set(specs) - set(reader.read)


def _contradictions(document: Document, base: TrialConfig, parameters: Sequence[Parameter]) -> list[str]:
    """Pairs of extreme values that no configuration may hold together, such as fractions that sum to more than 1."""
    numeric = [p for p in parameters if p.kind != "categorical" and not p.times]
    problems: list[str] = []
    for a, b in itertools.combinations(numeric, 2):
        if a.key.split(".")[0] != b.key.split(".")[0]:
            continue  # the configuration's rules each concern one group
        for x, y in ((a.high, b.high), (a.high, b.low), (a.low, b.high)):
            try:
                base.with_values({a.key: x, b.key: y})
            except UserError as error:
                place = ("parameters", b.key)
                problems += [document.problem(place, f"{p}; the ranges allow it") for p in error.problems]
    return problems


def _read_configs(document: Document, key: str, base: NamedConfig, problems: list[str]) -> dict[int, NamedConfig]:
    """Position in the list -> configuration; those that cannot be read are among the problems."""
    items = document.values.get(key, [])
    if not isinstance(items, list):
        problems.append(document.problem((key,), f"`{key}` must be a list of variants, but got {brief(items)}"))
        return {}
    found: dict[int, NamedConfig] = {}
    for i, item in enumerate(items):
        try:
            point = NamedConfig(*configuration_of(document, (key, i), item, base.config))
        except UserError as error:
            problems += error.problems
            continue
        if point.name in [other.name for other in found.values()]:
            problems.append(document.problem((key, i), f"`{key}` must name each once, but {point.name!r} stands twice"))
        found[i] = point
    return found


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    return [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in itertools.zip_longest(*wrapped, fillvalue="")
    ]


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, child in value.items():
            if key not in _TEXTS:
                found |= _leaves(child, f"{path}.{key}" if path else str(key))
        return found
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        named = {item["name"]: {k: v for k, v in item.items() if k != "name"} or "the base" for item in value}
        return _leaves(named, path)
    return {path: value}
