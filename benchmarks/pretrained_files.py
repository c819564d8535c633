"""The files of the pretrained built-in tower: half precision weights, their checksum, and the card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from trainable.frozen.shards import sha256_of
from trainable.frozen.tiny_weights import CHECKSUM_NAME, WEIGHTS_NAME

CARD_NAME = "README.md"

_CARD = """# sentinel-tiny: a small vision tower that has seen drawn beetles

The weights of `--backbone tiny`: a vision transformer of 6 blocks, width 128, for pictures of 64 pixels a side in
patches of 16; half precision in `{weights}` (names as open_clip has them). It stands in for a real backbone such
as BioCLIP 2, so that tails, adapters and rates can be tried in minutes without a download. **No photograph was
seen: it is of no use for real beetles.**

## What it was pretrained on

{n_pictures} pictures of {n_worlds} drawn worlds, {n_specimens} beetles each, every one drawn twice: at its own
place, and in the light and before the background of another. The worlds have seeds from 2^63 on, which no demo can
have (`draw_demo` refuses them), so no picture, site, event or species of a demo was seen.

Two aims: to tell the {species} species of all worlds apart, and to know a beetle again in its other drawing. No
label of drought (SPEI) was read. What drought does to a drawn beetle's looks is in the pictures, as it is in those
of the demo.

## How

`python -m benchmarks.pretrain_tiny`, which draws, trains and writes this card; `--probe` measures linear probes
beside the floors. The same pictures on every machine; the same weights on the same machine with the same torch and
number of threads.

| | |
|---|---|
{rows}

Licence: that of the project.
"""


def write_pretrained(folder: Path, state: Mapping[str, Tensor], made: Mapping[str, Any]) -> None:
    """Write all three files; made: name -> value of what the card's table tells.

    state: float32 weights by the tower's names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / WEIGHTS_NAME
    save_file({f"visual.{name}": value.half().contiguous() for name, value in state.items()}, weights)
    (folder / CHECKSUM_NAME).write_text(f"{sha256_of(weights)}  {WEIGHTS_NAME}\n", encoding="ascii")
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in made.items())
    card = _CARD.format(
        weights=WEIGHTS_NAME,
        n_pictures=2 * made["n_worlds"] * made["n_specimens"],
        rows=rows,
        **{name: made[name] for name in ("n_worlds", "n_specimens", "species")},
    )
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
