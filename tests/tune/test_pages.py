"""What a person sees in a browser: MLflow's pages of a study, and the report's."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.site.browsing import browser, open_charts, open_table, served
from tests.tune.cut_off import DESK, PHONE, cut_off
from tests.tune.made_study import made_study, write_study
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.journal import read_entries
from tune.tracking.saved_view import view_fragment
from tune.tracking.study_summary import run_name
from tune.tracking.syncing import sync

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with browser(1700, 1000) as page:
        yield page


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made", made_study(12))


@pytest.fixture(scope="module")
def address(study: Path) -> Iterator[str]:
    """Of the study's table, as `ui` prints it; another study lies beside it."""
    uri = f"sqlite:///{study.parent}/mlflow.db"
    sync(read_entries(study), uri, "sentinel-tune")
    sync(made_study(3, study_id="another"), uri, "sentinel-tune")
    with served(str(study), "--tracking-uri", uri) as address:
        yield address


def ranked(study: Path) -> list[TrialRecord]:
    trials = Standings.of(read_entries(study)).trials.values()
    return sorted(trials, key=lambda trial: (trial.best_score, trial.number))


def test_the_printed_address_shows_this_studys_trials_best_first_with_what_varies(page, address, study):
    names = open_table(page, address)
    page.wait_for_function("document.querySelectorAll('[col-id=\"metrics.`score`\"]').length > 12")
    assert [name.splitlines()[-1] for name in names.all_inner_texts()] == [run_name(trial) for trial in ranked(study)]
    width = page.viewport_size["width"]
    for column in ("metrics.`score`", "params.`adapter`", "params.`rank`", "params.`n_blocks`", "params.`lr`"):
        box = page.locator(f".ag-header-cell[col-id='{column}']").bounding_box()
        assert box is not None, column
        assert box["x"] + box["width"] < width, column


def test_the_charts_draw_score_over_epochs_of_the_best_ten_and_what_was_searched(page, address, study):
    experiment = re.search(r"experiments/(\d+)", address)
    assert experiment is not None
    charts = address.partition("#")[0] + view_fragment(experiment[1], "made", "CHART", is_kept=True)
    cards = open_charts(page, charts)
    drawn, lines = ranked(study)[:10], cards.nth(0).locator(".trace.scatter")
    lines.nth(2 * len(drawn) - 1).wait_for(state="attached")  # each is drawn twice: a line and its only point
    assert cards.nth(0).inner_text().splitlines()[0] == "score"
    assert "Step" in cards.nth(0).locator(".xtitle").text_content()
    epochs = [line.locator(".points path").count() for line in lines.all()[::2]]
    assert epochs == [trial.epoch for trial in drawn]
    axes = cards.nth(2).text_content()
    assert all(name in axes for name in ("adapter", "rank", "n_blocks", "lr", "feature_noise", "score"))


def test_comparing_three_runs_shows_parallel_coordinates_of_what_differs(page, address, study):
    open_table(page, address)
    for row in range(3):
        page.locator(f".ag-row[row-index='{row}'] input[type=checkbox]").first.check(force=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Comparing 3 Runs from 1 Experiment").wait_for()
    page.locator(".parcoords .axis-title").first.wait_for()
    axes = page.locator(".parcoords .axis-title").all_text_contents()
    assert {"adapter", "lr", "feature_noise", "score"} <= set(axes)
    for trial in ranked(study)[:3]:
        page.get_by_text(run_name(trial), exact=True).first.wait_for()


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


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_report_of_one_study_or_several_is_whole_in_a_narrow_window(cli, page, study, tmp_path, width):
    long_named = write_study(tmp_path / "a-study-with-quite-a-long-name-as-paths-have-them", made_study(60))
    for studies in ([long_named], [long_named, study]):
        file = tmp_path / "report.html"
        assert cli("report", *studies, "--output", file).status == 0
        assert cut_off(page, file, width=width) == []
