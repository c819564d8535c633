"""Views of MLflow's UI: a study's trials as a table, sorted by score, and as charts.

MLflow keeps a shared view as a tag of the experiment. How the tag is written is documented nowhere; it was read from
MLflow 3.17 and is written here alone. A UI that does not know it shows what the rest of the address asks for: the same
runs in the same order, with its own columns.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tune.tracking.desired_run import CHARTS_LINK, RUN_LINK, SCORE_SO_FAR, TABLE_LINK

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

TAG = "mlflow.sharedViewState."

FIRST_PARAMETERS = ("adapter", "rank", "n_blocks", "lr")
"""Shown before the others where a study varies them; a table without scrolling holds about eight columns."""

N_PARAMETERS = 8
N_DRAWN = 10
COLUMN_PIXELS = 90


@dataclass(frozen=True, slots=True)
class StudyViews:
    """What follows the server's address, to see a study's trials: as a table, and as charts."""

    table: str
    charts: str


def view_key(study_id: str, mode: str) -> str:
    """Name of a study's view, the same for ever, so that writing it again replaces it; mode: TABLE or CHART."""
    return hashlib.sha256(f"{study_id}\0{mode}".encode()).hexdigest()[:32]


def view_tags(study_id: str, parameters: Sequence[str], now_ms: int) -> dict[str, str]:
    """Tags of the experiment that hold a study's views; parameters: by importance or in the space's order."""
    ordered = [*(p for p in FIRST_PARAMETERS if p in parameters), *(p for p in parameters if p not in FIRST_PARAMETERS)]
    states = {
        "TABLE": _table(ordered[:N_PARAMETERS]),
        "CHART": _table(ordered[:N_PARAMETERS]) | _charts(ordered[:N_PARAMETERS]),
    }
    names = {"TABLE": f"{study_id}: trials by score", "CHART": f"{study_id}: charts"}
    return {
        TAG + view_key(study_id, mode): _packed(names[mode], _facets(study_id) | state, now_ms)
        for mode, state in states.items()
    }


def view_fragment(experiment_id: str, study_id: str, mode: str, *, is_kept: bool) -> str:
    """What follows the server's address: with the saved view, or without it where MLflow did not take it."""
    facets = _facets(study_id)
    query = {
        "workflowType": "machine_learning",  # else MLflow 3 opens its pages for language models
        "compareRunsMode": mode,
        "searchFilter": facets["searchFilter"],
        "orderByKey": facets["orderByKey"],
        "orderByAsc": "true",
    }
    if is_kept:
        query = {name: query[name] for name in ("workflowType", "compareRunsMode")}
        query["viewStateShareKey"] = view_key(study_id, mode)
    return f"#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def views_of(experiment_id: str, study_id: str, *, are_kept: bool) -> StudyViews:
    """Both of a study's views, as `view_fragment`."""
    table, charts = (view_fragment(experiment_id, study_id, mode, is_kept=are_kept) for mode in ("TABLE", "CHART"))
    return StudyViews(table, charts)


def find_views(client: "MlflowClient", experiment_name: str, study_id: str) -> StudyViews | None:
    """A study's views in what MLflow holds; None where it holds no run of the study.

    Raises: mlflow's exceptions.
    """
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        return None
    found = client.search_runs([experiment.experiment_id], f"tags.`hpo.study` = {_quoted(study_id)}", max_results=1)
    are_kept = all(TAG + view_key(study_id, mode) in experiment.tags for mode in ("TABLE", "CHART"))
    return views_of(experiment.experiment_id, study_id, are_kept=are_kept) if found else None


def linked(description: str, experiment_id: str, run_id: str, views: StudyViews) -> str:
    """A description of a study's run, with the addresses in their places."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}"
    for place, address in {RUN_LINK: page, TABLE_LINK: views.table, CHARTS_LINK: views.charts}.items():
        description = description.replace(place, address)
    return description


def _quoted(text: str) -> str:
    mark = '"' if "'" in text else "'"
    return f"{mark}{text}{mark}"


def _facets(study_id: str) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.`hpo.study` = {_quoted(study_id)} and tags.kind = 'trial'",
        "orderByKey": f"metrics.`{SCORE_SO_FAR}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }


def _table(parameters: Sequence[str]) -> dict[str, Any]:
    """Score and parameters right of the names: what a run's own columns say of time comes last."""
    shown = [f"metrics.`{SCORE_SO_FAR}`", *(f"params.`{name}`" for name in parameters), "tags.`status`"]
    order = ["0", "attributes.`Run Name`", *shown, "duration", "runDateAndNestInfo"]
    return {"selectedColumns": shown, "columnOrder": order, "columnWidths": dict.fromkeys(shown, COLUMN_PIXELS)}


def _charts(parameters: Sequence[str]) -> dict[str, Any]:
    section = "trials"
    shared = {"metricSectionId": section, "deleted": False, "isGenerated": False}
    lines = [
        {
            **shared, "type": "LINE", "uuid": f"line-{key}", "metricKey": key, "selectedMetricKeys": [key],
            "runsCountToCompare": N_DRAWN, "xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear",
            "lineSmoothness": 0, "useGlobalXaxisKey": False, "useGlobalLineSmoothing": False, "displayName": title,
            "range": {}, "yAxisKey": "metric", "yAxisExpressions": [], "ignoreOutliers": False,
            "selectedXAxisMetricKey": "",
        }
        for key, title in ((SCORE_SO_FAR, "best score so far over epochs"), ("score/all", "score over epochs"))
    ]  # fmt: skip
    coordinates = {
        **shared, "type": "PARALLEL", "uuid": "coordinates", "selectedParams": list(parameters),
        "selectedMetrics": [SCORE_SO_FAR], "showAllRuns": True, "runsCountToCompare": 100,
        "displayName": "parameters and score",
    }  # fmt: skip
    sections = [{"uuid": section, "name": "Trials", "display": True, "isReordered": False, "deleted": False,
                 "isGenerated": False}]  # fmt: skip
    return {
        "compareRunCharts": [*lines, coordinates],
        "compareRunSections": sections,
        "runsHiddenMode": "FIRST_10_RUNS",
        "isAccordionReordered": True,  # else the sections of all other metrics come first
        "hideEmptyCharts": False,
    }


def _packed(name: str, state: Mapping[str, Any], now_ms: int) -> str:
    text = json.dumps(state, separators=(",", ":"))
    packed = "deflate;" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return json.dumps({"name": name, "createdAt": now_ms, "updatedAt": now_ms, "state": packed})
