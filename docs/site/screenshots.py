"""Make the pictures of docs/images/ anew: of a study that is there, or of one that is searched for them.

python -m docs.site.screenshots [STUDY [--tracking-uri URI]]
"""

import io
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from docs.site.browsing import browser, open_charts, open_table, served
from docs.site.terminal import terminal_picture
from tune.journal.entries import study_of
from tune.journal.journal import read_entries
from tune.tracking.saved_view import view_fragment

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).resolve().parents[1] / "images"
WIDTH, HEIGHT = 1440, 860
COLOURS = 96
COMMAND = "sentinel-tune search"
MOST_BYTES = 200_000
IN_THE_WAY = ("mlflow.assistant.chat_panel.close", "mlflow.experiment_page.shared_view.dismiss",
              "mlflow_header.toggle_sidebar_button")  # fmt: skip
SETTLED_MS = 3000


def main(given: list[str]) -> None:
    """Search unless a study is given, then take every picture."""
    with tempfile.TemporaryDirectory() as scratch:
        study, *tracking = given or [f"{scratch}/beetles", "--tracking-uri", f"sqlite:///{scratch}/mlflow.db"]
        if not given:
            subprocess.run([sys.executable, "-m", "tune", "search", "--study", study, *tracking], check=True)
        (FOLDER / "terminal.svg").write_text(terminal_picture(read_entries(Path(study)), COMMAND), encoding="utf-8")
        page = Path(scratch) / "report.html"
        subprocess.run([sys.executable, "-m", "tune", "report", study, "--output", str(page)], check=True)
        with browser(WIDTH, HEIGHT) as shown, served(study, *tracking) as address:
            shown.goto(page.as_uri())
            save("report", shown.screenshot())
            open_table(shown, address)
            save("mlflow-table", cleared(shown))
            open_charts(shown, address_of_charts(address, study))
            save("mlflow-charts", cleared(shown))


def address_of_charts(table: str, study: str) -> str:
    """Of the study's charts, from that of its table."""
    server, _, rest = table.partition("#")
    experiment = re.findall(r"experiments/([0-9]+)", rest)[0]
    return server + view_fragment(experiment, str(study_of(read_entries(Path(study))).study_id), "CHART", is_kept=True)


def cleared(page: "Page") -> bytes:
    """The page without what MLflow shows beside it."""
    for name in IN_THE_WAY:
        button = page.locator(f"[data-component-id='{name}']").first
        if button.count():
            button.click()
    page.wait_for_timeout(SETTLED_MS)
    return page.screenshot()


def save(name: str, shot: bytes) -> None:
    """A picture of few colours, which takes little room."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    picture.save(out, format="png", optimize=True)
    if len(out.getvalue()) > MOST_BYTES:
        raise SystemExit(
            f"`docs/images/{name}.png` must take at most {MOST_BYTES} bytes, but takes {len(out.getvalue())}"
        )
    (FOLDER / f"{name}.png").write_bytes(out.getvalue())


if __name__ == "__main__":
    main(sys.argv[1:])
