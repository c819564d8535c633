"""`inspect`: tables of many shapes, what is proposed for each, and that it can be searched with."""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.leaves import draw_leaves
from trainable.data.column_facts import column_facts
from trainable.data.raw_table import read_raw_table
from trainable.data.specimens import load_specimens
from trainable.data.task import TASK_FILE, Task
from trainable.data.task_proposal import propose
from trainable.errors import UserError
from tune.verbs.inspect import leaking_share

N = 12
RNG = np.random.default_rng(0)
PHOTOS = [f"{i}.jpg" for i in range(N)]
VALUES = RNG.normal(size=N).round(4).tolist()
OF_PAIRS = np.repeat(VALUES[: N // 2], 2).tolist()


def groups(n: int, name: str = "g") -> list[str]:
    """So many groups, rows of one adjacent."""
    return [f"{name}{i * n // N}" for i in range(N)]


SHAPES = {
    "names and one number": (
        {"file_name": PHOTOS, "mass": VALUES},
        {"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}},
    ),
    "sites": (
        {"image": PHOTOS, "place": groups(4), "mass": VALUES},
        {"columns": {"image": "image", "site": "place"}, "targets": {"mass": {"real": "any"}}},
    ),
    "events in sites in domains": (
        {"file_name": PHOTOS, "region": ["north"] * 8 + ["south"] * 4, "site": groups(3, "s"),
         "plot": groups(6, "p"), "mass": OF_PAIRS},
        {"columns": {"image": "file_name", "event": "plot", "site": "site", "domain": "region"},
         "targets": {"mass": {"real": "any"}}},
    ),
    "numbered groups": (
        {"file_name": PHOTOS, "siteID": [i // 2 for i in range(N)], "camera": [i // 6 for i in range(N)],
         "mass": VALUES},
        {"columns": {"image": "file_name", "site": "siteID", "domain": "camera"}, "targets": {"mass": {"real": "any"}}},
    ),
    "units in brackets and odd names": (
        {"file_name": PHOTOS, "length (mm)": VALUES, "Ø [cm]": VALUES, "a/b": VALUES, "date": VALUES},
        {"columns": {"image": "file_name"},
         "targets": {"length": {"real": "any", "unit": "mm", "column": "length (mm)"},
                     "Ø": {"real": "any", "unit": "cm", "column": "Ø [cm]"},
                     "a b": {"real": "any", "column": "a/b"},
                     "target 4": {"real": "any", "column": "date"}}},
    ),
    "a category that cuts across sites": (
        {"file_name": PHOTOS, "site": groups(4), "species": ["a", "b"] * 6, "mass": VALUES},
        {"columns": {"image": "file_name", "site": "site"}, "covariates": ["species"],
         "targets": {"mass": {"real": "any"}}},
    ),
    "a category with gaps": (
        {"file_name": PHOTOS, "site": groups(4), "genus": ["a", "b", None] * 4, "mass": VALUES},
        {"columns": {"image": "file_name", "site": "site"}, "covariates": ["genus"],
         "targets": {"mass": {"real": "any"}}},
    ),
    "ids, dates and coordinates": (
        {"path": PHOTOS, "uuid": [f"u{i}" for i in range(N)], "when": ["2024-05-01", "2024-06-01"] * 6,
         "latitude": VALUES, "lon": VALUES, "site": groups(3), "mass": VALUES},
        {"columns": {"image": "path", "id": "uuid", "date": "when", "site": "site"},
         "targets": {"mass": {"real": "any"}}},
    ),
    "columns that say nothing": (
        {"file_name": PHOTOS, "empty": [""] * N, "same": [3.5] * N, "holes": [None, 1.5, 2.5] * 4, "mass": VALUES,
         "mask": [f"{i}.png" for i in range(N)]},
        {"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}},
    ),
    "lists in cells": (
        {"file_name": PHOTOS, "boxes": [[i // 4, 1] for i in range(N)], "extra": [{"a": 1}] * N, "mass": VALUES},
        {"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}},
    ),
    "codes beside a number": (
        {"file_name": PHOTOS, "grade": [i % 3 for i in range(N)], "mass": VALUES},
        {"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}},
    ),
    "a count alone": (
        {"file_name": PHOTOS, "leaves": [i % 3 for i in range(N)]},
        {"columns": {"image": "file_name"}, "targets": {"leaves": {"real": "any"}}},
    ),
    "numbers with leading zeros are names": (
        {"file_name": PHOTOS, "batch": [f"00{i // 4}" for i in range(N)], "mass": VALUES},
        {"columns": {"image": "file_name", "site": "batch"}, "targets": {"mass": {"real": "any"}}},
    ),
    "species alone": (
        {"file_name": PHOTOS, "site": groups(4), "species": ["a", "b", "c"] * 4},
        {"columns": {"image": "file_name", "site": "site"}, "targets": {"species": {"classes": "auto"}}},
    ),
    "a label in whole numbers beside a category": (
        {"file_name": PHOTOS, "label": [0, 1] * 6, "location": groups(3), "family": ["a", "b", "c"] * 4},
        {"columns": {"image": "file_name", "site": "location"}, "covariates": ["family"],
         "targets": {"label": {"classes": "auto"}}},
    ),
    "a class under a name that no target may have": (
        {"file_name": PHOTOS, "sex?": ["m", "f"] * 6, "leaves": [i % 3 for i in range(N)]},
        {"columns": {"image": "file_name"}, "targets": {"sex": {"classes": "auto", "column": "sex?"}}},
    ),
    "a species of its own for each photograph is none to learn": (
        {"file_name": PHOTOS, "species": [f"s{i // 2 * 2 if i > 3 else i}" for i in range(N)], "n": [1, 2, 3] * 4},
        {"columns": {"image": "file_name"}, "covariates": ["species"], "targets": {"n": {"real": "any"}}},
    ),
    "a camera trap's common names, whose sequences have one animal": (
        {"filename": PHOTOS, "common_name": ["deer", "deer", "fox", "fox", "deer", "deer"] * 2, "location": groups(3),
         "seq_id": groups(6), "datetime": ["2021-03-04 05:06:07", "2021-03-05 05:06:07"] * 6, "count": [1, 1, 2] * 4},
        {"columns": {"image": "filename", "date": "datetime", "event": "seq_id", "site": "location"},
         "targets": {"common_name": {"classes": "auto"}}},
    ),
    "words that no name tells": (
        {"img": PHOTOS, "Wert": ["gut", "schlecht", "mittel"] * 4, "Standort": [f"{i // 4}" for i in range(N)],
         "station": groups(3)},
        {"columns": {"image": "img", "site": "station"}, "targets": {"Wert": {"classes": "auto"}}},
    ),
    "a label in whole numbers whose name says id, beside a confidence": (
        {"": list(range(N)), "path": PHOTOS, "label_id": [0, 1, 2] * 4, "name": ["a", "b", "c"] * 4,
         "confidence": VALUES, "site": groups(3)},
        {"columns": {"image": "path", "site": "site"}, "targets": {"label_id": {"classes": "auto"}}},
    ),
    "plankton with sizes is of numbers": (
        {"object_id": [f"o{i}" for i in range(N)], "file_name": PHOTOS, "taxon": ["a", "b", "c"] * 4, "area": VALUES,
         "depth_min": VALUES, "station": groups(3)},
        {"columns": {"id": "object_id", "image": "file_name", "site": "station"}, "covariates": ["taxon"],
         "targets": {"area": {"real": "any"}, "depth_min": {"real": "any"}}},
    ),
    "slides of hospitals with a tumor or none": (
        {"patch": PHOTOS, "slide": groups(6), "patient": [i // 2 for i in range(N)], "node": [i % 3 for i in range(N)],
         "x_coord": VALUES, "y_coord": VALUES, "tumor": [0, 1] * 6, "hospital": [i // 4 for i in range(N)]},
        {"columns": {"image": "patch", "site": "patient", "domain": "hospital"},
         "targets": {"tumor": {"classes": "auto"}}},
    ),
    "headers of several words with capitals": (
        {"Image File": PHOTOS, "Species Name": ["a", "b", "c"] * 4, "Location ID": [i // 4 for i in range(N)],
         "Camera Trap": groups(6), "Latitude": VALUES},
        {"columns": {"image": "Image File", "site": "Camera Trap", "domain": "Location ID"},
         "targets": {"Species Name": {"classes": "auto"}}},
    ),
    "a rank called class beside sizes": (
        {"file_name": PHOTOS, "class": ["a", "b"] * 6, "order": ["c", "d"] * 6, "mass": VALUES},
        {"columns": {"image": "file_name"}, "covariates": ["class"], "targets": {"mass": {"real": "any"}}},
    ),
    "of ranks the finest": (
        {"file_name": PHOTOS, "genus": ["a", "a", "b", "b"] * 3, "species": ["1", "2", "3", "x"] * 3,
         "site": groups(3)},
        {"columns": {"image": "file_name", "site": "site"}, "covariates": ["genus"],
         "targets": {"species": {"classes": "auto"}}},
    ),
    "a y without an x": (
        {"x": PHOTOS, "y": [0, 1, 2] * 4},
        {"columns": {"image": "x"}, "targets": {"y": {"classes": "auto"}}},
    ),
    "days as people write them": (
        {"photo": PHOTOS, "station": groups(3), "collected": [f"{i + 1:02d}.06.2019" for i in range(N)],
         "entered": [f"6/{i + 1}/2019 7:30" for i in range(N)], "stamp": [20190601 + i for i in range(N)],
         "taken": [f"2019:06:0{i % 9 + 1} 12:00:00" for i in range(N)], "mass": VALUES},
        {"columns": {"image": "photo", "date": "collected", "site": "station"}, "targets": {"mass": {"real": "any"}}},
    ),
    "indices that pandas saved, and saved again": (
        {"": range(N), "Unnamed: 0": [3, 5, 1, 2, 4, 0, 11, 9, 8, 7, 6, 10], "file_name": PHOTOS, "mass": VALUES},
        {"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}},
    ),
    "folders of places within those of classes": (
        {"file_name": PHOTOS, "label": [f"site{i // 3}" for i in range(N)], "folder": ["Amara", "Carabus"] * 6},
        {"columns": {"image": "file_name", "site": "label"}, "targets": {"folder": {"classes": "auto"}}},
    ),
    "observations of iNaturalist": (
        {"id": [90000 + i for i in range(N)], "observed_on": ["2020-01-11"] * 6 + ["2020-02-11"] * 6,
         "user_id": [i // 2 for i in range(N)], "user_login": groups(6, "u"), "file": PHOTOS, "latitude": VALUES,
         "place_guess": groups(3, "wood "), "species_guess": ["a sp.", "b sp.", ""] * 4,
         "scientific_name": ["a", "b", "c"] * 4, "taxon_id": [7, 8, 9] * 4},
        {"columns": {"id": "id", "date": "observed_on", "image": "file", "site": "place_guess"},
         "targets": {"scientific_name": {"classes": "auto"}}},
    ),
    "a grade that places happen to share": (
        {"file": PHOTOS, "forest": groups(4, "f"), "grade": ["casual"] * 6 + ["research"] * 6, "mass": VALUES},
        {"columns": {"image": "file", "site": "forest"}, "covariates": ["grade"],
         "targets": {"mass": {"real": "any"}}},
    ),
    "photographs that only their photographers group": (
        {"file": PHOTOS, "observer": groups(4, "o"), "mass": VALUES},
        {"columns": {"image": "file", "site": "observer"}, "targets": {"mass": {"real": "any"}}},
    ),
    "occurrences of Darwin Core": (
        {"occurrenceID": [f"urn:{i}" for i in range(N)], "eventID": groups(6, "e"), "eventDate": ["2020-01-11"] * N,
         "decimalLatitude": VALUES, "countryCode": ["DE", "FR"] * 6, "locality": groups(3, "l"),
         "kingdom": ["Animalia"] * N, "class": ["Insecta"] * N, "scientificName": ["a", "a", "b", "b", "c", "c"] * 2,
         "sex": ["male", "male", "female", ""] * 3, "recordedBy": ["x", "y", "x", "y"] * 3, "associatedMedia": PHOTOS},
        {"columns": {"id": "occurrenceID", "image": "associatedMedia", "event": "eventID", "site": "locality"},
         "covariates": ["sex"], "targets": {"scientificName": {"classes": "auto"}}},
    ),
    "two labels in a plot": (
        {"file_name": PHOTOS, "plot": groups(6), "mass": VALUES},
        {"columns": {"image": "file_name", "site": "plot"}, "targets": {"mass": {"real": "any"}}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_table_gets_the_task_that_fits_it_and_a_reason_for_each_column(name):
    columns, wanted = SHAPES[name]
    rows = pd.DataFrame(columns)
    proposal = propose(rows, column_facts(rows))

    assert proposal.values == wanted
    assert proposal.task == Task.from_dict(wanted)
    assert proposal.reasons.keys() == set(columns)
    assert all(reason != "left out" for reason in proposal.reasons.values()), proposal.reasons


def test_a_table_without_photographs_or_numbers_is_told_what_each_column_is():
    rows = pd.DataFrame({"site": groups(3), "plot": groups(4)})
    with pytest.raises(UserError) as caught:
        propose(rows, column_facts(rows))

    photographs, numbers = caught.value.problems
    assert "must hold photographs" in photographs
    assert "must hold what is to be forecast, numbers or classes, but none can be told" in numbers


def test_what_could_be_classes_instead_is_named():
    grades = {"file_name": PHOTOS, "grade": [0, 1, 2] * 4}
    kinds = {"file_name": PHOTOS, "place": groups(3), "taxon": ["a", "b"] * 6, "mass": VALUES}
    for columns, name, words in (
        (grades, "grade", "if they stand for classes, {classes: auto} instead of {real: any}"),
        (kinds, "taxon", "to forecast it instead, make it the only target, {classes: auto}"),
    ):
        rows = pd.DataFrame(columns)
        assert words in propose(rows, column_facts(rows)).reasons[name]


def test_classes_that_were_found_by_their_values_have_their_reason():
    columns, _ = SHAPES["a camera trap's common names, whose sequences have one animal"]
    rows = pd.DataFrame(columns).rename(columns={"common_name": "animal"})
    reason = propose(rows, column_facts(rows)).reasons["animal"]
    assert reason.startswith("target: 2 classes by its values, few words that repeat, the same within each seq_id")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"oak": [1, 0, 0] * 4, "elm": [0, 1, 0] * 4, "ash": [0, 0, 1] * 4}, "oak, elm, ash tell a class together"),
        ({"class": ["Acer"] * N}, "`class` must have two classes at least, but is 'Acer' everywhere"),
        ({"Standort": groups(3), "Gewicht": [f"{i},25" for i in range(N)]}, "plain numbers, but Gewicht holds '0,25'"),
        ({"length": [f"{i}.5 mm" for i in range(N)]}, "plain numbers, but length holds '0.5 mm': write a point"),
    ],
)
def test_a_table_whose_classes_cannot_be_learnt_as_they_are_is_told_why(columns, words):
    rows = pd.DataFrame({"file_name": PHOTOS, **columns})
    with pytest.raises(UserError) as caught:
        propose(rows, column_facts(rows))
    assert words in caught.value.problems[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([f"https://example.org/{i}.jpg?size=2" for i in range(N)], "photographs are read from files: fetch them"),
        ([f"https://example.org/{i}.jpg" for i in range(N)], "photographs are read from files: fetch them"),
        ([f"img_{i}" for i in range(N)], "it must do so with their ending, such as 'img_0.jpg'"),
        (["path", *PHOTOS[1:]], "image_path does, but for 1 row: row 0 has 'path'"),
    ],
)
def test_what_keeps_a_column_from_naming_photographs_is_told(names, words):
    rows = pd.DataFrame({"split": "train", "image_path": names, "site": groups(3), "species": ["a", "b", "c"] * 4})
    with pytest.raises(UserError) as caught:
        propose(rows, column_facts(rows))
    (problem,) = caught.value.problems
    assert "must hold photographs or their names" in problem
    assert words in problem


def test_bytes_that_nothing_says_to_be_photographs_are_told_and_not_shown(tmp_path, cli):
    columns = {"image": [b"\xff\xd8\xff" * 50] * N, "site": groups(3), "species": ["a", "b", "c"] * 4}
    pd.DataFrame(columns).to_parquet(tmp_path / "train.parquet")
    ended = cli("inspect", tmp_path)
    assert ended.status == 2
    assert "image: left out: it holds bytes alone; photographs in Parquet are {bytes, path}" in ended.stderr
    assert "xff" not in ended.stderr


def test_a_task_that_cannot_be_used_as_it_is_is_not_sent_on_to_a_search(tmp_path, cli):
    draw_leaves(tmp_path)
    text = (tmp_path / "metadata.csv").read_text(encoding="utf-8")
    (tmp_path / "metadata.csv").write_text(text.replace("photos/", "C:\\photos\\"), encoding="utf-8")
    ended = cli("inspect", tmp_path, "--write", "--workers", 1)
    assert ended.status == 0
    assert "file_name must be a path inside" in ended.stdout
    assert "task.yaml; mend what the warnings above say, then go on with" in ended.stdout


def test_encoded_photographs_of_parquet_files_are_found(demo_cache):
    (folder,) = demo_cache.glob("demo-*-120-0")
    table = read_raw_table(folder)
    proposal = propose(table.rows, column_facts(table.rows, table.photographs))

    assert proposal.values["columns"]["image"] == "file_path"
    assert {"event": "eventID", "site": "siteID", "domain": "domainID"}.items() <= proposal.values["columns"].items()
    assert list(proposal.values["targets"]) == ["SPEI_30d", "SPEI_1y", "SPEI_2y"]


def test_of_the_challenges_columns_it_says_that_they_need_no_task(demo_cache, tmp_path, cli):
    (folder,) = demo_cache.glob("demo-*-120-0")
    assert "columns of the built-in task `beetles`" in cli("inspect", folder, "--workers", 1).stdout
    draw_leaves(tmp_path)
    assert "beetles" not in cli("inspect", tmp_path, "--workers", 1).stdout


def test_a_random_split_leaks_what_it_would_in_many_draws():
    sizes = pd.Series(np.repeat(np.arange(30), np.arange(30) % 5 + 1))
    rng, found = np.random.default_rng(1), []
    for _ in range(2000):
        is_out = rng.random(len(sizes)) < 0.2
        if is_out.any():
            found.append((is_out & sizes.isin(sizes[~is_out])).sum() / is_out.sum())
    assert leaking_share(sizes) == pytest.approx(np.mean(found), abs=0.01)


def test_what_is_written_is_the_task_of_the_data_and_is_not_written_over(tmp_path, cli):
    draw_leaves(tmp_path)
    told = cli("inspect", tmp_path, "--workers", 1)
    assert told.status == 0
    assert "-> event: all of its photographs have the same labels" in told.stdout
    assert "held out in the 3 folds" in told.stdout
    assert not (tmp_path / TASK_FILE).exists()

    written = cli("inspect", tmp_path, "--write", "--json", "--workers", 1)
    assert written.status == 0
    assert Task.load(tmp_path / TASK_FILE) == Task.from_dict(written.result["task"])
    before = (tmp_path / TASK_FILE).read_bytes()
    again = cli("inspect", tmp_path, "--write")
    assert again.status == 2
    assert "`--write` must not replace a task" in again.stderr
    assert (tmp_path / TASK_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "must hold metadata.csv"),
        ({"labels.csv": "a,b\n"}, "rename labels.csv to metadata.csv, if it is the table"),
        (
            {"labels.tsv": "a\tb\n"},
            "tables are separated by commas: save labels.tsv, if it is the table, as metadata.csv",
        ),
        ({"coco.json": "{}"}, "JSON is read a row a line: save coco.json, if it is the table, as metadata.csv"),
        (
            {"metadata.csv": "Leaves of 2019,,\na,b,c\n"},
            "but names Leaves of 2019 alone of 3; remove it if it is a title",
        ),
        ({"metadata.csv": "a;b\n1;2\n"}, "must be separated by commas"),
        ({"metadata.jsonl": "[1]\n"}, "line 1 must be a JSON object"),
        ({"metadata.csv": ""}, "must be readable"),
    ],
)
def test_a_folder_without_a_table_is_one_line_and_status_2(files, words, tmp_path, cli):
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ended = cli("inspect", tmp_path)

    assert ended.status == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_photographs_that_cannot_be_read_and_near_duplicates_across_places_are_told_by_name(tmp_path, cli):
    draw_leaves(tmp_path)
    photos = tmp_path / "photos"
    with Image.open(photos / "0-0.png") as image:  # a copy saved anew, of another place
        image.point(lambda value: value + 2).save(photos / "1-2.png", format="BMP")
    (photos / "3-1.png").write_bytes(b"no photograph")
    (photos / "4-4.png").unlink()
    ended = cli("inspect", tmp_path, "--workers", 1, "--json")

    images = ended.result["images"]
    assert ended.status == 0
    assert images["photographs"] == "photographs: 45 PNG, 1 BMP; 32 x 32 pixels"
    assert "2 of 48 photographs cannot be read: photos/3-1.png: " in images["unreadable"]
    assert "photos/4-4.png: there is no such file" in images["unreadable"]
    twins = images["near duplicates"]
    assert "2 of 46 photographs look nearly the same as one of another site" in twins
    assert "photos/0-0.png of Wald 0 and photos/1-2.png of Wald 1; held out with" in twins
    assert ended.result["splits"]["folds"].endswith("of 46 photographs")


@pytest.mark.parametrize(
    ("form", "groups"),
    [
        ("{genus}/{name}", {}),
        ("train/{genus}/{name}", {}),
        ("{place}/{genus}/{name}", {"site": "folder"}),
    ],
)
def test_folders_that_are_called_as_classes_are_inspected_and_read_as_the_task_says(form, groups, tmp_path, cli):
    draw_leaves(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    for number, file in enumerate(sorted((tmp_path / "photos").iterdir())):
        place = form.format(genus=["Acer", "Quercus"][number % 2], place=f"Wald {number // 12}", name=file.name)
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / place)
    (tmp_path / "photos").rmdir()
    ended = cli("inspect", tmp_path, "--workers", 1, "--write", "--json")

    assert (ended.status, ended.result["problems"]) == (0, []), ended.stderr
    assert ended.result["task"] == {
        "columns": {"image": "file_name"} | groups, "targets": {"label": {"classes": "auto"}},
    }  # fmt: skip
    specimens = load_specimens(
        str(tmp_path), task=Task.load(tmp_path / TASK_FILE), cache_dir=tmp_path / "cache", n_processes=1
    )
    assert specimens.task.classes == ("Acer", "Quercus")
    assert specimens.frame["label"].value_counts().to_dict() == {"Acer": 24, "Quercus": 24}
    assert specimens.frame["site_id"].nunique() == (4 if groups else 48)


def hub_like(folder: Path) -> None:
    """As a repository of the hub holds it: Parquet with `Image` and `ClassLabel` features, two configurations."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "place": datasets.Value("string"),
            "leaf": datasets.ClassLabel(names=["oak", "elm"]),
        }
    )
    for config, n in (("small", 12), ("large", 24)):
        photo = {"bytes": b"no photograph that could be read", "path": None}
        columns = {"image": [photo] * n, "place": [f"p{i // 4}" for i in range(n)], "leaf": [i % 2 for i in range(n)]}
        rows = datasets.Dataset.from_dict(columns, features=features)
        for split, part in (("train", rows), ("test", rows.select(range(4)))):
            (folder / config).mkdir(parents=True, exist_ok=True)
            part.to_parquet(folder / config / f"{split}.parquet")
    card = "".join(
        f"- config_name: {name}\n  data_files:\n  - {{split: train, path: {name}/train.parquet}}\n"
        f"  - {{split: test, path: {name}/test.parquet}}\n"
        for name in ("small", "large")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{card}---\n")


def test_a_data_set_of_the_hub_is_told_by_its_table_and_no_photograph_is_looked_at(tmp_path, cli):
    hub_like(tmp_path / "leaves")
    ended = cli("inspect", f"hf://{tmp_path}/leaves:large", "--json")

    assert ended.status == 0, ended.stderr
    wanted = {"columns": {"image": "image", "site": "place"}, "targets": {"leaf": {"classes": "auto"}}}
    assert ended.result["task"] == wanted
    lines = "\n".join(ended.result["data_set"])
    assert "configuration: large; others: small" in lines
    assert "split train: read" in lines
    assert "split test: not read" in lines
    assert "feature leaf: ClassLabel of 2: oak, elm" in lines
    assert "feature image: Image, not fetched" in lines
    assert ended.result["problems"] == []
    assert "of 24 photographs" in ended.result["splits"]["folds"]

    for name, words in (
        ("leaves", "which are small, large"),
        ("leaves:medium", "which are small, large"),
        ("none", "that `datasets.load_dataset` can load"),
    ):
        ended = cli("inspect", f"hf://{tmp_path}/{name}")
        assert (ended.status, words in ended.stderr) == (2, True), ended.stderr
    local = cli("inspect", tmp_path / "leaves" / "large", "--json", "--workers", 1)  # the same features, in Parquet
    assert local.result["task"] == wanted
    written = cli("inspect", f"hf://{tmp_path}/leaves:large", "--write")
    assert (written.status, "must have a folder to write to" in written.stderr) == (2, True)
