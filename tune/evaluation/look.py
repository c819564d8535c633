"""How all pictures of an evaluation look: colours of parts, axes, PNG."""

import io
import warnings
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"id": "#2563a8", "ood": "#d9762b"}
"""Told apart by colour-blind readers too."""

MARKERS = {"id": "o", "ood": "D"}
LABELS = {"id": "ID: known domain", "ood": "OOD: unknown domain", "all": "all"}

MOST_GROUPS = 60
"""Boxes side by side."""

LONGEST_LEVEL = 4
"""Characters of a name that is not turned."""

MUTED = "#6b7280"
_DPI = 110


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
