"""What a task is made of: columns, targets, score."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

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


Target: TypeAlias = RealTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How forecasts are scored; lower is better.

    kind: "crps" of a normal. scale: "raw", in the targets' own units, or "skill", each target as a share of what a
    constant forecast scores, so that targets of differing units can be averaged.
    """

    kind: Literal["crps"] = "crps"
    scale: Literal["raw", "skill"] = "skill"
