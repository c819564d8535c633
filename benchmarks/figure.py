"""What a benchmark hands back: a ratio, the values it was made of, and the target it is held against."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Value:
    """A measured part of a figure; unit: "ms", "images/s", "GFLOP/s", ..., or "" for a plain number."""

    name: str
    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Target:
    """The bound that a ratio is held against."""

    sign: Literal[">=", "<="]
    bound: float

    def is_met(self, ratio: float) -> bool:
        """Whether the ratio is on the right side; NaN never is."""
        return ratio >= self.bound if self.sign == ">=" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured figure. number: its row in the table of README's benchmarks. target: None where there is none."""

    number: int
    name: str
    ratio: float
    parts: tuple[Value, ...] = field(default=())
    target: Target | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return None if self.target is None else self.target.is_met(self.ratio)

    def __str__(self) -> str:
        parts = f" ({', '.join(map(str, self.parts))})" if self.parts else ""
        verdict = "" if self.target is None else f", target {self.target}: {'met' if self.is_met else 'NOT met'}"
        return f"{self.number:>2} {self.name}: {self.ratio:.3f}{parts}{verdict}"
