"""Markdown out of plain values: cells, tables, the head of a page that the code wrote."""

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"[|<>\[\]]|(?<= )\*(?= )")
"""What shows as it is behind a backslash; emphasis and literals are meant as they stand."""


def plain(text: str) -> str:
    """Text on one line, for a cell of a table too."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def sentence(text: str) -> str:
    """A line of help as a sentence."""
    return f"{text[:1].upper()}{plain(text)[1:]}."


def code(text: object) -> str:
    """A literal, also in a cell of a table."""
    return f"`{text}`".replace("|", "\\|") if str(text) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table; empty ones around it."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return ["", *lines, ""]


def page(title: str, about: str, lines: Iterable[str]) -> str:
    """A page that says by what it was written."""
    notice = "<!-- Written by `python -m docs.site.reference` from the code: change that, and run it. -->"
    text = "\n".join([notice, "", f"# {title}", "", about, "", *lines]).strip("\n")
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text + "\n"
