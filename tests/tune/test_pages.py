"""What a person sees in a browser: MLflow's pages of a study, and the report's."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tune.made_study import made_study, write_study
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.journal import read_entries
from tune.tracking.study_summary import run_name
from tune.tracking.syncing import sync

pytestmark = pytest.mark.browser

PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1700, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made", made_study(12))


@pytest.fixture(scope="module")
def address(study: Path) -> Iterator[str]:
    """Of the study's table, as `ui` prints it; another study lies beside it."""
    uri = f"sqlite:///{study.parent}/mlflow.db"
    sync(read_entries(study), uri, "sentinel-tune")
    sync(made_study(3, study_id="another"), uri, "sentinel-tune")
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "tune", "ui", str(study), "--tracking-uri", uri]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)


def ranked(study: Path) -> list[TrialRecord]:
    trials = Standings.of(read_entries(study)).trials.values()
    return sorted(trials, key=lambda trial: (trial.best_score, trial.number))


def test_the_printed_address_shows_this_studys_trials_best_first_with_what_varies(page, address, study):
    page.goto(address)
    names = page.locator("[role=gridcell][col-id='attributes.`Run Name`']")
    names.nth(11).wait_for()
    page.wait_for_function("document.querySelectorAll('[col-id=\"metrics.`score`\"]').length > 12")
    assert [name.splitlines()[-1] for name in names.all_inner_texts()] == [run_name(trial) for trial in ranked(study)]
    width = page.viewport_size["width"]
    for column in ("metrics.`score`", "params.`adapter`", "params.`rank`", "params.`n_blocks`", "params.`lr`"):
        box = page.locator(f".ag-header-cell[col-id='{column}']").bounding_box()
        assert box is not None, column
        assert box["x"] + box["width"] < width, column


def test_the_studys_own_run_draws_the_table_of_its_description(page, address, study):
    page.goto("about:blank")
    page.goto(address.partition("&viewStateShareKey")[0].replace("compareRunsMode=TABLE", "searchFilter="))
    page.get_by_role("link", name="made", exact=True).first.click()
    page.get_by_text("Show more").click()
    page.locator("td", has_text=run_name(ranked(study)[0])).first.wait_for()
    assert page.locator("td", has_text="floor: constant").count() == 1


def test_the_report_is_drawn_without_an_error_or_a_request(cli, page, study, tmp_path):
    file = tmp_path / "report.html"
    assert cli("report", study, "--output", file).status == 0
    asked, said = [], []
    page.goto("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    boxes = [figure.bounding_box() for figure in page.locator("svg").all()]
    assert len(boxes) == file.read_text(encoding="utf-8").count("<svg") >= 5
    assert all(box is not None and box["width"] > 100 and box["height"] > 30 for box in boxes)
    assert (asked, said) == ([file.as_uri()], [])
