"""Small charts as SVG within a page: scales, axes, dots and lines; colours are the page's, light and dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from trainable.shown import shown
from tune.decisions.varied import shown_value

WIDTH, HEIGHT = 720.0, 300.0

STYLE = """
svg { display: block; max-width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg.wide { min-width: 34rem; }
svg text { fill: var(--muted); stroke: none !important; }
svg .name { fill: var(--ink); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .rung { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; }
svg path, svg polyline { fill: none; stroke-width: 1.2; }
svg .completed { stroke: var(--accent); fill: var(--accent); }
svg .pruned { stroke: var(--warm); fill: var(--warm); }
svg .failed { stroke: var(--bad); fill: var(--bad); }
svg .running, svg .interrupted { stroke: var(--muted); fill: var(--muted); }
svg .best { stroke: var(--ink); fill: var(--ink); }
svg polyline { fill: none !important; }
svg .cell { fill: var(--accent); }
svg .thin { stroke-width: .8; opacity: .5; }
svg .thick { stroke-width: 2.2; }
svg circle { stroke: none; opacity: .75; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 1.5rem; }
"""
"""Added to the page's own; `--warm` and `--bad` are its further colours."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values lie between two places of a drawing.

    low, high: the values at `start` and `end`. log: evenly in the logarithm. choices: words instead of numbers, one
    beside the other.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    choices: tuple[str, ...] = ()

    def place(self, value: Any) -> float:
        """Values beyond the ends lie on them."""
        if self.choices:
            share = (self.choices.index(shown_value(value)) + 0.5) / len(self.choices)
        else:
            of = math.log if self.log else float
            low, high = of(self.low), of(self.high)
            share = min(1.0, max(0.0, (of(max(value, self.low)) - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Places with their labels."""
        values: Sequence[Any] = self.choices or (_decades if self.log else _round)(self.low, self.high)
        return [(self.place(value), value if self.choices else f"{value:.4g}") for value in values]


def scale(values: Iterable[Any], start: float, end: float, *, log: bool = False) -> Scale:
    """From the lowest to the highest of some values, of which there may be none; texts and truths are choices."""
    known = [v for v in values if v is not None]
    if any(isinstance(v, str | bool) for v in known):
        return Scale(0, 1, start, end, choices=tuple(sorted({shown_value(v) for v in known})))
    low, high = min(known, default=0.0), max(known, default=1.0)
    log = log and low > 0
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    return Scale(float(low), float(high), start, end, log)


def score_scale(scores: Sequence[float], start: float, end: float) -> Scale:
    """Of scores: a few that are far too high, as of trials that diverged, do not press the others together."""
    ordered = sorted(scores)
    if not ordered:
        return scale([], start, end)
    usual, middle = ordered[int(0.98 * (len(ordered) - 1))], ordered[len(ordered) // 2]
    return scale([ordered[0], min(usual, ordered[0] + 6 * max(middle - ordered[0], 1e-9))], start, end)


def axes(x: Scale, y: Scale, *, xlabel: str, ylabel: str, names_rows: bool = False) -> str:
    """Grid, ticks and labels around what lies between the ends of two scales; names_rows: y holds rows, not numbers."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    rows = [] if names_rows else y.ticks()
    parts = [f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>' for at, _ in rows]
    parts += [text(left - 6, at + 4, label, anchor="end") for at, label in rows]
    parts += [text(at, bottom + 15, label, anchor="middle") for at, label in x.ticks()]
    parts += [text((left + right) / 2, bottom + 31, xlabel, anchor="middle", kind="name")]
    parts += [text(left, top - 8, ylabel, kind="name")]
    return "".join(parts)


def text(x: float, y: float, words: str, *, anchor: str = "start", kind: str = "") -> str:
    """Words that begin, end or are centred at a place."""
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(words)}</text>'


def dot(x: float, y: float, kind: str, about: str, *, radius: float = 3.0) -> str:
    """about: shown where a mouse rests on it."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"><title>{_escaped(about)}</title></circle>'


def line(points: Iterable[tuple[float, float]], kind: str) -> str:
    """Through places."""
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def figure(title: str, body: str, *, caption: str, width: float = WIDTH, height: float = HEIGHT) -> str:
    """A drawing with its name for those who cannot see it; on a narrow page a wide one moves, and can be read."""
    wide = ' class="wide"' if width >= WIDTH else ""
    drawn = (
        f'<svg{wide} viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{_escaped(title)}">'
        f"<title>{_escaped(title)}</title>{body}</svg>"
    )
    return f'<figure><div class="scroll">{drawn}</div><figcaption>{_escaped(caption)}</figcaption></figure>'


def _escaped(words: str) -> str:
    return escape(shown(words))


def _round(low: float, high: float) -> list[float]:
    """Four to ten round numbers."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(m * step for m in (1, 2, 5, 10) if (high - low) / (m * step) <= 8)
    return [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten, and between them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    dense = math.log10(high / low) < 3
    values = [m * 10.0**p for p in powers for m in ((1, 2, 5) if dense else (1,))]
    return [v for v in values if low <= v <= high] or [low, high]
