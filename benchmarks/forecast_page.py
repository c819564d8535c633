"""The tables of FORECASTS.md, written from the results; the words around them are written by hand."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.forecast_arms import ARMS, DEFAULT, FLOORS, REFERENCE, config_of
from benchmarks.forecast_gains import Epoch, cost, gain
from benchmarks.forecast_results import Cell, Result, Results, key_of
from trainable.config import TrialConfig

PAGE = Path(__file__).with_name("FORECASTS.md")
_BLOCK = re.compile(r"(<!-- table: (.+?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Found = Mapping[str, Mapping[Cell, Result]]
"""Arm -> its results, of those cells that there are lines of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """size: specimens of a world. epochs: of a training. worlds: those that a table is of. dealt: a cell's share."""

    size: int
    epochs: int
    worlds: Sequence[int]
    dealt: float

    def find(self, results: Results, *, backbone: str) -> Found:
        """Every arm's and floor's results at this scale."""
        configs: dict[str, TrialConfig | str] = {name: config_of(name, epochs=self.epochs) for name in ARMS}
        configs |= {name: name for name in FLOORS}
        return {name: dict(self._of(config, results, backbone)) for name, config in configs.items()}

    def _of(self, config: TrialConfig | str, results: Results, backbone: str) -> Iterable[tuple[Cell, Result]]:
        for cell in results.cells():
            _, size, world = cell.data.split(":")
            found = results.get(key_of(config, cell, backbone=backbone))
            is_of_scale = int(size) == self.size and int(world) in self.worlds and cell.dealt == self.dealt
            if found is not None and is_of_scale:
                yield cell, found


def write_tables(results: Results, *, backbone: str, page: Path = PAGE) -> None:
    """Put each table between its marks, `<!-- table: KIND size=N epochs=N worlds=A-B -->` and `<!-- end -->`.

    `dealt=SHARE` beside them is of worlds whose labels were dealt anew; `over=ARM` keeps what is held against it.

    Raises: KeyError for a kind that there is not.
    """

    def table(match: re.Match[str]) -> str:
        kind, *words = match[2].split()
        values = dict(word.split("=") for word in words)
        first, last = map(int, values["worlds"].split("-"))
        scale = Scale(
            size=int(values["size"]),
            epochs=int(values["epochs"]),
            worlds=range(first, last + 1),
            dealt=float(values.get("dealt", 0.0)),
        )
        found = scale.find(results, backbone=backbone)
        if over := values.get("over"):
            found = {name: of for name, of in found.items() if name not in ARMS or over in (name, ARMS[name].against)}
        return match[1] + "\n" + _KINDS[kind](found) + "\n" + match[4]

    text = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(table, text), encoding="utf-8")


def gains_table(found: Found) -> str:
    """A row an arm: what it gains over the arm that it is held against, in thousandths of the score."""
    rows = [
        "| arm | against | score | gain x 1000 | on ID | on OOD | at the best epoch | CPU time | trainings, worlds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in ARMS.items():
        is_there = name in found and arm.against in found
        if is_there and name != arm.against and (row := _row(name, found, against=arm.against)):
            rows.append(row)
    return "\n".join(rows) + "\n"


def rivals_table(found: Found) -> str:
    """A row a rival of the default: what the default gains over it."""
    rows = [
        "| rival | its score | gain over it x 1000 | on ID | on OOD | at the best epoch | trainings, worlds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (*FLOORS, REFERENCE, "ft_did", "data_aug", "lora", "combined"):
        whole = gain(found[DEFAULT], found[name], epoch="last")
        if whole is None:
            continue
        cells = [f"{whole.score + whole.mean:.3f}", *_gains(found[DEFAULT], found[name])]
        rows.append("| " + " | ".join([name, *cells, f"{whole.n_trainings}, {whole.n_worlds}"]) + " |")
    return "\n".join(rows) + "\n"


_KINDS = {"gains": gains_table, "rivals": rivals_table}


def _row(name: str, found: Found, *, against: str) -> str | None:
    one, other = found[name], found[against]
    whole = gain(one, other, epoch="last")
    if whole is None:
        return None
    n_failed = sum(bool(result.failed) for result in one.values())
    count = f"{whole.n_trainings}, {whole.n_worlds}" + (f"; {n_failed} diverged" if n_failed else "")
    cells = [name, against, f"{whole.score:.3f}", *_gains(one, other), f"{cost(one, other):.2f}", count]
    return "| " + " | ".join(cells) + " |"


def _gains(one: Mapping[Cell, Result], other: Mapping[Cell, Result]) -> list[str]:
    """At the last epoch: of all, ID, OOD; at each training's own best epoch: of all."""
    asked: list[tuple[Epoch, Sequence[str]]] = [
        ("last", ("id", "ood")),
        ("last", ("id",)),
        ("last", ("ood",)),
        ("best", ("id", "ood")),
    ]
    return [_shown(one, other, epoch, parts) for epoch, parts in asked]


def _shown(one: Mapping[Cell, Result], other: Mapping[Cell, Result], epoch: Epoch, parts: Sequence[str]) -> str:
    found = gain(one, other, epoch=epoch, parts=parts)
    if found is None:
        return ""
    text = f"{1000 * found.mean:+.1f} ± {1000 * found.half_width:.1f}"
    return f"**{text}**" if found.is_beyond_chance else text
