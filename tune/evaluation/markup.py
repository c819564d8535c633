"""Self-contained HTML pages: every text is escaped, pictures are embedded, nothing is fetched from anywhere."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from trainable.shown import shown

STYLE = """
:root { color-scheme: light; --ink: #1f2937; --muted: #6b7280; --line: #e5e7eb; --soft: #f8fafc; --accent: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.15rem; }
p { max-width: 60rem; margin: .5rem 0; overflow-wrap: anywhere; }
.lead, .note, figcaption { color: var(--muted); }
.note, figcaption { font-size: .87rem; overflow-wrap: anywhere; }
.warning { margin: 1rem 0; padding: .7rem 1rem; border: 1px solid #f1c48b; border-left: 5px solid #d9762b;
  background: #fff8ef; overflow-wrap: anywhere; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; padding: 0; list-style: none; }
.cards li { flex: 1 1 9rem; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--soft); }
.cards b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.cards span { color: var(--muted); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; }
thead th { border-bottom-color: #9ca3af; }
thead tr:not(:last-child) th { border-bottom: 0; text-align: center; }
th.text, td.text { text-align: left; }
td.long { min-width: 11rem; white-space: normal; overflow-wrap: anywhere; }
tbody tr.strong { font-weight: 600; background: var(--soft); }
figure { margin: 1rem 0; }
figure table { margin: .3rem 0 0; }
figure img { display: block; max-width: 100%; min-width: 34rem; height: auto; }
pre { padding: .8rem; overflow-x: auto; background: var(--soft); border: 1px solid var(--line); font-size: .82rem; }
@media (max-width: 40rem) {
  body { padding: 1.2rem .8rem 3rem; }
  th, td { padding: .28rem .45rem; }
}
@media print {
  html { font-size: 10.5px; }
  body { max-width: none; padding: 0; font-size: 10.5px; }
  figure, tr, .warning, .cards li { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  figure:has(table) { break-inside: auto; }
  figcaption { break-after: avoid; }
  th, td { padding: .15rem .35rem; }
}
"""

PAGE_BEGINS = "<!DOCTYPE html>"
"""With which every page begins."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

LONG = 30
"""Characters of a text from which on it is broken into lines within its cell."""

NOTHING = "–"
"""Shown for a value that is undefined."""


def page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """A whole document; body: finished markup. style: added to that of all pages."""
    return (
        f'{PAGE_BEGINS}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """A section's title."""
    return f"<h{level}>{_text(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """kind: "lead", "note" or none."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{_text(text)}</p>"


def warning(text: str) -> str:
    """What a reader must not miss."""
    return f'<div class="warning" role="alert"><strong>Warning:</strong> {_text(text)}</div>'


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Figures at a glance: label, value, remark."""
    parts = "\n".join(
        f"<li><span>{_text(label)}</span><b>{_text(value)}</b><span>{_text(remark)}</span></li>"
        for label, value, remark in items
    )
    return f'<ul class="cards">\n{parts}\n</ul>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    above: Sequence[tuple[str, int]] = (),
    n_text: int = 1,
    strong: Sequence[int] = (),
) -> str:
    """head: one title a column. above: titles over several columns, with how many. n_text: columns of text, the first
    ones; all others hold numbers. strong: rows to set off. A table that is wider than the page moves below its caption.
    """
    upper = "".join(f'<th colspan="{span}" scope="colgroup">{_text(title)}</th>' for title, span in above)
    lower = _cells(head, n_text, tag="th", scope="col")
    body = "\n".join(
        f"<tr{' class=' + chr(34) + 'strong' + chr(34) if number in strong else ''}>{_cells(row, n_text)}</tr>"
        for number, row in enumerate(rows)
    )
    return (
        "<figure>"
        + (f"<figcaption>{_text(caption)}</figcaption>\n" if caption else "")
        + f'<div class="scroll"><table>\n<thead>{f"<tr>{upper}</tr>" if upper else ""}<tr>{lower}</tr></thead>\n'
        + f"<tbody>\n{body}\n</tbody>\n</table></div></figure>"
    )


def picture(png: bytes, *, alt: str, caption: str) -> str:
    """An embedded PNG."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = f'<div class="scroll"><img src="{source}" alt="{_text(alt)}"></div>'
    return f"<figure>{image}<figcaption>{_text(caption)}</figcaption></figure>"


def details(title: str, text: str) -> str:
    """Preformatted text, folded away."""
    return f"<details><summary>{_text(title)}</summary><pre>{_text(text)}</pre></details>"


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """Rounded; a dash for what is undefined, a true minus sign, and a plus sign where asked for."""
    return NOTHING if value is None else f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def below(score: float, other: float) -> tuple[str, float]:
    """Whether a score lies "Below" or "Above" another one, and by how much."""
    return ("Below" if score <= other else "Above"), abs(other - score)


def interval(low: float, high: float, digits: int = 3, *, signed: bool = False) -> str:
    """[low, high]"""
    return f"[{number(low, digits, signed=signed)}, {number(high, digits, signed=signed)}]"


def percent(value: float) -> str:
    """A share, without decimals."""
    return f"{100 * value:.0f} %"


def _cells(values: Sequence[str], n_text: int, *, tag: str = "td", scope: str = "") -> str:
    parts = []
    for place, value in enumerate(values):
        long = " long" if tag == "td" and len(value) >= LONG else ""
        kind = f' class="text{long}"' if place < n_text else ""
        of = f' scope="{scope}"' if scope else ""
        parts.append(f"<{tag}{kind}{of}>{_text(value)}</{tag}>")
    return "".join(parts)


def _text(value: str) -> str:
    """Names of files and columns may hold anything; line breaks stay."""
    return escape(shown(value, keep="\n"))
