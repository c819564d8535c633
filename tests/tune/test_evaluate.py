"""`evaluate`: exported models on labelled data, in numbers, pictures and pages."""

import io
import json
import re
import shlex
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from docs.site.browsing import browser
from tests.beetles import TARGETS
from tests.trainable.rounding import TINY_TERMS, predicted_in_float64, rounding_bound
from tests.tune.cut_off import DESK, PHONE, cut_off
from trainable.data.specimens import load_specimens
from trainable.export.facts import ModelFacts
from trainable.export.standalone import ExportedModel, config_digest, read_config
from trainable.scoring.crps import crps_normal
from trainable.scoring.evaluation import evaluate_forecasts
from tune.cli import main
from tune.evaluation.comparison_page import comparison_page
from tune.evaluation.drawn import figures_of
from tune.evaluation.events import ChosenEvents, choose_events, leak_of, training_of
from tune.evaluation.figures import (
    calibration_curves,
    predicted_against_observed,
    residuals_by_group,
    score_comparison,
    worst_events,
)
from tune.evaluation.files import as_json
from tune.evaluation.forecasting import forecast_events
from tune.evaluation.model_reports import compare, make_report, read_source, scored_data
from tune.evaluation.page import report_page
from tune.evaluation.reports import ModelReport, model_names, scores_with_intervals
from tune.evaluation.text import comparison_text, report_text
from tune.tracking.client import open_client

DEMO = "demo:120"
HOSTILE = "<script src='http://evil.example/x.js'></script> $\\frac{ \"甲虫\" & 'b"


@pytest.fixture(scope="module")
def model_folder(trained_model, tmp_path_factory) -> Path:
    """A model that some sites and domains were held out of; what evaluating adds to it may stay."""
    return shutil.copytree(trained_model, tmp_path_factory.mktemp("models") / "default" / "model")


@pytest.fixture(scope="module")
def official_model(demo_cache, tmp_path_factory) -> Path:
    """A model trained on the dataset's own train split; not to be changed."""
    assert demo_cache.is_dir()
    folder = tmp_path_factory.mktemp("official") / "leaky"
    words = ["--data", DEMO, "--epochs", "1", "--workers", "1", "--holdout", "official", "--out", str(folder)]
    assert main(["train", "--variant", "ft_did", *words]) == 0
    return folder / "model"


@pytest.fixture
def evaluate(cli, demo_cache, tmp_path):
    """`evaluate` on the small demo, on one CPU, into `tmp_path / "out"`, not tracked unless asked for."""

    def run(*argv):
        options = {"--data": DEMO, "--workers": 1, "--cache": demo_cache, "--out": tmp_path / "out"}
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        quiet = [] if "--tracking-uri" in argv else ["--no-track"]
        return cli("evaluate", *argv, *words, *quiet)

    return run


@pytest.fixture(scope="module")
def report_on(model_folder, demo_cache) -> Callable[[str], ModelReport]:
    """Reports of the trained model by which events it is scored on, "trained on" among them."""

    @cache
    def make(which: str) -> ModelReport:
        specimens = load_specimens(DEMO, cache_dir=demo_cache, n_processes=1)
        source = read_source("beetles", str(model_folder), model_folder)
        training = training_of(source.facts, specimens)
        if which == "trained on":
            chosen = ChosenEvents(which="all", rows=training.rows, about=which)
        else:
            chosen = choose_events(which, specimens, {"beetles": training}, {"beetles": source.facts})
        model = ExportedModel.load(model_folder)
        forecasts = forecast_events(model, specimens, chosen.rows, progress=lambda *_: None)
        return make_report(source, forecasts, specimens=specimens, chosen=chosen, training=training)

    return make


@pytest.fixture(scope="module")
def report(report_on) -> ModelReport:
    """Of the trained model on its held-out events."""
    return report_on("held-out")


def renamed(report: ModelReport, site: str) -> ModelReport:
    """The same with another name for the site of its worst event."""
    sites = report.forecasts.sites.astype(object)
    sites[sites == report.worst[0].site] = site
    forecasts = replace(report.forecasts, sites=sites.astype(str))
    worst = [replace(event, site=site) if event.site == report.worst[0].site else event for event in report.worst]
    return replace(report, forecasts=forecasts, evaluation=evaluate_forecasts(forecasts), worst=worst)


def figures(report: ModelReport) -> dict[str, bytes]:
    return {
        "predicted": predicted_against_observed(report.forecasts),
        "calibration": calibration_curves(report.evaluation.coverage),
        "residuals": residuals_by_group(report.forecasts),
        "worst": worst_events(report.worst),
    }


# Numbers


@pytest.mark.seconds
def test_the_score_is_that_of_the_exports_own_forecasts(evaluate, model_folder, demo_cache):
    result = evaluate(model_folder, "--json").result
    (model,) = result["models"]

    facts = ModelFacts.from_dict(read_config(model_folder)["facts"])
    specimens = load_specimens(DEMO, cache_dir=demo_cache, n_processes=1)
    frame = specimens.frame
    is_ood = frame["domain_id"].isin(facts.held_out_domains)
    held_out = frame[is_ood | frame["site_id"].isin(facts.held_out_sites)]
    export = ExportedModel.load(model_folder)
    pixels = export.pixels(specimens.images.read(held_out.index.tolist()))
    predictions = predicted_in_float64(export, pixels, held_out["domain_id"].tolist())
    crps: dict[str, list[np.ndarray]] = {"id": [], "ood": []}
    for _, rows in held_out.groupby("event_id"):
        mu = predictions[held_out.index.get_indexer(rows.index)].mean(axis=0)
        part = "ood" if is_ood[rows.index[0]] else "id"
        sigma = export.config["sigmas"]["unknown" if part == "ood" else "known"]
        crps[part].append(crps_normal(rows[list(TARGETS)].to_numpy()[0], mu, sigma))
    six = [np.mean(values, axis=0) for values in crps.values()]
    room = rounding_bound(TINY_TERMS) * np.abs(predictions).max()  # CRPS moves by no more than its mu
    assert model["score"] == pytest.approx(np.sqrt(np.mean(np.square(six))), abs=room)
    assert [model["parts"]["ood"][target] for target in TARGETS] == pytest.approx(list(six[1]), abs=room)
    assert result["events"]["which"] == "held-out"
    assert result["events"]["n_specimens"] == len(held_out)
    # what training scored with the same sigmas fitted anew without each site
    assert model["score"] == pytest.approx(facts.scores["score/all"], rel=0.1)
    assert model["r2"]["id"]["SPEI_1y"] == pytest.approx(facts.scores["r2_id/SPEI_1y"], abs=1e-4)
    assert model["floors"] == pytest.approx({name: floor["score/all"] for name, floor in facts.floors.items()})


@pytest.mark.seconds
def test_a_report_goes_into_the_model_and_results_beside_it_in_the_seed_systems_format(cli, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "copied" / "model")
    ended = cli("evaluate", folder, "--data", DEMO, "--workers", 1, "--no-track", "--json")
    (model,) = ended.result["models"]

    results = json.loads((folder / "results.json").read_text())
    assert ended.status == 0
    assert list(results) == ["SPEI_30d", "SPEI_1y", "SPEI_2y"]
    for target, values in results.items():
        assert list(values) == ["MAE", "r2"]
        assert values == {"MAE": model["mae"]["all"][target], "r2": model["r2"]["all"][target]}
    assert (model["model"], model["name"]) == (str(folder), "copied")
    assert model["results"] == str(folder / "results.json")
    out = folder / "evaluation"
    assert sorted(path.name for path in out.iterdir()) == ["figures", "report.html", "report.json"]
    names = ["calibration.png", "predicted.png", "residuals.png", "worst.png"]
    assert sorted(path.name for path in (out / "figures").iterdir()) == names
    for name in names:
        with Image.open(out / "figures" / name) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert min(picture.size) > 300
    assert ExportedModel.load(folder).config == read_config(model_folder)  # still whole


def test_the_report_holds_every_figure(report):
    written = json.loads(as_json(report.to_dict()))

    assert {"parts", "groups", "domains", "sites", "coverage", "intervals", "floors", "worst_events"} < set(written)
    assert written["data"]["fingerprint"] == written["model"]["data_fingerprint"]
    assert written["score"] == report.evaluation.score
    assert set(written["groups"]["id"]["targets"]["SPEI_1y"]) == {"crps", "r2", "mae", "rmse", "bias"}
    assert [point["nominal"] for point in written["coverage"]["ood"]["SPEI_2y"]][9::8] == [0.5, 0.9]


def test_worst_events_are_the_worst_and_shown_with_their_specimens(report):
    costs = report.forecasts.crps.mean(axis=1)
    order = np.argsort(-costs)[:6]

    assert [event.event_id for event in report.worst] == report.forecasts.event_ids[order].tolist()
    assert [event.crps for event in report.worst] == pytest.approx(costs[order].tolist())
    for event in report.worst:
        shades = np.asarray(event.thumbnails).reshape(-1, 3).std(axis=0)
        assert shades.min() > 1  # a picture, no blank paper
        assert set(event.observed) == set(event.mu) == set(event.sigma) == set(TARGETS)


# Which events, and how honest they are


def test_specimens_that_were_trained_on_are_told(report, demo_cache):
    specimens = load_specimens(DEMO, cache_dir=demo_cache, n_processes=1)
    training, facts = training_of(report.facts, specimens), report.facts
    chosen = choose_events("all", specimens, {"beetles": training}, {"beetles": facts})
    leak = leak_of("beetles", training, chosen, specimens.frame)
    (remembers, elsewhere) = replace(report, data=scored_data(specimens, chosen), leak=leak).warnings()

    assert (len(chosen.rows), leak.n_specimens, leak.n_events) == (120, facts.n_specimens, facts.n_events)
    assert remembers.startswith(f"{facts.n_specimens} of the 120 specimens scored here were trained on by beetles")
    assert f"beetles scored {facts.scores['score/all']:.4f}" in elsewhere
    assert "chosen on these held-out events" in report.warnings()[0]


@pytest.mark.seconds
@pytest.mark.parametrize(("which", "name"), [("held-out", "ID"), ("all", "known"), ("trained on", "trained on")])
def test_id_is_said_of_held_out_events_alone(report_on, which, name):
    report = report_on(which)
    text, page = report_text(report), report_page(report, figures_of(report))
    beside = compare([report, replace(report, name="copy")], report.data)
    compared = comparison_text(beside) + comparison_page(beside, b"")

    assert f"score, {name}  " in text
    assert f"SPEI_1y, {name}  " in text
    assert f'<td class="text">{name}</td>' in page
    assert name in compared
    for shown in (text, page, compared):
        assert bool(re.search(r"\bID\b", shown)) == (name == "ID")
    assert report.to_dict()["part_names"]["id"] == name
    assert set(report.to_dict()["groups"]) >= {"all", "id"}  # the keys stay


def test_models_of_which_one_was_trained_on_the_events_do_not_call_them_id(report_on, report):
    remembers = replace(report, name="other", leak=report_on("trained on").leak)
    assert compare([report, remembers], report.data).part_names["id"] == "known"


@pytest.mark.seconds
def test_a_registered_model_trained_on_everything_is_scored_on_all_and_says_so(
    evaluate, retrained, tracking_uri, tmp_path, monkeypatch
):
    assert retrained.is_dir()
    monkeypatch.chdir(tmp_path)
    uri = "models:/beetles-of-tests@champion"
    words = ["--data", DEMO, "--workers", "1", "--no-track", "--tracking-uri", tracking_uri]
    assert main(["evaluate", uri, *words]) == 0

    out = tmp_path / "evaluations" / "beetles-of-tests-champion"
    written = json.loads((out / "report.json").read_text())
    assert (written["data"]["which"], written["model"]["source"]) == ("all", uri)
    assert written["warnings"][0].startswith("all specimens scored here were trained on")
    assert "in its confirmation, on held-out events" in written["warnings"][1]
    assert list(json.loads((out / "results.json").read_text())) == list(TARGETS)
    refused = evaluate(uri, "--events", "held-out", "--tracking-uri", tracking_uri)
    assert refused.status == 2
    assert "was trained on all of its data" in refused.stderr


@pytest.mark.seconds
@pytest.mark.parametrize("events", ["all", "validation"])
def test_of_a_model_exported_before_it_kept_what_it_was_trained_on_it_is_said_that_it_cannot_be_known(
    evaluate, model_folder, tmp_path, events
):
    ended = evaluate(without_record(model_folder, tmp_path / "old"), "--data", "demo:150", "--events", events, "--json")
    assert ended.status == 0
    assert "cannot be known: it has no training_data.json" in ended.result["warnings"][0]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["leak"]["n_specimens"] is None


@pytest.mark.seconds
def test_of_other_data_it_is_known_which_specimens_were_trained_on(evaluate, model_folder, demo_cache, tmp_path):
    own = load_specimens(DEMO, cache_dir=demo_cache, n_processes=1)
    training = training_of(ModelFacts.from_dict(read_config(model_folder)["facts"]), own)
    more = more_than(DEMO, demo_cache, tmp_path / "more")
    ended = evaluate(model_folder, "--data", more, "--events", "all", "--json")

    trained_events = own.frame["event_id"].iloc[training.rows].nunique()
    leak = json.loads((tmp_path / "out" / "report.json").read_text())["leak"]
    assert ended.status == 0, ended.stderr
    assert (leak["n_specimens"], leak["n_events"]) == (len(training.rows), trained_events)
    assert ended.result["events"]["n_specimens"] == len(own.frame) + 1
    assert ended.result["warnings"][0].startswith(
        f"{len(training.rows)} of the {len(own.frame) + 1} specimens scored here were trained on by"
    )


@pytest.mark.seconds
def test_events_are_known_by_site_name_and_labels_where_their_photographs_were_saved_anew(
    evaluate, model_folder, demo_cache, tmp_path
):
    anew = more_than(DEMO, demo_cache, tmp_path / "anew", same_photographs=False)
    ended = evaluate(model_folder, "--data", anew, "--events", "all", "--json")

    facts = read_config(model_folder)["facts"]
    assert f"{facts['n_events']} of" in ended.result["warnings"][0]
    assert "by site, event and labels" in ended.result["warnings"][0]


@pytest.mark.seconds
def test_of_data_of_another_world_it_is_told_that_nothing_was_trained_on(evaluate, model_folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(beetles(tmp_path / "mine"), other)
    (other / "5.png").write_bytes((other / "6.png").read_bytes())
    ended = evaluate(model_folder, "--data", other)

    line = "was trained on none of these photographs, events and sites, as its training_data.json tells"
    leak = json.loads((tmp_path / "out" / "report.json").read_text())["leak"]
    assert line in " ".join(ended.stdout.split())
    assert line in (tmp_path / "out" / "report.html").read_text()
    assert (leak["n_specimens"], leak["n_events"], leak["n_sites"], leak["warning"]) == (0, 0, 0, None)


def test_what_was_trained_on_is_kept_as_digests_without_names(model_folder, demo_cache):
    kept = json.loads((model_folder / "training_data.json").read_text())
    specimens = load_specimens(DEMO, cache_dir=demo_cache, n_processes=1)
    rows = training_of(ModelFacts.from_dict(read_config(model_folder)["facts"]), specimens).rows

    assert set(kept) == {"photographs", "events", "sites", "checksum"}
    assert len(kept["photographs"]) == len({specimens.digests[row] for row in rows})
    assert len(kept["sites"]) == specimens.frame["site_id"].iloc[rows].nunique()
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for of in ("photographs", "events", "sites") for digest in kept[of])
    assert "training_data.json" in read_config(model_folder)["sha256"]


@pytest.mark.seconds
def test_with_out_nothing_changes_beside_the_model(evaluate, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "own" / "model")
    (folder / "results.json").write_text("of before")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (model,) = evaluate(folder, "--json").result["models"]

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert model["results"] == str(tmp_path / "out" / "results.json")
    assert list(json.loads((tmp_path / "out" / "results.json").read_text())) == list(TARGETS)


@pytest.mark.seconds
def test_on_other_data_the_validation_split_is_scored_without_floors(evaluate, model_folder, tmp_path):
    ended = evaluate(model_folder, "--data", "demo:150", "--json")
    (model,) = ended.result["models"]

    assert ended.result["events"]["which"] == "validation"
    assert model["floors"] is None
    assert "Floors are missing: the model was trained on other data" in (tmp_path / "out" / "report.html").read_text()
    refused = evaluate(model_folder, "--data", "demo:150", "--events", "held-out")
    assert refused.status == 2
    assert "error: `--events held-out` needs the data that" in refused.stderr


# Several models


@pytest.mark.seconds
def test_two_models_stand_side_by_side_on_events_held_out_of_both_and_the_leaky_one_is_told(
    evaluate, model_folder, official_model, tmp_path
):
    ended = evaluate(model_folder, official_model, "--json")
    result = ended.result

    one, other = result["models"]
    compared = result["comparison"]["models"]
    assert (one["name"], other["name"]) == ("default", "leaky")
    assert compared["default"]["differences"] is None
    total = compared["leaky"]["differences"]["score/all"]
    assert total["mean"] == pytest.approx(compared["leaky"]["score"] - compared["default"]["score"])
    assert total["low"] <= total["mean"] <= total["high"]
    assert compared["leaky"]["verdict"] in ("better", "worse", "no difference beyond noise")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["models"] == compared
    assert result["comparison"]["html"] == str(tmp_path / "out" / "comparison.html")
    for name in ("default", "leaky"):
        assert (tmp_path / "out" / name / "report.html").is_file()
    assert "held out of the training of every model" in result["events"]["about"]
    assert any("know different domains" in note for note in result["comparison"]["notes"])
    (leaky,) = [warning for warning in result["warnings"] if warning.startswith("official split")]
    assert re.fullmatch(
        r".*: \d+ of \d+ held-out events are in leaky's train side too: leaky, .* not transfer.*", leaky
    )
    assert f"warning: {leaky}" in ended.stderr
    assert leaky.replace("'", "&#x27;") in (tmp_path / "out" / "leaky" / "report.html").read_text()
    leak = json.loads((tmp_path / "out" / "leaky" / "report.json").read_text())["leak"]
    assert leak["n_events"] > leak["n_specimens"] == 0


def test_a_model_does_not_differ_from_its_copy(report):
    compared = compare([report, replace(report, name="copy")], report.data)

    total = compared.differences["copy"]["score/all"]
    assert (total.mean, total.low, total.high) == (0.0, 0.0, 0.0)
    assert compared.verdict("copy") == "no difference beyond noise"


def test_names_are_short_unique_and_fit_for_files():
    specs = ["trained/lora/model", "models:/beetles@champion", "models:/beetles/3", "runs:/12ab/model", "x/lora", "a b"]
    assert model_names(specs) == ["lora", "beetles-champion", "beetles-3", "12ab", "lora-2", "a-b"]


# Pages and text


class Checker(HTMLParser):
    """Notes what a page asks for, and that every element is closed."""

    VOID = ("meta", "img", "link", "br", "hr", "input")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.resources: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.resources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.mark.seconds
def test_the_page_stands_alone_and_escapes_what_the_data_say(report):
    hostile = renamed(report, HOSTILE)
    page = report_page(hostile, figures(hostile))
    seen = read_page(page)

    assert seen.seen.count("img") == 4
    assert all(source.startswith("data:image/png;base64,") for source in seen.resources)
    assert "script" not in seen.seen
    assert HOSTILE in seen.text  # as text, whole
    assert not re.search(r"url\(|@import", page)
    assert page.startswith("<!DOCTYPE html>")
    for title in ("Score and floors", "Targets", "Calibration", "Domains", "Sites", "Worst events"):
        assert title in seen.text
    assert "whatever the photograph shows" not in seen.text


@pytest.mark.seconds
def test_the_page_says_what_of_a_forecast_is_no_networks(report):
    with_floors = replace(report, facts=replace(report.facts, floor_shares={"domain_mean": 0.25}))

    page = report_page(with_floors, figures(with_floors))
    assert "25 % of the floor domain_mean, whatever the photograph shows" in read_page(page).text


def test_the_comparison_page_stands_alone_too(report):
    comparison = compare([replace(report, name=HOSTILE), replace(report, name="$copy")], report.data)
    scores = {name: scores_with_intervals(evaluation) for name, evaluation in comparison.evaluations.items()}
    seen = read_page(comparison_page(comparison, score_comparison(scores, comparison.differences)))

    assert all(source.startswith("data:image/png;base64,") for source in seen.resources)
    assert "script" not in seen.seen
    assert HOSTILE in seen.text


@pytest.mark.browser
def test_the_pages_are_whole_in_a_narrow_window(report, tmp_path):
    long = replace(report, name="a-model-with-a-very-long-name-" * 4)
    comparison = compare([long, report], report.data)
    scores = {name: scores_with_intervals(evaluation) for name, evaluation in comparison.evaluations.items()}
    pages = {
        "report.html": report_page(long, figures(long)),
        "comparison.html": comparison_page(comparison, score_comparison(scores, comparison.differences)),
    }
    with browser(DESK, 900) as page:
        for name, text in pages.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
            for width in (PHONE, DESK):
                assert cut_off(page, tmp_path / name, width=width) == [], (name, width)


def test_text_keeps_to_120_columns(report):
    long = replace(report, name="a-model-with-a-very-long-name-" * 4)
    beside = comparison_text(compare([long, report], report.data))
    text = report_text(long) + beside

    assert beside.endswith("\nbeetles: no difference beyond noise\n")  # whole, however long the first one's name is
    assert max(map(len, text.splitlines())) <= 120
    assert f"{report.evaluation.score:.4f}" in text
    assert "floor constant" in text


@pytest.mark.seconds
def test_one_part_alone_has_pictures_and_pages_too(report):
    known = replace(report.forecasts, is_known=np.ones_like(report.forecasts.is_known))
    alone = replace(report, forecasts=known, evaluation=evaluate_forecasts(known), floors=None, floors_missing="none")
    page = read_page(report_page(alone, figures(alone)))

    assert "OOD" not in page.text
    assert "OOD" not in report_text(alone)


# Mistakes


def bad_copy(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "altered")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\1" * 8)
    return folder


def test_an_altered_model_is_refused_and_nothing_is_written(evaluate, model_folder, tmp_path):
    ended = evaluate(bad_copy(model_folder, tmp_path))

    assert ended.status == 2
    assert "was altered" in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["/no/such/model"], "MODEL must be"),
        (["{model}", "{model}/"], "name each once"),
        (["{model}", "--out", "{file}"], "is a file"),
        (["{model}", "--data", "/no/such/data"], "/no/such/data"),
        (["{model}", "--events", "worst"], "auto, held-out, validation, all"),
        (["{model}", "--tracking-uri", "ftp://x"], "tracking URI"),
        ([], "models"),
    ],
)
def test_a_users_mistake_is_one_clear_line(evaluate, model_folder, tmp_path, argv, message):
    (tmp_path / "file").write_text("")
    ended = evaluate(*(word.format(model=model_folder, file=tmp_path / "file") for word in argv))

    assert ended.status == 2
    assert message.lower() in ended.stderr.lower()
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("labels", ["no columns", "no values"])
def test_data_without_labels_are_sent_to_predict_in_one_line(evaluate, model_folder, tmp_path, labels):
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    rows = pd.DataFrame(
        {
            "file_name": [f"{i}.png" for i in range(4)],
            "eventID": [1, 1, 2, 2],
            "domainID": 4,
            "siteID": "A",
            "scientificName": "Amara",
            "collectDate": "2019-06-01",
        }
    )
    if labels == "no values":
        rows = rows.assign(**dict.fromkeys(TARGETS, ""))
    rows.to_csv(folder / "metadata.csv", index=False)
    for name in rows["file_name"]:
        Image.new("RGB", (8, 8), (9, 90, 40)).save(folder / name)
    ended = evaluate(model_folder, "--data", folder)

    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == 2
    assert len(errors) == 1
    assert "SPEI_30d, SPEI_1y, SPEI_2y" in errors[0]
    assert "sentinel-tune predict" in errors[0]


# MLflow


@pytest.mark.seconds
def test_an_evaluation_is_a_run_with_its_figures_and_files(evaluate, model_folder, tracking_uri):
    result = evaluate(model_folder, "--tracking-uri", tracking_uri, "--experiment", "evaluations", "--json").result
    (model,) = result["models"]
    client = open_client(tracking_uri)
    run = client.get_run(model["run_id"])

    assert run.info.run_name == "evaluate default"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["eval/score"] == pytest.approx(model["score"])
    assert run.data.metrics["eval_r2_id/SPEI_1y"] == pytest.approx(model["r2"]["id"]["SPEI_1y"])
    assert all(name.count("/") == 1 for name in run.data.metrics)
    assert run.data.params["events"] == "held-out"
    assert run.data.params["data.fingerprint"] == result["data"]["fingerprint"]
    assert "hpo.study" not in run.data.tags
    paths = {item.path for folder in ("", "figures") for item in client.list_artifacts(run.info.run_id, folder)}
    assert {"report.json", "report.html", "results.json", "figures/worst.png", "figures/predicted.png"} <= paths


@pytest.mark.slow
def test_a_server_that_is_down_costs_a_warning_and_no_results(evaluate, model_folder, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://ada:geheim@127.0.0.1:{free.getsockname()[1]}"
    ended = evaluate(model_folder, "--tracking-uri", uri, "--json")

    assert ended.status == 0
    assert ended.result["models"][0]["run_id"] is None
    warnings = [line for line in ended.stderr.splitlines() if line.startswith("warning: MLflow")]
    assert len(warnings) == 1
    assert "geheim" not in ended.stdout + ended.stderr
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ft_did", "data_aug", "lora", "combined"])
def test_the_seed_systems_workflow_is_one_command_each(cli, demo_cache, tmp_path, monkeypatch, variant):
    monkeypatch.chdir(tmp_path)
    words = ["--data", DEMO, "--workers", 1, "--cache", demo_cache]
    trained = cli("train", "--variant", variant, "--holdout", "official", "--epochs", 2, "--out", "trained", *words)
    assert trained.status == 0, trained.stderr
    evaluated = cli("evaluate", "trained/model", "--json", *words)

    assert evaluated.status == 0, evaluated.stderr
    results = json.loads((tmp_path / "trained" / "model" / "results.json").read_text())
    assert list(results) == list(TARGETS)
    assert all(list(values) == ["MAE", "r2"] for values in results.values())
    assert evaluated.result["warnings"][0].startswith("official split")
    assert evaluated.result["models"][0]["run_id"]
    assert (tmp_path / "mlflow.db").is_file()


@pytest.fixture
def own(cli, demo_cache, tmp_path):
    """`evaluate` without --data, on one CPU."""

    def run(*argv):
        words = ["--workers", 1, "--cache", demo_cache, "--out", tmp_path / "out", "--no-track", "--json"]
        return cli("evaluate", *argv, *words)

    return run


def with_facts(model: Path, folder: Path, **changed: str) -> Path:
    """A copy of a model that tells something else of itself."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["facts"] |= changed
    config["sha256"]["config.json"] = config_digest(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def without_record(model: Path, folder: Path) -> Path:
    """A copy of a model as it was exported before it kept digests of what it was trained on."""
    shutil.copytree(model, folder)
    (folder / "training_data.json").unlink()
    config = json.loads((folder / "config.json").read_text("utf-8"))
    del config["sha256"]["training_data.json"]
    config["sha256"]["config.json"] = config_digest(config)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def more_than(data: str, cache: Path, folder: Path, *, same_photographs: bool = True) -> Path:
    """The same specimens and one more of an event, site and domain of its own: photographs as they are, or anew."""
    specimens = load_specimens(data, cache_dir=cache, n_processes=1)
    frame = specimens.frame
    folder.mkdir()
    names = {"event_id": "eventID", "site_id": "siteID", "domain_id": "domainID", "species": "scientificName"}
    rows = frame.rename(columns={**names, "date": "collectDate"}).assign(file_name=[f"{i}.jpg" for i in frame.index])
    for row, encoded in enumerate(specimens.images.read(frame.index.tolist())):
        if same_photographs:
            (folder / f"{row}.jpg").write_bytes(encoded)
        else:
            with Image.open(io.BytesIO(encoded)) as picture:
                picture.convert("RGB").save(folder / f"{row}.jpg", quality=60)
    Image.new("RGB", (32, 32), (9, 90, 40)).save(folder / "one-more.jpg")
    new = {"file_name": "one-more.jpg", "eventID": 10**6, "siteID": "ELSEWHERE", "domainID": 999}
    one_more = pd.concat([rows, rows.iloc[:1].assign(**new)])
    one_more.drop(columns=["split", "specimen_id"]).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.mark.seconds
def test_without_data_a_model_is_scored_on_what_it_was_trained_on(own, evaluate, model_folder):
    assert own(model_folder).result["data"] == evaluate(model_folder, "--json").result["data"]
    assert own(model_folder).result["data"]["source"] == DEMO


def test_data_that_are_not_what_they_were_or_not_there_are_told_in_one_line_with_the_remedy(
    own, model_folder, tmp_path
):
    changed = with_facts(model_folder, tmp_path / "changed", data="demo:150")
    gone = with_facts(model_folder, tmp_path / "gone", data="/no/such/data")
    for model, reason in (
        (changed, "what it was trained on, demo:150 with the fingerprint"),
        (gone, "what it was trained on, /no/such/data, but --data must be"),
    ):
        ended = own(model)
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        assert (ended.status, len(errors), ended.stdout) == (2, 1, "")
        assert f"without --data, {model.name} is scored on {reason}" in errors[0]
        assert "give the --data to score it on" in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.seconds
def test_models_of_the_same_data_are_scored_on_them_wherever_one_finds_them_and_others_are_refused(
    own, model_folder, tmp_path
):
    moved = with_facts(model_folder, tmp_path / "moved", data="/no/such/data")
    result = own(moved, model_folder).result
    assert (result["data"]["source"], len(result["models"])) == (DEMO, 2)

    other = with_facts(model_folder, tmp_path / "other", data="demo:150", data_fingerprint="0" * 64)
    ended = own(model_folder, other)
    assert ended.status == 2
    assert "models must be trained on the same data to be scored without --data" in ended.stderr


def beetles(folder: Path) -> Path:
    """Images of one's own, 4 domains with 2 sites of 2 events of 2 specimens, one of which cannot be read."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(32):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        labels = dict(zip(TARGETS, rng.uniform(-2, 2, 3).round(3), strict=True))
        rows.append({"file_name": f"{i}.png", "eventID": i // 2, "domainID": i // 8, "siteID": f"S{i // 4}", **labels})
    frame = pd.DataFrame(rows).assign(scientificName="Amara", collectDate="2019-06-01")
    frame[list(TARGETS)] = frame.groupby("eventID")[list(TARGETS)].transform("first")
    frame.to_csv(folder / "metadata.csv", index=False)
    (folder / "5.png").write_bytes(b"no image")
    return folder


@pytest.mark.slow
def test_the_command_that_training_prints_scores_on_the_same_data_and_so_does_one_without_data(
    cli, demo_cache, tmp_path, monkeypatch
):
    data = beetles(tmp_path / "it's my data")
    monkeypatch.chdir(tmp_path)
    words = ["--data", data.name, "--skip-bad-images", "--epochs", 1, "--workers", 1, "--cache", demo_cache]
    trained = cli("train", "--variant", "default", *words, "--out", "a model")
    printed = [line.strip() for line in trained.stdout.splitlines() if line.startswith("  sentinel-tune evaluate ")]
    assert (trained.status, len(printed)) == (0, 1), trained.stderr

    scored = cli(*shlex.split(printed[0])[1:], "--no-track", "--json").result
    alone = cli("evaluate", "a model/model", "--workers", 1, "--cache", demo_cache, "--no-track", "--json").result
    assert scored["data"] == alone["data"]
    assert scored["data"]["source"] == data.name
    assert scored["events"] == alone["events"]
    assert scored["events"]["which"] == "held-out"
