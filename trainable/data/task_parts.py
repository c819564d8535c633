"""What a task is made of: columns, targets, score."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

STANDARD_UNITS = ("SPEI", "SPI", "SD")
"""Units that are standard deviations by what they mean: such values are learnt as they are, not standardised again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column of a table has which meaning; None where there is no such column.

    image: photographs or their paths. event: specimens that share their labels; absent, each is its own. site: what is
    never on two sides of a split; absent, the event. domain: region of one or more sites, held out as a whole for OOD.
    id, date: shown beside a specimen.
    """

    image: str
    event: str | None = None
    site: str | None = None
    domain: str | None = None
    id: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTarget:
    """A number to be forecast by a normal distribution.

    name: in tables, metrics and files. column: where its labels are. low, high: no label lies outside, and predictions
    are clipped to them; None where there is no bound. unit: as shown; "" for none.
    """

    name: str
    column: str
    low: float | None = None
    high: float | None = None
    unit: str = ""

    @property
    def is_standard(self) -> bool:
        """Whether its values have an SD near 1 by what they mean."""
        return self.unit in STANDARD_UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTarget:
    """One of several classes, to be forecast by a probability of each.

    name: in tables, metrics and files. column: where its labels are. classes: their names, in the order of every
    `[..., outputs]` array; None while they are whatever the data will have.
    """

    name: str
    column: str
    classes: tuple[str, ...] | None = None

    @property
    def unit(self) -> str:
        """Classes have none."""
        return ""

    @property
    def low(self) -> None:
        """Classes have no bounds."""

    @property
    def high(self) -> None:
        """Classes have no bounds."""

    @property
    def is_standard(self) -> bool:
        """Classes have no size."""
        return False


Target: TypeAlias = RealTarget | ClassTarget

RealScore = Literal["crps"]
ClassScore = Literal["log_loss", "brier"]

REAL_SCORES: tuple[RealScore, ...] = get_args(RealScore)
CLASS_SCORES: tuple[ClassScore, ...] = get_args(ClassScore)
"""The first of each is the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How forecasts are scored; lower is better.

    kind: "crps" of a normal; of classes "log_loss", minus the log of the true one's probability, or "brier", the
    squared differences to certainty of the true one, summed over classes. scale: "raw", in the targets' own units, or
    "skill", each target as a share of what a constant forecast scores, so that targets of differing units can be
    averaged.
    """

    kind: RealScore | ClassScore = "crps"
    scale: Literal["raw", "skill"] = "skill"


def class_name(value: object) -> str:
    """A label or a listed class as text, whatever type it was kept in: 3 and 3.0 are one class, true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
