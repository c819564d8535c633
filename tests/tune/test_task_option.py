"""The task of data: found beside them or named, kept by the study, and held to when it is gone on with."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from search_spaces.space import SearchSpace, list_spaces
from search_spaces.task_space import fit_to_task
from search_spaces.variant import list_variants, load_variant
from tests.conftest import PLAIN
from tests.leaves import draw_leaves
from trainable.absent_settings import without_absent
from trainable.data.task import TASK_FILE, Task, beetles
from trainable.data.task_choice import named_task
from trainable.errors import UserError
from tune.cli import main
from tune.journal.entries import study_of
from tune.journal.journal import read_entries
from tune.journal.study_task import task_in_header, task_of_study

LENGTH = """
about: how long leaves are
columns: {image: file_name, site: place}
targets:
  length: {real: [0, null], unit: mm, column: "length (mm)"}
"""


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "leaves"
    folder.mkdir()
    draw_leaves(folder)
    (folder / TASK_FILE).write_text(LENGTH, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def study(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of one trial and one epoch on the leaves; not to be changed, copy it."""
    folder = tmp_path_factory.mktemp("study") / "leaves"
    options = {
        "--data": leaves, "--space": PLAIN, "--trials": 1, "--epochs": 1, "--workers": 1, "--study": folder,
        "--tracking-uri": f"sqlite:///{folder.parent}/mlflow.db",
    }  # fmt: skip
    assert main(["search", "--local", "--no-confirm", *(str(word) for pair in options.items() for word in pair)]) == 0
    return folder


def test_a_task_is_found_beside_the_data_and_a_named_one_goes_before(leaves, tmp_path):
    assert named_task(str(leaves), None) == Task.load(leaves / TASK_FILE)
    assert named_task(f"hf://{leaves}", None) == Task.load(leaves / TASK_FILE)
    assert named_task(str(leaves), "beetles") == beetles()
    other = tmp_path / "mass.yaml"
    other.write_text(LENGTH.replace("length", "mass"), encoding="utf-8")
    assert named_task(str(leaves), str(other)).names == ("mass",)
    for data in ("demo", "demo:120", str(tmp_path), str(tmp_path / "none")):
        assert named_task(data, None) is None


@pytest.mark.seconds
def test_the_task_of_a_dataset_of_the_hub_is_that_in_its_repository(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "datasets--someone--leaves"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)

    assert named_task("hf://someone/leaves", None) is None
    (repository / "snapshots" / ("0" * 40) / TASK_FILE).write_text(LENGTH, encoding="utf-8")
    assert named_task("hf://someone/leaves", None).names == ("length",)


def test_every_mistake_in_a_task_file_is_told_with_its_line_and_status_2(leaves, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(leaves, data)
    (data / TASK_FILE).write_text(
        "columns: {site: place}\ntargets:\n  a: {real: [2, 1]}\nscores: x\n", encoding="utf-8"
    )

    for verb in ("search", "plan", "train", "extract"):
        local = [] if verb == "train" else ["--local"]
        assert main([verb, *local, "--data", str(data)]) == 2
        told = capsys.readouterr().err
        for line, text in ((1, "`columns.image` must"), (3, "`low < high` must hold"), (4, "`scores` is not a key")):
            assert f"{TASK_FILE}:{line}: {text}" in told, told
        assert "Traceback" not in told


def test_data_of_other_columns_without_a_task_are_told_how_to_have_one(leaves, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(leaves, data)
    (data / TASK_FILE).unlink()

    assert main(["extract", "--local", "--data", str(data)]) == 2
    told = capsys.readouterr().err
    assert "column SPEI_30d" in told
    assert "need a task.yaml beside them, or `--task FILE`" in told
    (data / TASK_FILE).write_text(LENGTH.replace("length (mm)", "width"), encoding="utf-8")
    assert main(["extract", "--local", "--data", str(data)]) == 2
    told = capsys.readouterr().err
    assert "column width must be there" in told
    assert "need a task.yaml" not in told


def test_a_model_is_scored_by_its_own_targets_alone(trained_model, tmp_path, capsys):
    words = ["evaluate", str(trained_model), "--data", "demo:120", "--no-track", "--out", str(tmp_path / "out")]

    assert main([*words, "--task", "demo-one"]) == 2
    wanted = (
        "`--task` must have the targets of default, SPEI_30d (SPEI), SPEI_1y (SPEI), SPEI_2y (SPEI), but demo-one has"
    )
    assert wanted in capsys.readouterr().err


def test_a_task_that_is_not_there_is_told_with_the_built_in_ones(capsys):
    assert main(["extract", "--local", "--task", "beatles"]) == 2
    assert "a task must be one of beetles" in capsys.readouterr().err


@pytest.mark.seconds
def test_a_study_keeps_its_task_and_one_of_beetles_keeps_none(study, leaves):
    header = study_of(read_entries(study)).header

    assert task_of_study(header) == Task.load(leaves / TASK_FILE)
    assert task_in_header(beetles()) == {}
    assert task_of_study({}) == beetles()


@pytest.mark.seconds
def test_a_study_is_not_gone_on_with_by_another_task(study, leaves, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    other.write_text(LENGTH.replace("unit: mm", "unit: cm"), encoding="utf-8")
    before = (study / "journal.jsonl").read_bytes()

    assert main(["search", "--local", "--resume", str(study), "--trials", "2", "--task", str(other)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "must stay" in line]
    assert "targets.length.unit: mm, cm; begin a new study" in line

    kept = (leaves / TASK_FILE).read_text(encoding="utf-8")
    try:
        (leaves / TASK_FILE).write_text(LENGTH + "score: {scale: raw}\n", encoding="utf-8")
        assert main(["search", "--local", "--resume", str(study), "--trials", "2"]) == 2
        assert "score.scale: skill, raw; begin a new study" in capsys.readouterr().err
        (leaves / TASK_FILE).write_text(LENGTH.replace("how long", "the length of"), encoding="utf-8")
        assert main(["search", "--local", "--resume", str(study)]) == 0  # finished; words have no effect
        (leaves / TASK_FILE).unlink()
        assert main(["search", "--local", "--resume", str(study)]) == 0  # the study knows its task
    finally:
        (leaves / TASK_FILE).write_text(kept, encoding="utf-8")
    assert (study / "journal.jsonl").read_bytes() == before


@pytest.mark.seconds
def test_features_are_kept_under_the_images_whatever_is_predicted_from_them(study, leaves, tmp_path, capsys):
    other = tmp_path / "mass.yaml"
    other.write_text(yaml.safe_dump({"columns": {"image": "file_name"}, "targets": {"mass": {"real": "any"}}}))
    capsys.readouterr()

    words = ["--data", str(leaves), "--space", str(PLAIN), "--workers", "1", "--task", str(other)]
    assert main(["extract", "--local", *words]) == 0
    assert study_of(read_entries(study)).header["features_key"] in capsys.readouterr().out


NO_GROUPS = Task.from_dict({"columns": {"image": "a"}, "targets": {"b": {"real": "any"}}})
NO_DOMAINS = Task.from_dict(
    {"columns": {"image": "a", "event": "e"}, "covariates": ["c"], "targets": {"b": {"real": "any"}}}
)
CODES = ("tail.domain_scale", "tail.species_scale", "augment.domain_dropout", "augment.species_dropout")


@pytest.mark.parametrize("name", list_spaces())
@pytest.mark.parametrize("task", [NO_GROUPS, NO_DOMAINS], ids=["no groups", "no domains"])
def test_a_space_varies_nothing_that_a_task_lacks_and_says_so(name, task):
    space = SearchSpace.load(name)
    fitted, line = fit_to_task(space, task)

    gone = [p.key for p in space.parameters if p.key not in [kept.key for kept in fitted.parameters]]
    assert (line is None) == (not gone)
    assert all(key in line for key in gone)
    lacking = CODES if task is NO_GROUPS else CODES[::2]
    assert not set(lacking) & {p.key for p in fitted.parameters}
    assert all(fitted.base.config.flat()[key] == 0 for key in lacking)
    assert SearchSpace.from_dict(fitted.to_dict()).differences(fitted) == ()
    for point in fitted.start_from:  # they lie in what is left
        assert fitted.config(fitted.values_of(point.config), 3) == point.config.with_epochs(3)
    assert fit_to_task(fitted, task) == (fitted, None)


def test_what_depends_on_what_a_task_lacks_goes_with_it():
    space = SearchSpace.load("full")
    values = space.to_dict()
    of_species = {"tail.species_scale": [0.3, 1.0]}
    values["parameters"]["loss.kind"] |= {"when": of_species, "otherwise": "crps"}
    values["parameters"]["optim.name"] |= {"when": {"tail.species_scale": [0.0]}, "otherwise": "adam"}
    values["start_from"] = []
    fitted, line = fit_to_task(SearchSpace.from_dict(values), NO_GROUPS)

    assert "loss.kind" in line
    assert fitted.base.config.loss.kind == "crps"
    (optimizer,) = [p for p in fitted.parameters if p.key == "optim.name"]
    assert not optimizer.when


OF_CLASSES = ("loss.label_smoothing", "loss.class_exponent")


OF_NUMBERS = ("tail.number_scale", "augment.number_dropout")


def test_the_challenge_lacks_nothing_but_what_only_classes_and_numbers_have():
    """Its proposals are those of a space without: what drops out is asked of no random stream."""
    for name in list_spaces():
        space = SearchSpace.load(name)
        fitted, line = fit_to_task(space, beetles())
        assert fitted == replace(
            space, parameters=tuple(p for p in space.parameters if p.key not in (*OF_CLASSES, *OF_NUMBERS))
        )
        assert (line is None) == (fitted == space)
    for name in list_variants():
        config = load_variant(name, epochs=3)
        assert without_absent(config, beetles()) == config


def test_classes_have_a_loss_of_their_own():
    fitted, line = fit_to_task(SearchSpace.load("full"), Task.load("demo-species"))
    keys = {p.key for p in fitted.parameters}

    assert set(OF_CLASSES) < keys
    assert "loss.kind" not in keys
    assert "no real targets" in line
    assert all(point.config.loss.kind == "mse" for point in fitted.start_from)


def test_numbers_that_a_task_has_are_varied_and_said_to_be_lacking_where_it_has_none():
    with_numbers, line = fit_to_task(SearchSpace.load("full"), Task.load("demo-size"))
    without, other_line = fit_to_task(SearchSpace.load("full"), Task.load("demo-one"))

    assert set(OF_NUMBERS) < {p.key for p in with_numbers.parameters}
    assert not set(OF_NUMBERS) & {*line.replace(",", "").split(), *(p.key for p in without.parameters)}
    assert "the task has no numbers" in other_line
    assert set(OF_NUMBERS) < {*other_line.replace(",", "").split()}


def test_a_space_of_what_a_task_lacks_alone_is_refused():
    values = SearchSpace.load("full").to_dict()
    values |= {"start_from": [], "parameters": {"tail.domain_scale": values["parameters"]["tail.domain_scale"]}}
    with pytest.raises(UserError, match="the task has no domains, no covariates, no events"):
        fit_to_task(SearchSpace.from_dict(values), NO_GROUPS)
