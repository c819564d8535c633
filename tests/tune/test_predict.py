"""`predict`: images in files and folders, forecasts of specimens and events out."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainable.config import TARGETS
from trainable.export.standalone import ExportedModel


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two events of 3 and 1 specimens, in a folder each."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("creek/a.jpg", "creek/b.PNG", "creek/c.tif", "hill/d.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / name)
    (folder / "creek" / "notes.txt").write_text("no image")
    (folder / "hill" / ".hidden.jpg").write_text("no image")
    return folder


@pytest.fixture
def predict(cli, trained_model, demo_cache):
    """`predict` with the trained model, on one CPU."""

    def run(*argv, model=trained_model):
        return cli("predict", model, *argv, "--workers", 1, "--device", "cpu", "--cache", demo_cache)

    return run


def test_a_folder_is_an_event_and_an_image_a_specimen(predict, trained_model, pictures):
    ended = predict(pictures, "--domain", 4, "--json")
    result = ended.result

    files = [pictures / name for name in ("creek/a.jpg", "creek/b.PNG", "creek/c.tif", "hill/d.jpg")]
    assert ended.status == 0
    assert [row["image"] for row in result["specimens"]] == [str(file) for file in files]
    assert [(event["event"], event["n_specimens"]) for event in result["events"]] == [
        (str(pictures / "creek"), 3),
        (str(pictures / "hill"), 1),
    ]
    model = ExportedModel.load(trained_model)
    wanted = model.predict([file.read_bytes() for file in files], [4] * 4)
    found = np.array([[row[target] for target in TARGETS] for row in result["specimens"]])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    for i, target in enumerate(TARGETS):
        assert result["events"][0][target]["mu"] == pytest.approx(wanted[:3, i].mean(), abs=1e-6)
        assert result["events"][0][target]["sigma"] == model.config["sigmas"]["known"][i]
    assert "predicting  4/4 images" in ended.stderr
    assert "images/s" in ended.stderr


def test_images_of_one_folder_are_one_event_however_they_are_named(predict, pictures, monkeypatch):
    monkeypatch.chdir(pictures)

    result = predict("creek/a.jpg", pictures / "creek" / "b.PNG", "./creek/a.jpg", "--json").result

    assert [(event["event"], event["n_specimens"]) for event in result["events"]] == [("creek", 2)]
    assert len(result["specimens"]) == 2


@pytest.mark.parametrize("words", [(), ("--domain", 12345)])
def test_a_domain_that_is_not_known_is_said_to_be_treated_as_unknown(predict, trained_model, pictures, words):
    ended = predict(pictures / "hill", *words, "--json")

    config = ExportedModel.load(trained_model).config
    assert "treated as unknown (trained on: " + ", ".join(map(str, config["known_domains"])) in ended.stderr
    assert ended.result["domain_is_known"] is False
    assert ended.result["events"][0]["SPEI_1y"]["sigma"] == config["sigmas"]["unknown"][1]


def test_a_known_domain_is_not_remarked_on(predict, pictures):
    ended = predict(pictures, "--domain", 4)

    assert "unknown" not in ended.stderr
    for part in ("SPEI_30d", "creek/a.jpg", "hill (1)", "±"):
        assert part in ended.stdout


def test_csv_holds_a_row_a_specimen_then_a_row_an_event(predict, pictures, tmp_path):
    file = tmp_path / "new" / "out.csv"
    result = predict(pictures, "--domain", 4, "--csv", file, "--json").result

    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["level"] for row in rows] == ["specimen"] * 4 + ["event"] * 2
    assert [row["n_specimens"] for row in rows] == ["1"] * 4 + ["3", "1"]
    assert float(rows[0]["SPEI_1y"]) == result["specimens"][0]["SPEI_1y"]
    assert rows[0]["SPEI_1y_sigma"] == ""
    assert float(rows[4]["SPEI_1y"]) == result["events"][0]["SPEI_1y"]["mu"]
    assert float(rows[4]["SPEI_1y_sigma"]) == result["events"][0]["SPEI_1y"]["sigma"]
    assert result["csv"] == str(file)
    assert [path.name for path in file.parent.iterdir()] == ["out.csv"]


def test_unreadable_images_are_all_named_at_once_and_nothing_is_written(predict, pictures, tmp_path):
    folder = Path(shutil.copytree(pictures, tmp_path / "copy"))
    (folder / "creek" / "a.jpg").write_bytes((folder / "creek" / "a.jpg").read_bytes()[:300])
    (folder / "hill" / "e.png").write_text("no image")
    (folder / "hill" / "f.png").touch()
    csv_file = tmp_path / "out.csv"
    csv_file.write_text("of before")
    ended = predict(folder, "--csv", csv_file)

    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.status, ended.stdout) == (2, "")
    assert [line.split()[1] for line in errors] == [
        str(folder / n) for n in ("creek/a.jpg", "hill/e.png", "hill/f.png")
    ]
    assert csv_file.read_text() == "of before"
    assert "Traceback" not in ended.stderr


def test_what_is_not_there_is_named_in_clear_lines(predict, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = predict(tmp_path / "none.jpg", tmp_path / "empty", pictures)
    assert ended.status == 2
    assert f"{tmp_path / 'none.jpg'} is not there" in ended.stderr
    assert f"the folder {tmp_path / 'empty'} has none" in ended.stderr

    for model, message in ((tmp_path / "no-model", "no-model"), (pictures, "config.json must be a JSON file")):
        ended = predict(pictures, model=model)
        assert ended.status == 2
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr

    ended = predict(pictures, "--csv", tmp_path)
    assert (ended.status, f"`--csv` must be a file, but {tmp_path} is a folder" in ended.stderr) == (2, True)
