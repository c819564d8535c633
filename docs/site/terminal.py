"""What a search shows on a terminal, as a picture: the lines of a study's journal, shown as they came."""

import io
import math
import re
from collections.abc import Sequence

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tune.decisions.standings import Standings
from tune.journal.entries import EpochReported, JournalEntry
from tune.report.live_view import LiveView

COLUMNS, ROWS = 80, 18
SHARE = 2 / 3
"""Of the trials have ended in the picture."""


def terminal_picture(entries: Sequence[JournalEntry], command: str) -> str:
    """SVG of the live view of a search, two thirds through its trials; command: stands above it."""
    ends = io.StringIO()
    view = LiveView(ends, clock=lambda: -math.inf)  # never draws by itself
    until = _moment(entries)
    for entry in entries[: until + 1]:
        view.handle(entry)
    rewritten = view.drawn(entries[until].time, ROWS)
    n_ends = ROWS - len(rewritten.plain.splitlines())
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor")
    for line in ends.getvalue().splitlines()[-n_ends:]:
        console.print(Text(line), soft_wrap=True)
    console.print(rewritten)
    svg = console.export_svg(title=command, theme=MONOKAI)
    return re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)  # of another server


def _moment(entries: Sequence[JournalEntry]) -> int:
    """Position of the report of an epoch after which as many trials have ended, and as many run as ever did then."""
    standings, found, most = Standings(), 0, 0
    for position, entry in enumerate(entries):
        standings.apply(entry)
        if not isinstance(entry, EpochReported) or standings.n_told < SHARE * standings.n_wanted:
            continue
        if standings.count("running") > most:
            found, most = position, standings.count("running")
    return found
