"""Tasks of classes: what a task file may say, and labels as tables of all kinds hold them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image, Value

from tests.leaves import draw_leaves, leaf_table
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.task import Task
from trainable.errors import UserError

COLUMNS = {"image": "file_name", "event": "plot", "site": "place", "domain": "region"}


def task(classes: object = "auto", *, column: str = "kind", **more: object) -> Task:
    return Task.from_dict({"columns": COLUMNS, "targets": {"kind": {"classes": classes, "column": column}}, **more})


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    draw_leaves(folder)
    return folder


def table(kinds: list[object] | None = None) -> pd.DataFrame:
    rows = leaf_table()
    names = kinds or ["dune", "bog", "heath"]
    rows["kind"] = [names[int(plot[-1])] for plot in rows["plot"]]
    return rows


def read(rows: pd.DataFrame, of: Task, leaves: Path, tmp_path: Path, *, suffix: str = "csv") -> Specimens:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    if not (folder / "photos").exists():
        (folder / "photos").symlink_to(leaves / "photos")
    if suffix == "csv":
        rows.to_csv(folder / "metadata.csv", index=False)
    else:
        rows.to_parquet(folder / "metadata.parquet")
    return load_specimens(str(folder), task=of, cache_dir=tmp_path / "cache", n_processes=1)


def problems_of(values: object, **more: object) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        Task.from_dict({"columns": {"image": "a"}, "targets": values, **more})
    return caught.value.problems


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"x": {"classes": "auot"}}, "`classes` must be auto, or a list of 2 to 500 names, but got 'auot'"),
        ({"x": {"classes": ["a"]}}, "a list of 2 to 500 names, but has 1"),
        ({"x": {"classes": ["a", "b", None]}}, "must be a text, a number or true or false, but got nothing"),
        ({"x": {"classes": ["a", 1, 1.0]}}, "`classes` must name each once, but '1' stands twice"),
        ({"x": {"classes": "auto", "real": "any"}}, "`x` must have one of `real` and `classes`, but has both"),
        ({"x": {"classes": "auto", "unit": "mm"}}, "`unit` is not a key here; valid: classes, column"),
        ({"x": {"classes": "auto"}, "y": {"real": "any"}}, "this has `x`, `y`: make a task each"),
        ({"x": {"classes": "auto"}, "y": {"classes": "auto"}}, "must be the only one of its task"),
    ],
)
def test_what_no_target_of_classes_can_be_is_refused(targets, message):
    (line,) = problems_of(targets)

    assert message in line


def test_each_kind_of_target_has_its_own_scores():
    (line,) = problems_of({"x": {"classes": "auto"}}, score={"kind": "crps"})
    assert line == "task: `kind` must be one of log_loss, brier for classes, but got 'crps'"
    (line,) = problems_of({"x": {"real": "any"}}, score={"kind": "brier"})
    assert line == "task: `kind` must be one of crps for numbers, but got 'brier'"


def test_a_file_with_classes_is_read_as_it_is_written(tmp_path):
    file = tmp_path / "task.yaml"
    file.write_text("columns: {image: a}\ntargets:\n  species: {classes: [1, true, 'no tree']}\n")
    of = Task.load(file)
    file.write_text(yaml.safe_dump(of.to_dict(), sort_keys=False))

    assert of.classes == ("1", "true", "no tree")
    assert of.score.kind == "log_loss"
    assert of.score.scale == "skill"
    assert of.n_outputs == 3
    assert Task.load(file) == of == Task.from_dict(of.to_dict())


def test_classes_of_the_data_are_named_by_the_data_and_never_guessed_before(leaves, tmp_path):
    with pytest.raises(ValueError, match="known once data are read"):
        task().classes  # noqa: B018
    specimens = read(table(), task(), leaves, tmp_path)

    assert specimens.task.classes == ("bog", "dune", "heath")
    assert specimens.labels.shape == (len(specimens.frame), 1)
    assert [specimens.task.classes[int(index)] for index in specimens.labels[:, 0]] == specimens.frame["label"].tolist()
    assert Task.from_dict(specimens.task.to_dict()) == specimens.task
    assert specimens.task.differences(task()) == ()
    assert specimens.task.differences(task(["bog", "dune"])) != ()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("kinds", "classes"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        ([2.0, 1.0, 0.0], ("0", "1", "2")),
        (["10a", "9", "2"], ("10a", "2", "9")),
    ],
)
def test_numbers_and_words_are_classes_by_how_they_are_written(kinds, classes, suffix, leaves, tmp_path):
    if suffix == "csv" and kinds[0] == 2.0:
        classes = ("0.0", "1.0", "2.0")  # a table of text is taken at its word
    assert read(table(kinds), task(), leaves, tmp_path, suffix=suffix).task.classes == classes


def test_true_and_false_are_two_classes(leaves, tmp_path):
    rows = table()
    rows["kind"] = rows["kind"] == "bog"
    specimens = read(rows, task([True, False]), leaves, tmp_path, suffix="parquet")

    assert specimens.task.classes == ("true", "false")


def hub_folder(folder: Path, leaves: Path, kinds: list[int]) -> str:
    """A folder as `datasets` writes it, with a `ClassLabel` feature."""
    rows = table()
    features = Features(
        {"photo": Image(), "place": Value("string"), "kind": ClassLabel(names=["dune", "bog", "heath"])}
    )
    photos = [{"bytes": (leaves / name).read_bytes(), "path": name} for name in rows["file_name"]]
    columns = {"photo": photos, "place": rows["place"].tolist(), "kind": kinds}
    (folder / "data").mkdir(parents=True)
    Dataset.from_dict(columns, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return str(folder)


def test_the_numbers_of_a_class_label_are_read_by_their_names(leaves, tmp_path):
    of = Task.from_dict({"columns": {"image": "photo", "site": "place"}, "targets": {"kind": {"classes": "auto"}}})
    kinds = [int(plot[-1]) for plot in table()["plot"]]
    folder = hub_folder(tmp_path / "hub", leaves, kinds)
    for data in (folder, f"hf://{folder}"):
        specimens = load_specimens(data, task=of, cache_dir=tmp_path / "cache", n_processes=1)
        assert specimens.task.classes == ("bog", "dune", "heath")
        assert specimens.frame["label"].tolist()[:6:2] == ["dune", "bog", "heath"]

    unknown = hub_folder(tmp_path / "unknown", leaves, [-1, *kinds[1:]])
    with pytest.raises(UserError, match="train row 0: kind must be given"):
        load_specimens(unknown, task=of, cache_dir=tmp_path / "cache", n_processes=1)


def test_a_class_that_looks_like_no_label_is_one_only_where_the_task_lists_it(leaves, tmp_path):
    rows = table(["dune", "NA", "heath"])
    with pytest.raises(UserError) as caught:
        read(rows, task(), leaves, tmp_path)
    assert any("`kind` must be given in every row, but is 'NA' in some" in problem for problem in caught.value.problems)
    assert read(rows, task(["dune", "NA", "heath"]), leaves, tmp_path).task.classes == ("dune", "NA", "heath")


def test_missing_and_unlisted_labels_are_told_with_the_list(leaves, tmp_path):
    rows = table()
    rows.loc[0, "kind"] = ""
    rows.loc[[2, 3], "kind"] = "heaht"
    with pytest.raises(UserError) as caught:
        read(rows, task(["bog", "dune", "heath"]), leaves, tmp_path)

    lines = caught.value.problems
    assert "train row 0: kind must be given, but is ''" in lines
    wanted = "train row 2, train row 3: kind must be one of bog, dune, heath, but is 'heaht'; did you mean `heath`?"
    assert wanted in lines


def test_events_of_two_classes_and_a_target_of_one_are_refused(leaves, tmp_path):
    rows = table()
    rows.loc[0, "kind"] = "heath"
    with pytest.raises(UserError, match=r"event 0/0 must have one label each for kind, but has heath .* dune"):
        read(rows, task(), leaves, tmp_path)
    rows["kind"] = "heath"
    with pytest.raises(UserError, match="`kind` must have two classes at least, but is 'heath' everywhere"):
        read(rows, task(), leaves, tmp_path)


def test_more_classes_than_can_be_learnt_are_refused(leaves, tmp_path):
    rows = table()
    wide = pd.concat([rows.assign(plot=rows["plot"] + f"/{n}") for n in range(11)], ignore_index=True)
    wide["kind"] = [f"k{row}" for row in wide.index]
    of = Task.from_dict({"columns": {"image": "file_name", "site": "place"}, "targets": {"kind": {"classes": "auto"}}})
    with pytest.raises(UserError, match="`kind` must have 500 classes at most, but has 528: 'k0', 'k1', 'k10'"):
        read(wide, of, leaves, tmp_path)


def test_classes_that_are_rare_absent_or_of_one_site_are_named(leaves, tmp_path):
    rows = table()
    rows.loc[rows["plot"] == "3/0", "kind"] = "cliff"
    rows.loc[rows["plot"].isin(["1/1", "4/1"]), "kind"] = "mire"
    lines = read(rows, task(["bog", "cliff", "dune", "fen", "heath", "mire"]), leaves, tmp_path).notes

    assert lines[0].startswith("warning: 1 class of kind without a specimen: fen;")
    assert lines[1].startswith("warning: 1 class of kind at one site alone: cliff; nothing of them is left to train on")
    assert lines[2].startswith("warning: 1 class of kind with fewer than 5 events: mire;")
    assert len(lines) == 3


def test_without_groups_a_class_of_one_image_is_one_of_few(leaves, tmp_path):
    rows = table()
    rows.loc[0, "kind"] = "cliff"
    of = Task.from_dict({"columns": {"image": "file_name"}, "targets": {"kind": {"classes": "auto"}}})
    (line,) = read(rows, of, leaves, tmp_path).notes

    assert line.startswith("warning: 1 class of kind with fewer than 5 images: cliff;")


def test_a_covariate_that_tells_the_class_is_warned_of_by_name(leaves, tmp_path):
    rows = table()
    rows["genus"] = rows["kind"].map({"bog": "Drosera", "dune": "Ammophila", "heath": "Calluna"})
    (line,) = read(rows, task(covariates=["genus"]), leaves, tmp_path).notes

    assert line.startswith("warning: genus tells kind by itself")


def test_a_class_may_be_called_as_any_column_of_ours(leaves, tmp_path):
    of = Task.from_dict(
        {"columns": COLUMNS, "covariates": ["genus"], "targets": {"species": {"classes": "auto", "column": "kind"}}}
    )
    specimens = read(table(), of, leaves, tmp_path)

    assert set(specimens.frame["species"]) == {"Acer", "unknown", "Quercus"}
    assert set(specimens.frame["label"]) == {"bog", "dune", "heath"}


@pytest.mark.seconds
def test_the_demo_has_species_for_classes(demo_cache):
    specimens = load_specimens("demo:120", task=Task.load("demo-species"), cache_dir=demo_cache, n_processes=1)

    names = set(specimens.frame["label"])
    assert specimens.task.classes == tuple(sorted(names))
    assert len(names) > 20
    assert specimens.frame["event_id"].is_unique
    assert np.array_equal(np.unique(specimens.labels), np.arange(len(names)))
