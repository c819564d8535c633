"""Pages as a person sees them: Chromium without a window, and MLflow's server of a study."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PATIENCE_MS = 120_000
NAMES = "[role=gridcell][col-id='attributes.`Run Name`']"
SCORES = ".ag-cell[col-id='metrics.`score`']"


@contextmanager
def browser(width: int, height: int) -> Iterator["Page"]:
    """A page of so many pixels."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        chromium.close()


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that `sentinel-tune ui` prints, while it serves; words: what it is given."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "tune", "ui", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()  # not SIGINT, which what a shell or `nohup` runs in the background ignores


def open_table(page: "Page", address: str) -> "Locator":
    """Open MLflow's table of a study afresh; returns its cells of names, there once scores are, too."""
    page.goto("about:blank")  # an address that differs behind # alone would load nothing
    page.goto(address)
    page.locator(SCORES).first.wait_for()
    return page.locator(NAMES)


def open_charts(page: "Page", address: str) -> "Locator":
    """Open MLflow's charts of a study afresh; address: that of its charts. Returns the cards, drawn."""
    page.goto("about:blank")
    page.goto(address)
    page.locator(".parcoords").first.wait_for()
    return page.get_by_test_id("experiment-view-compare-runs-card")
