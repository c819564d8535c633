"""Models of one's own targets on other data than they were trained on: what is enough to be scored, and what is not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.conftest import Outcome
from tests.leaves import draw_leaves
from trainable.data.task import TASK_FILE
from tune.cli import main

TARGETS = {"class": {"kind": {"classes": "auto"}}, "number": {"mass": {"real": "any"}}}
Evaluate = Callable[[str, pd.DataFrame | str], Outcome]


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaves of three kinds; not to be changed, copy them."""
    folder = tmp_path_factory.mktemp("leaves") / "leaves"
    folder.mkdir()
    draw_leaves(folder)
    rows = pd.read_csv(folder / "metadata.csv")
    rows.assign(kind=[["ash", "elm", "oak"][n % 3] for n in rows.index]).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def models(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of a training each that is over in one epoch, by what it forecasts; the model is in it."""
    folder = tmp_path_factory.mktemp("models")
    for name, targets in TARGETS.items():
        data = Path(shutil.copytree(leaves, folder / "data" / name))
        columns = {"image": "file_name", "site": "place"}
        (data / TASK_FILE).write_text(yaml.safe_dump({"columns": columns, "targets": targets}))
        words = ["--data", str(data), "--epochs", "1", "--workers", "1", "--out", str(folder / name)]
        assert main(["train", *words]) == 0
    return {name: folder / name for name in TARGETS}


@pytest.fixture
def evaluate(cli, leaves: Path, models: dict[str, Path], tmp_path: Path) -> Evaluate:
    """Scores a model on leaves with another table."""

    def run(name: str, table: pd.DataFrame | str) -> Outcome:
        data = Path(shutil.copytree(leaves, tmp_path / "data"))
        text = table if isinstance(table, str) else table.to_csv(index=False)
        (data / "metadata.csv").write_text(text, encoding="utf-8")
        words = ["--data", data, "--workers", 1, "--no-track", "--out", tmp_path / "out", "--json"]
        return cli("evaluate", models[name] / "model", *words)

    return run


@pytest.fixture
def rows(leaves: Path) -> pd.DataFrame:
    return pd.read_csv(leaves / "metadata.csv")


@pytest.mark.seconds
@pytest.mark.parametrize("n", [1, 12])
@pytest.mark.parametrize(("name", "values"), [("class", {"kind": "oak"}), ("number", {"mass": 0.0005})])
def test_labels_that_never_differ_are_enough_to_score_a_model_that_has_learnt_elsewhere(
    name, values, n, evaluate, rows
):
    ended = evaluate(name, rows[:n].assign(**values))
    assert ended.status == 0, ended.stderr
    assert ended.result["events"]["n_events"] == n
    assert ended.result["models"][0]["score"] > 0
    assert "to train on" not in ended.stderr
    assert "probability near 0" not in ended.stderr


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("name", "values", "lines"),
    [
        ("class", ["oak"] * 46 + ["", None], ["train row 46, train row 47: kind must be given, but is ''"]),
        ("class", ["oak"] * 46 + ["fir", "Oak"],
         ["train row 46: kind must be one of ash, elm, oak, but is 'fir'",
          "train row 47: kind must be one of ash, elm, oak, but is 'Oak'; did you mean `oak`?"]),
        ("class", "", ["`evaluate` compares forecasts with labels, but DATA has no kind; "]),
        ("number", "n/a", ["`evaluate` compares forecasts with labels, but DATA has no mass; "]),
        ("number", "heavy", ["and 45 more rows: mass must be a finite number, but got 'heavy'"]),
        ("number", "0,5", ["and 45 more rows: mass must be a finite number, but got '0,5'"]),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_scored_are_told_and_nothing_else(name, values, lines, evaluate, rows, tmp_path):
    ended = evaluate(name, rows.assign(**{next(iter(TARGETS[name])): values}))
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.status, len(errors)) == (2, len(lines))
    for error, line in zip(errors, lines, strict=True):
        assert line in error.replace(str(tmp_path / "data"), "DATA")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "metadata.csv must be readable, but: it is empty"),
        ("\n\n", "metadata.csv must be readable, but: it is empty"),
        ("file_name,place,kind\n", "split train must have specimens, but is empty"),
    ],
)
def test_a_table_of_nothing_is_one_line(text, line, evaluate):
    ended = evaluate("class", text)
    errors = [error for error in ended.stderr.splitlines() if error.startswith("error: ")]
    assert (ended.status, len(errors)) == (2, 1)
    assert errors[0].endswith(line)


def test_the_folder_of_a_training_is_told_where_its_model_is(cli, models, tmp_path):
    ended = cli("export", models["class"], "--out", tmp_path / "copy")
    assert ended.status == 2
    assert f"MODEL must be an exported folder, but {models['class']} holds one: give {models['class'] / 'model'}" in (
        ended.stderr
    )
