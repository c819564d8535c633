"""YAML files whose every value knows its line, so that a mistake can be shown where it stands."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainable.errors import UserError
from trainable.plain_values import LARGEST_WHOLE
from trainable.shown import brief, meant
from trainable.text_file import read_text_file

_ROOT = Path(__file__).resolve().parents[1]
_OURS = (_ROOT / "search_spaces", _ROOT / "trainable")

DEEPEST = 20
"""Lists and mappings within each other; a space file has 5."""

_READ_OTHERWISE = frozenset("\t\ufeff")
"""Tabs and byte order marks: libyaml takes some that PyYAML's own parser refuses."""

Position = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping of plain values and the lines its parts stand on.

    label: what messages call it. lines: keys and list positions from the top -> line, from 1; empty for values that
    come from no file. folder: where paths in it are looked up.
    """

    label: str
    values: Mapping[str, Any]
    lines: Mapping[Position, int] = field(default_factory=dict)
    folder: Path = Path()

    def problem(self, position: Position, text: str) -> str:
        """`text` with file and line of the value at `position`, or of the closest one around it."""
        while position and position not in self.lines:
            position = position[:-1]
        line = f":{self.lines[position]}" if position in self.lines else ""
        return f"{self.label}{line}: {text}"

    def unknown_keys(self, position: Position, given: Mapping[str, object], allowed: tuple[str, ...]) -> list[str]:
        """A problem for each key of `given`, the mapping at `position`, that is not allowed."""
        return [
            self.problem((*position, key), f"`{key}` is not a key here; valid: {', '.join(allowed)}")
            for key in given
            if key not in allowed
        ]


def read_document(path: Path) -> Document:
    """Parse a YAML file by the safe loader's rules, without duplicate keys, merges or aliases.

    Raises: UserError with file and line, also for what is no plain text file or is nested too deep.
    """
    label = _label(path)
    return parse_document(read_text_file(path, label), label, folder=path.resolve().parent)


def parse_document(text: str, label: str, *, folder: Path = Path()) -> Document:
    """`read_document` for a text that was read already; label, folder: those of the `Document`. Raises: UserError."""
    try:
        root = _composed(text)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter for escapes of no character
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{label}{line}: must be valid YAML: {reason}") from None
    lines: dict[Position, int] = {}
    problems: list[str] = []
    values = _plain(root, (), _Walk(label, lines, problems))
    if not problems and not isinstance(values, dict):
        line = ":1" if values is not None else ""
        problems.append(f"{label}{line}: must be a mapping of keys, but got {brief(values)}")
    if problems:
        raise UserError(problems)
    assert isinstance(values, dict)  # else there are problems
    return Document(label, values, lines, folder)


def find_file(name_or_path: str | Path, folder: Path, what: str) -> Path:
    """The file of a built-in name in `folder`, or of a path to a YAML file.

    Raises: UserError listing the names.
    """
    text = str(name_or_path)
    names = file_names(folder)
    if text in names:
        return folder / f"{text}.yaml"
    path = Path(os.path.expanduser(text))
    try:
        os.lstat(path)
    except (FileNotFoundError, ValueError):
        pass
    except OSError:  # who reads it says why it cannot be
        return path
    else:
        return path
    got = f"{brief(text)}{meant(text, names)}"
    raise UserError(f"{what} must be one of {', '.join(names)}, or the path of a YAML file, but got {got}")


def file_names(folder: Path) -> tuple[str, ...]:
    """Names of the YAML files in a folder, without suffix, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def _label(path: Path) -> str:
    inside = Path(os.path.realpath(path))
    return str(inside.relative_to(_ROOT)) if any(map(inside.is_relative_to, _OURS)) else str(path)


def _composed(text: str) -> yaml.Node | None:
    """By libyaml where PyYAML was built with it, which takes a twentieth of the time.

    What libyaml refuses or reads otherwise, and what `_Loader` might refuse, is read by the latter: the same values and
    one wording of each mistake on all machines.
    """
    fast = getattr(yaml, "CSafeLoader", None)
    if fast is not None and _READ_OTHERWISE.isdisjoint(text) and _is_shallow(text, fast):
        root: yaml.Node | None = yaml.compose(text, Loader=fast)
        if root is not None:
            return root
    return yaml.compose(text, Loader=_Loader)


def _is_shallow(text: str, loader: Any) -> bool:
    """Whether it is one document of valid YAML without anchors and aliases, with nothing as deep as `DEEPEST`."""
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if depth >= DEEPEST or documents > 1 or getattr(event, "anchor", None) is not None:
                return False
    except (yaml.YAMLError, ValueError, OverflowError):
        return False
    return True


class _Loader(yaml.SafeLoader):
    """Composes no node twice and none too deep, so that a small file cannot become a large value."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = "YAML aliases (*name) must not be used; repeat the value"
        elif self._depth >= DEEPEST:
            problem = f"lists and mappings must be nested at most {DEEPEST} deep"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


@dataclass(frozen=True, slots=True)
class _Walk:
    label: str
    lines: dict[Position, int]
    problems: list[str]


def _plain(node: yaml.Node | None, position: Position, walk: _Walk) -> object:
    if node is None:
        return None
    walk.lines.setdefault(position, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return {key: _plain(child, (*position, key), walk) for key, child in _pairs(node, position, walk)}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*position, i), walk) for i, child in enumerate(node.value)]
    return _scalar(node, walk)


def _pairs(node: yaml.MappingNode, position: Position, walk: _Walk) -> Iterator[tuple[str, yaml.Node]]:
    first: dict[str, int] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        key = _scalar(key_node, walk) if isinstance(key_node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            got = brief(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
            walk.problems.append(f"{walk.label}:{line}: a key must be text, but got {got}")
        elif key in first:
            walk.problems.append(
                f"{walk.label}:{line}: `{brief(key)[1:-1]}` must stand once, but stands on line {first[key]} already"
            )
        else:
            first[key] = line
            walk.lines[(*position, key)] = line
            yield key, child


def _scalar(node: yaml.Node, walk: _Walk) -> object:
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
        if isinstance(value, int) and not -LARGEST_WHOLE <= value <= LARGEST_WHOLE:
            raise ValueError(f"whole numbers must have at most {LARGEST_WHOLE.bit_length()} bits")
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError) as error:  # of odd tags
        line = node.start_mark.line + 1
        reason = getattr(error, "problem", None) or error
        walk.problems.append(f"{walk.label}:{line}: {brief(node.value)} must be a plain value: {reason}")
        return None
    return value
