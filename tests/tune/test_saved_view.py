"""MLflow keeps a view of a study's trials: its own tag for it is no interface, so all that we write of it is here."""

import base64
import json
import shutil
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.tune.made_study import made_study
from tests.tune.test_tracking import client
from tests.tune.test_tracking import empty_database as empty_database
from tune.tracking.desired_run import PARENT, DesiredRun
from tune.tracking.mlflow_writer import MlflowWriter
from tune.tracking.saved_view import TAG, find_views, view_key, view_tags, views_of
from tune.tracking.study_summary import REPORT
from tune.tracking.syncing import sync
from tune.tracking.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

FULL = ("targets", "lr", "n_blocks", "dropout", "rank", "adapter")


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"


def state_of(tag: str) -> dict[str, Any]:
    header, _, packed = json.loads(tag)["state"].partition(";")
    assert header == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def test_the_table_shows_score_adapter_rank_blocks_and_rate_first_of_this_studys_trials_best_first() -> None:
    state = state_of(view_tags("my study", FULL, 0)[TAG + view_key("my study", "TABLE")])
    assert state["searchFilter"] == "tags.`hpo.study` = 'my study' and tags.kind = 'trial'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`score`", True)
    first = ["metrics.`score`", "params.`adapter`", "params.`rank`", "params.`n_blocks`", "params.`lr`"]
    assert state["selectedColumns"][:5] == first
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])
    assert all(len(tag) < 5000 for tag in view_tags("my study", FULL, 0).values())  # what older servers take


def test_the_charts_draw_score_over_epochs_and_the_parameters_beside_it() -> None:
    charts = state_of(view_tags("s", FULL, 0)[TAG + view_key("s", "CHART")])["compareRunCharts"]
    assert [chart.get("metricKey") for chart in charts if chart["type"] == "LINE"] == ["score", "score/all"]
    (coordinates,) = [chart for chart in charts if chart["type"] == "PARALLEL"]
    assert set(coordinates["selectedParams"]) == set(FULL)


@pytest.mark.seconds
def test_a_study_keeps_its_views_once_and_is_found_by_its_address(uri: str) -> None:
    entries = made_study(4)
    tracker = Tracker(uri, "beetles", study_id="made", flush_seconds=0.02)
    for entry in entries:
        tracker.handle(entry)
    status = tracker.close(60)
    assert not status.message
    tags = client(uri).get_experiment_by_name("beetles").tags
    assert {name for name in tags if name.startswith(TAG)} == {TAG + view_key("made", m) for m in ("TABLE", "CHART")}
    views = status.views
    assert views is not None
    assert views == find_views(client(uri), "beetles", "made")
    for address, mode in ((views.table, "TABLE"), (views.charts, "CHART")):
        assert f"&compareRunsMode={mode}&viewStateShareKey={view_key('made', mode)}" in address
        assert f"({address})" in client(uri).get_run(status.parent_run_id).data.tags["mlflow.note.content"]
    assert sync(entries, uri, "beetles").n_requests == 2
    assert find_views(client(uri), "beetles", "another") is None
    assert find_views(client(uri), "nowhere", "made") is None


@pytest.mark.seconds
def test_where_mlflow_refuses_a_view_the_address_asks_for_the_same_runs_without_it(uri: str) -> None:
    writer = MlflowWriter(uri, "beetles", study_id="o'made")
    parent = DesiredRun(key=PARENT, name="o'made", start_ms=1, parent=None, views={"//no name": "view"})
    parent.tags = {"hpo.study": "o'made"}
    writer.bring(parent)
    assert not writer.keeps_views
    views = find_views(client(uri), "beetles", "o'made")
    assert views == views_of(str(writer.experiment_id), "o'made", are_kept=False)
    for address, mode in ((views.table, "TABLE"), (views.charts, "CHART")):
        asked = parse_qs(urlsplit(f"http://h/?{address.partition('?')[2]}").query)
        assert asked["compareRunsMode"] == [mode]
        assert asked["searchFilter"] == ["tags.`hpo.study` = \"o'made\" and tags.kind = 'trial'"]
        assert (asked["orderByKey"], asked["orderByAsc"]) == (["metrics.`score`"], ["true"])


def test_a_server_that_went_away_while_it_took_the_views_gets_them_when_it_is_back(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MlflowWriter(uri, "beetles", study_id="made")
    parent = DesiredRun(key=PARENT, name="made", start_ms=1, parent=None, views=view_tags("made", FULL, 0))
    parent.tags = {"hpo.study": "made"}

    def is_away(*_: object, **__: object) -> None:
        raise ConnectionError("nobody answers")

    with monkeypatch.context() as away:
        for method in ("set_experiment_tag", "get_run"):
            away.setattr(writer._client, method, is_away)
        with pytest.raises(ConnectionError):
            writer.bring(parent)
    writer.bring(parent)
    assert writer.keeps_views
    assert find_views(client(uri), "beetles", "made") == views_of(str(writer.experiment_id), "made", are_kept=True)


def test_the_report_is_kept_with_the_study_and_named_in_its_description(uri: str) -> None:
    entries = made_study(4)
    tracker = Tracker(uri, "beetles", study_id="made", flush_seconds=0.02)
    for entry in entries:
        tracker.handle(entry)
    tracker.attach(REPORT, "<p>page</p>")
    assert not tracker.close(60).message
    report = sync(entries, uri, "beetles", files={REPORT: "<p>page</p>"})
    assert (report.n_metrics, report.n_requests) == (0, 2)
    run_id = str(report.parent_run_id)
    note = client(uri).get_run(run_id).data.tags["mlflow.note.content"]
    assert Path(client(uri).download_artifacts(run_id, REPORT)).read_text() == "<p>page</p>"
    assert f"[report.html](#/experiments/{report.experiment_id}/runs/{run_id}/artifacts/report.html)" in note
