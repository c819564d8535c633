"""How all pictures of an evaluation look: colours of parts, axes, PNG."""

import io
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from trainable.data.task_words import PART_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"id": "#2563a8", "ood": "#d9762b"}
"""Told apart by colour-blind readers too."""

MARKERS = {"id": "o", "ood": "D"}

MOST_GROUPS = 60
"""Boxes side by side."""

LONGEST_LEVEL = 4
"""Characters of a name that is not turned."""

MUTED = "#6b7280"
_DPI = 110

_DOMAINS = {"id": "known domain", "ood": "unknown domain"}


def legend(part_names: Mapping[str, str]) -> dict[str, str]:
    """What a legend calls each part: "ID: known domain"; its name alone where that is another one."""
    return {
        part: f"{name}: {_DOMAINS[part]}" if part in _DOMAINS and name == PART_NAMES[part] else name
        for part, name in part_names.items()
    }


def dress(axes: "Axes", title: str) -> None:
    """The title, and no more lines than are needed."""
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, color=MUTED)


def png(figure: Figure) -> bytes:
    """The same bytes of the same figure."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()
