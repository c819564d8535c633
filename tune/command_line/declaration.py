"""How an option is declared: a field of a frozen class, with its default, help, bounds and lifetime in one place."""

import operator
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from trainable.errors import UserError
from trainable.shown import brief

Lifetime = Literal["for life", "as the study had it", "until given anew", "for one session"]
"""How long a study keeps an option, over its resumes.

"for life": it must stay what it was. "as the study had it": it holds, given or not, until it is given anew, and may
name another place if what is there is the same. "until given anew": it holds if it was given; else today's default
does. "for one session": it says how one process works.
"""

MANY = 1_000_000
"""The most of what has a least and no other bound: what is larger is a slip of the finger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What is known of an option beside its name, type and default.

    text: the help. often: the help shows it among those that are used most. at_least, above, at_most, below: bounds of
    a number. check: why a value cannot be, None when it can. own_folder: a path that must not hold everything else.
    file_names: text that may be what a system takes for a file's name, with line breaks and bytes of any kind. lines:
    text of several lines. duration: seconds, written such as 1h30m.
    """

    text: str
    often: bool = False
    kept: Lifetime = "until given anew"
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    check: Callable[[Any], str | None] | None = None
    own_folder: bool = False
    file_names: bool = False
    lines: bool = False
    duration: bool = False
    positional: bool = False

    def problems(self, flag: str, value: object) -> Iterator[str]:
        """Why the option, written `flag`, cannot have this value, a line each."""
        if isinstance(value, int | float):
            yield from self._bounds_problems(flag, value)
        if self.own_folder and isinstance(value, Path) and os.path.normpath(value) in ("/", "//"):
            yield f"`{flag}` must name a folder of its own, but got {value}, which holds all others"
        elif self.own_folder and isinstance(value, Path) and value.name == "..":
            yield f"`{flag}` must end in a folder's name, but got {value}"
        if self.check is not None and value is not None and (problem := self.check(value)) is not None:
            yield problem

    def _bounds_problems(self, flag: str, value: float) -> Iterator[str]:
        most = MANY if self.at_least is not None and self.at_most is self.below is None else self.at_most
        for sign, holds, bound in (
            (">=", operator.ge, self.at_least), (">", operator.gt, self.above),
            ("<=", operator.le, most), ("<", operator.lt, self.below),
        ):  # fmt: skip
            if bound is not None and not holds(value, bound):
                got = brief(value) if isinstance(value, int) else f"{value:g}"
                yield f"`{flag} {sign} {bound}` must hold, but got {got}"


def option(default: Any, text: str, **declared: Any) -> Any:
    """An option's field; declared: of `Declaration`."""
    return field(default=default, metadata={"declaration": Declaration(text=text, **declared)})


def argument(text: str, *, default: Any = MISSING, **declared: Any) -> Any:
    """The field of what is given without an option's name; of several, one a word."""
    return option(default, text, positional=True, **declared)


OptionValues: TypeAlias = dict[str, Any]
"""Option -> its value, of the type that its field says."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the options of every verb have in common; title: of those that a class declares, in the help."""

    title: ClassVar[str] = ""

    def __init_subclass__(cls, *, title: str = "") -> None:
        cls.title = title

    def problems(self) -> Iterator[str]:
        """Why the options cannot be, a line each."""
        declared = declarations(type(self))
        for name, declaration in declared.items():
            yield from declaration.problems(flag_of(name, declared), getattr(self, name))

    def check(self) -> None:
        """Raise UserError naming every option whose value cannot be, all at once."""
        if problems := list(self.problems()):
            raise UserError(problems)


def declarations(options_class: type[Options]) -> Mapping[str, Declaration]:
    """Option -> its declaration, of a class and those that it inherits from."""
    return {f.name: _declaration(f) for f in fields(options_class)}


def flag_of(name: str, declared: Mapping[str, Declaration]) -> str:
    """An option or argument as a user writes it."""
    return name.upper() if declared[name].positional else f"--{name.replace('_', '-')}"


def names_kept(options_class: type[Options], *lifetimes: Lifetime) -> frozenset[str]:
    """Names of the options that a study keeps for so long."""
    return frozenset(name for name, declared in declarations(options_class).items() if declared.kept in lifetimes)


def _declaration(of: "Field[Any]") -> Declaration:
    declared: Declaration = of.metadata["declaration"]
    return declared
