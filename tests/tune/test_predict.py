"""`predict`: images in files and folders, forecasts of specimens and events out."""

import csv
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.beetles import TARGETS
from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from trainable.errors import UserError
from trainable.export.standalone import ExportedModel
from tune.verbs.predict import domain_of


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
    exact = predicted_in_float64(model, model.pixels([file.read_bytes() for file in files]), [4] * 4)
    found = np.array([[row[target] for target in TARGETS] for row in result["specimens"]])
    assert_rounded(found, exact, TINY_TERMS)
    for i, target in enumerate(TARGETS):
        assert result["events"][0][target]["mu"] == pytest.approx(found[:3, i].mean())
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
    file.parent.mkdir()
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
    csv_file.write_text("level,event,image,domain,n_specimens\n")
    ended = predict(folder, "--csv", csv_file)

    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.status, ended.stdout) == (2, "")
    assert [line.split()[1] for line in errors] == [
        str(folder / n) for n in ("creek/a.jpg", "hill/e.png", "hill/f.png")
    ]
    assert csv_file.read_text() == "level,event,image,domain,n_specimens\n"
    assert "Traceback" not in ended.stderr


def test_what_is_not_there_is_named_in_clear_lines(predict, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    ended = predict(tmp_path / "none.jpg", tmp_path / "empty", pictures)
    assert ended.status == 2
    assert f"{tmp_path / 'none.jpg'} is not there" in ended.stderr
    assert f"left out of {pictures}: 1 image hidden" in ended.stderr
    assert f"the folder {tmp_path / 'empty'} has none" in ended.stderr

    ended = predict("https://example.org/a.jpg")
    assert ended.status == 2
    assert "but https://example.org/a.jpg is an address; fetch it first" in ended.stderr

    for model, message in ((tmp_path / "no-model", "no-model"), (pictures, "config.json must be a JSON file")):
        ended = predict(pictures, model=model)
        assert ended.status == 2
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr

    ended = predict(pictures, "--csv", tmp_path)
    assert (ended.status, f"`--csv` must be a file, but {tmp_path} is a folder" in ended.stderr) == (2, True)


def test_a_model_that_is_not_there_is_told_with_missing_images_before_a_folder_is_gone_through(
    predict, pictures, tmp_path
):
    ended = predict(pictures, tmp_path / "none.jpg", model=tmp_path / "no-model")

    model, image = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.status, "left out of" in ended.stderr) == (2, False)
    assert "MODEL must be an exported folder, hf://OWNER/NAME, " in model
    assert f"but got '{tmp_path / 'no-model'}', which is not there" in model
    assert f"{tmp_path / 'none.jpg'} is not there" in image


def test_files_that_the_command_itself_names_are_not_left_out_of_its_folder(predict, pictures, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(pictures, tmp_path / "copy"))
    monkeypatch.chdir(folder)
    (folder / "sizes.csv").write_text("file_name,size_mm\ncreek/a.jpg,3\n")
    words = [folder, "--numbers", "sizes.csv", "--csv", "forecasts.csv"]

    for _ in range(2):  # the second time with the forecasts of the first in the folder
        ended = predict(*words)
        assert (ended.status, (folder / "forecasts.csv").is_file()) == (0, True)
        assert "1 file without the name of any image (creek/notes.txt)" in ended.stderr


@pytest.fixture
def strange(tmp_path) -> Path:
    """Images whose names hold a byte that is no UTF-8, control characters, and the beginning of a formula."""
    folder = tmp_path / "strange"
    folder.mkdir()
    for name in (b"=1+1.png", b"K\xe4fer.png", b"two\nlines\x1b[31m.png"):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            Image.new("RGB", (48, 48), (90, 60, 30)).save(file, "PNG")
    return folder


def test_strange_names_are_shown_escaped_in_table_json_and_csv(predict, strange, tmp_path, monkeypatch):
    monkeypatch.chdir(strange)
    names = ["=1+1.png", r"K\xe4fer.png", r"two\nlines\x1b[31m.png"]

    table = predict(".").stdout.splitlines()
    assert [line.partition(".png")[0] + ".png" for line in table[1:4]] == names
    result = predict(".", "--json", "--csv", tmp_path / "out.csv").result
    assert [row["image"] for row in result["specimens"]] == [*names[:2], "two\nlines\x1b[31m.png"]
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines()))
    assert [row["image"] for row in rows] == [f"'{names[0]}", *names[1:], ""]


def test_an_event_of_a_folder_with_a_strange_name_is_shown_escaped(predict, pictures, tmp_path):
    folder = Path(shutil.copytree(pictures / "hill", tmp_path / os.fsdecode(b"@H\xfcgel")))
    ended = predict(folder, "--csv", tmp_path / "out.csv")

    assert (ended.status, r"@H\xfcgel (1)" in ended.stdout) == (0, True)
    assert [row["event"] for row in csv.DictReader((tmp_path / "out.csv").read_text("utf-8").splitlines())] == [
        str(tmp_path / r"@H\xfcgel")
    ] * 2


def test_csv_goes_through_links_and_pipes(predict, pictures, tmp_path):
    predict(pictures, "--csv", tmp_path / "plain.csv")
    (tmp_path / "real.csv").write_text("level,event,image,domain,n_specimens,of before\n")
    (tmp_path / "link.csv").symlink_to("real.csv")
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    predict(pictures, "--csv", tmp_path / "link.csv")
    predict(pictures, "--csv", tmp_path / "pipe")
    reader.join()

    wanted = (tmp_path / "plain.csv").read_text()
    assert [(tmp_path / "real.csv").read_text(), *read] == [wanted, wanted]
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "pipe").is_fifo()


def test_forecasts_are_shown_though_their_file_turned_out_to_be_full(predict, pictures):
    ended = predict(pictures, "--csv", "/dev/full", "--json")

    assert (ended.status, ended.result["csv"], len(ended.result["specimens"])) == (2, None, 4)
    assert "error: `--csv` must be writable, but /dev/full is not: no space left on device" in ended.stderr
    assert Path("/dev/full").is_char_device()


def test_where_forecasts_cannot_go_is_told_with_the_images_that_are_not_there_before_any_is_read(
    predict, pictures, tmp_path
):
    (tmp_path / "file").touch()
    for place, fault in (
        (tmp_path / "file" / "o.csv", f"{tmp_path / 'file'} is a file"),
        (tmp_path / ("n" * 300), "file name too long"),
    ):
        ended = predict(pictures, tmp_path / "none.jpg", "--csv", place)
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        assert (ended.status, len(errors)) == (2, 2)
        assert f"`--csv` must be writable, but {place} is not: {fault}" in errors[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_an_image_is_not_overwritten_with_its_forecast(predict, pictures, tmp_path):
    image = Path(shutil.copy(pictures / "hill" / "d.jpg", tmp_path / "d.jpg"))
    before = image.read_bytes()
    (tmp_path / "link.csv").symlink_to("d.jpg")

    ended = predict(image, "--csv", tmp_path / "link.csv")
    assert (ended.status, "`--csv` must be none of the images" in ended.stderr) == (2, True)
    assert image.read_bytes() == before


def test_a_domain_is_given_as_the_models_are_numbers_or_names():
    assert domain_of("4", (1, 4), has_domains=True) == 4
    assert domain_of(" Süd ", ("Nord", "Süd"), has_domains=True) == "Süd"
    assert domain_of("4", ("Nord", "Süd"), has_domains=True) == "4"
    assert domain_of(None, ("Nord", "Süd"), has_domains=True) is None
    for given in ("Nord", "-1", "1.5", "", "٤", "9" * 30):
        with pytest.raises(UserError, match=r"`--domain` must be a whole number from 0 on, .*\(1, 4\), but got"):
            domain_of(given, (1, 4), has_domains=True)
    with pytest.raises(UserError, match="must be left out for a model whose task has no domains"):
        domain_of("4", (-1,), has_domains=False)


def test_a_domain_that_is_no_number_is_one_line_and_status_2(predict, pictures):
    ended = predict(pictures, "--domain", "Nord")

    assert ended.status == 2
    assert "`--domain` must be a whole number" in ended.stderr
    assert not ended.stdout
