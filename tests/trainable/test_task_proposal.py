"""What is proposed for tables of many shapes that nobody has described, and why."""

import numpy as np
import pandas as pd
import pytest

from trainable.data.column_facts import column_facts
from trainable.data.raw_table import read_raw_table
from trainable.data.task import Task
from trainable.data.task_proposal import propose
from trainable.errors import UserError

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


@pytest.mark.seconds
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


def test_encoded_photographs_of_parquet_files_are_found(demo_cache):
    (folder,) = demo_cache.glob("demo-*-120-0")
    table = read_raw_table(folder)
    proposal = propose(table.rows, column_facts(table.rows, table.photographs))

    assert proposal.values["columns"]["image"] == "file_path"
    assert {"event": "eventID", "site": "siteID", "domain": "domainID"}.items() <= proposal.values["columns"].items()
    assert list(proposal.values["targets"]) == ["SPEI_30d", "SPEI_1y", "SPEI_2y"]


def test_quantities_that_are_no_target_are_said_to_be_of_use_as_numbers_and_none_is_proposed_as_one():
    rows = pd.DataFrame(
        {"image": PHOTOS, "mass": VALUES, "latitude": VALUES[::-1], "size": ["", *map(str, VALUES[1:])]}
        | {"site_id": ["", *range(1, N)], "colour": ["", *"abcdefghijk"]}
    )
    proposal = propose(rows, column_facts(rows))

    known = [name for name, reason in proposal.reasons.items() if "known when you forecast, `numbers` may" in reason]
    assert known == ["latitude", "size"]
    assert "numbers" not in proposal.values
