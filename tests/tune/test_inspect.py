"""`inspect`: what it says of data and writes; what it proposes is in `test_task_proposal.py`."""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.leaves import draw_leaves
from trainable.data.specimens import load_specimens
from trainable.data.task import TASK_FILE, Task
from tune.verbs.inspect import leaking_share


def test_bytes_that_nothing_says_to_be_photographs_are_told_and_not_shown(tmp_path, cli):
    sites = [f"g{i // 4}" for i in range(12)]
    columns = {"image": [b"\xff\xd8\xff" * 50] * 12, "site": sites, "species": ["a", "b", "c"] * 4}
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
