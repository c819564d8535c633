"""The registry on a real SQLite MLflow: what is registered, who gets which alias, and that others can load it."""

import base64
import contextlib
import io
import json
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from trainable.checksums import from_json, to_json
from trainable.data.task import Task, beetles
from trainable.errors import UserError
from trainable.export.standalone import ExportedModel
from tune.models.logged_export import REQUIREMENTS
from tune.models.registry import Registry
from tune.models.retrain_run import Entry
from tune.tracking.client import open_client

STRANGER = """
import os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tune", "trainable", "search_spaces", "peft", "ray", "optuna"):
            raise ModuleNotFoundError(name + " is not installed here")

sys.meta_path.insert(0, Blocked())
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
uri, model_uri, given, found = sys.argv[1:]
import mlflow, pandas as pd
mlflow.set_tracking_uri(uri)
model = mlflow.pyfunc.load_model(model_uri)
frame = pd.read_json(given, orient="split", dtype={"event": str})
model.predict(frame).to_json(found, orient="split", double_precision=15)
assert list(model.predict(model.input_example).columns) == model.metadata.signature.outputs.input_names()
assert model.predict(frame[["image"]]).shape == (len(frame), 9)
try:
    model.predict(pd.DataFrame({"image": ["/etc/hostname", frame["image"][0]]}))
except Exception as error:
    assert "row 0: `image` must be base64 text" in str(error), error
else:
    raise AssertionError("a path was taken")
"""


def encoded(shade: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (50, 40), (shade, 255 - shade, 60)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def registry(tracking_uri):
    return Registry(tracking_uri, "sentinel-tune")


@pytest.fixture
def entry(retrained, tmp_path, request):
    """The retrained winner under a name of the test's own."""
    shutil.copytree(retrained / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"of": str(tmp_path)}))  # another digest
    return Entry(
        name=request.node.name.replace("/", "-"),
        folder=tmp_path / "model",
        facts=config["facts"],
        study_id="ground-beetles",
        trial_id=None,
        histories=[[{"train/loss": 1.0}]],
        is_winner=True,
    )


def another(entry: Entry, folder: Path, *, shrink: float = 1.0, **evidence) -> Entry:
    """Another model of the same name, whose forecasts err `shrink` times as much."""
    shutil.copytree(entry.folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"other": str(folder)}))
    file = folder / "confirmation.json"
    values = from_json(file.read_bytes())
    for part in values["forecasts"].values():
        part["crps"] = (np.array(part["crps"]) * shrink).tolist()
    file.write_text(to_json(values | evidence))
    return replace(entry, folder=folder)


@pytest.mark.slow
def test_someone_without_this_project_loads_the_champion_and_predicts_the_same(retrained, tracking_uri, tmp_path):
    frame = pd.DataFrame(
        {
            "image": [encoded(s) for s in (10, 90, 200, 250)],
            "domain": [1, 1, None, 5000],
            "event": ["a", "a", "b", None],
        }
    )
    frame.to_json(tmp_path / "given.json", orient="split")
    words = [tracking_uri, "models:/beetles-of-tests@champion", tmp_path / "given.json", tmp_path / "found.json"]
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *map(str, words)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    found = pd.read_json(tmp_path / "found.json", orient="split")
    model = ExportedModel.load(retrained / "model")
    domains = [1, 1, None, 5000]
    pixels = model.pixels([base64.b64decode(image) for image in frame["image"]])
    predictions = predicted_in_float64(model, pixels, domains)
    forecasts = model.forecast(predictions, ["a", "a", "b", "c"], domains)
    assert_rounded(found[["SPEI_30d", "SPEI_1y", "SPEI_2y"]].to_numpy(), predictions, TINY_TERMS)
    for kind in ("mu", "sigma"):
        expected = np.array([forecasts[event][kind] for event in "aabc"])
        columns = [f"{target}_{kind}" for target in ("SPEI_30d", "SPEI_1y", "SPEI_2y")]
        assert_rounded(found[columns].to_numpy(), expected, TINY_TERMS)


def test_what_is_logged_holds_no_pickle_and_names_what_it_needs(retrained, tracking_uri):
    assert retrained.is_dir()
    client = open_client(tracking_uri)
    place = client.get_model_version_download_uri("beetles-of-tests", "1").removeprefix("file://")
    names = {str(file.relative_to(place)) for file in Path(place).rglob("*") if file.is_file()}

    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".bin"))]
    assert {"artifacts/model/model.safetensors", "code/sentinel_export.py", "served_model.py"} <= names
    needed = Path(place, "requirements.txt").read_text()
    assert "open_clip_torch" in needed
    assert not any(name in needed for name in ("peft", "ray", "optuna"))


def test_the_requirements_are_this_projects_own():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    assert set(REQUIREMENTS) <= set(project["dependencies"])


def test_candidate_always_moves_and_champion_only_on_a_win(registry, entry, tmp_path):
    first = registry.register(entry, force=False)
    lost = registry.register(another(entry, tmp_path / "lost" / "model"), force=False)
    aliases_then = registry._aliases(entry.name)
    won = registry.register(another(entry, tmp_path / "won" / "model", shrink=0.5), force=False)

    assert first.champion.moves
    assert (lost.champion.moves, aliases_then) == (False, {"candidate": "2", "champion": "1"})
    assert "does not beat the champion, version 1" in lost.champion.reason
    assert won.champion.moves
    assert registry._aliases(entry.name) == {"candidate": "3", "champion": "3"}


def test_the_champion_stays_on_another_dataset_unless_forced(registry, entry, tmp_path):
    registry.register(entry, force=False)
    other = another(entry, tmp_path / "other" / "model", shrink=0.5, data_fingerprint="f" * 64)
    stays = registry.register(other, force=False)
    aliases_then = registry._aliases(entry.name)
    forced = registry.register(other, force=True)

    assert not stays.champion.moves
    assert "not confirmed on the same data and folds (data fingerprint ffffffffffff against" in stays.champion.reason
    assert aliases_then == {"candidate": "2", "champion": "1"}
    assert (forced.version, forced.is_new, forced.champion.moves) == ("2", False, True)
    assert forced.champion.reason.startswith("forced, although")
    assert registry._aliases(entry.name) == {"candidate": "2", "champion": "2"}


def test_one_export_is_registered_once(registry, entry):
    first, again = registry.register(entry, force=False), registry.register(entry, force=False)

    assert (first.version, first.run_id, first.is_new) == (again.version, again.run_id, True)
    assert not again.is_new
    assert again.champion.reason == "it is the champion already"


def test_a_model_that_its_confirmation_decided_against_is_a_candidate_only(registry, entry):
    registered = registry.register(replace(entry, is_winner=False), force=False)

    assert not registered.champion.moves
    assert registry._aliases(entry.name) == {"candidate": "1"}


def test_what_a_killed_process_left_half_is_deleted_and_done_again(registry, entry, tracking_uri):
    """The run and the logged model are there, the version is not."""
    client = open_client(tracking_uri)
    first = registry.register(entry, force=False)
    client.delete_registered_model(entry.name)
    again = registry.register(entry, force=False)

    assert again.run_id != first.run_id
    assert client.get_run(first.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(again.run_id).info.lifecycle_stage == "active"


def test_nothing_is_left_when_the_version_cannot_be_made(entry, tracking_uri, tmp_path):
    """A copy of the database that refuses the last write: the run and the model are taken back."""
    file = tmp_path / "mlflow.db"
    with (
        contextlib.closing(sqlite3.connect(tracking_uri.removeprefix("sqlite:///"))) as source,
        contextlib.closing(sqlite3.connect(file)) as copy,
    ):
        source.backup(copy)
        copy.execute("CREATE TRIGGER full BEFORE INSERT ON model_versions BEGIN SELECT RAISE(ABORT, 'full'); END")
        copy.commit()
    registry, client = Registry(f"sqlite:///{file}", "sentinel-tune"), open_client(f"sqlite:///{file}")
    experiment = client.get_experiment_by_name("sentinel-tune").experiment_id
    before = len(client.search_runs([experiment])), len(client.search_logged_models([experiment]))

    with pytest.raises(UserError, match="the same command again registers it"):
        registry.register(entry, force=False)
    after = len(client.search_runs([experiment])), len(client.search_logged_models([experiment]))
    left = list(client.search_registered_models(f"name = '{entry.name}'"))
    with contextlib.closing(sqlite3.connect(file)) as copy:
        copy.execute("DROP TRIGGER full")
        copy.commit()

    assert (after, left) == (before, [])
    assert registry.register(entry, force=False).version == "1"


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's"])
def test_a_name_that_cannot_be_is_told_before_training(registry, name):
    with pytest.raises(UserError, match="`--name` must consist of"):
        registry.check(name, beetles())


@pytest.mark.slow
def test_a_registry_that_does_not_answer_is_one_clear_line():
    registry = Registry("http://127.0.0.1:9", "sentinel-tune")

    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 must answer"):
        registry.check("beetles", beetles())


@pytest.mark.slow
def test_a_name_of_models_of_another_task_is_refused_before_training(registry, entry):
    registry.register(entry, force=False)
    registry.check(entry.name, beetles())
    with pytest.raises(
        UserError, match=r"`--name` must be of models that forecast species \(classes\), .* but models:/"
    ):
        registry.check(entry.name, Task.load("demo-species").with_classes("ab"))
    registry.check("no-such-name", Task.load("demo-species").with_classes("ab"))
