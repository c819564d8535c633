"""Where a model comes from: a folder, a run, the registry; and what is said when it is not there."""

import json
import shutil

import pytest

from trainable.errors import UserError
from tune.models.model_source import local_model, open_model
from tune.report.console import Console
from tune.tracking.client import open_client

NAME = "beetles-of-tests"
CONSOLE = Console(json=True)


@pytest.fixture
def find(tracking_uri, tmp_path):
    def run(spec, uri=tracking_uri):
        return local_model(spec, tracking_uri=uri, console=CONSOLE, cache=tmp_path)

    return run


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.seconds
def test_a_folder_is_taken_as_it_is(find, retrained):
    assert find(str(retrained / "model")) == retrained / "model"


@pytest.mark.parametrize("spec", [f"models:/{NAME}@champion", f"models:/{NAME}/1", "runs:/{run}/model"])
def test_a_registered_model_is_downloaded_as_it_was_exported(find, retrained, tracking_uri, spec):
    run_id = open_client(tracking_uri).get_model_version(NAME, "1").run_id

    assert contents(find(spec.format(run=run_id))) == contents(retrained / "model")


def test_it_is_downloaded_once(find, retrained, capsys):
    assert retrained.is_dir()
    first = find(f"models:/{NAME}/1")
    capsys.readouterr()

    assert find(f"models:/{NAME}@candidate") == first  # the alias of the same version
    assert capsys.readouterr().err == ""


def test_it_opens_ready_to_predict(retrained, tracking_uri, tmp_path):
    assert retrained.is_dir()
    model = open_model(f"models:/{NAME}@champion", tracking_uri, "cpu", CONSOLE, cache=tmp_path)

    assert model.config["targets"] == ["SPEI_30d", "SPEI_1y", "SPEI_2y"]


def test_an_altered_folder_is_refused_in_clear_lines(retrained, tracking_uri, tmp_path):
    shutil.copytree(retrained / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"label_range": [-9, 9]}))

    with pytest.raises(UserError, match="was altered"):
        open_model(str(tmp_path / "model"), tracking_uri, "cpu", CONSOLE)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "/no/such/folder",
            "MODEL must be an exported folder, hf://OWNER/NAME, runs:/RUN/model, models:/NAME/VERSION or models:/NAME@",
        ),
        (f"models:/{NAME}@best", r"got 'best'; it has: candidate \(version 1\), champion \(version 1\)"),
        (f"models:/{NAME}/77", "got '77'; it has: 1"),
        (f"models:/{NAME}", "MODEL must be an exported folder"),
        (f"models:/{NAME}/1/model", "MODEL must be an exported folder"),
        ("models:/no-such-model@champion", f"got 'no-such-model'; registered: .*{NAME}"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "there is no run '0123456789abcdef0123456789abcdef'"),
        ("runs:/", "there is no run ''"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(find, retrained, spec, message):
    assert retrained.is_dir()
    with pytest.raises(UserError, match=message):
        find(spec)


def test_a_run_without_that_model_says_what_it_has(find, retrained, tracking_uri):
    assert retrained.is_dir()
    run_id = open_client(tracking_uri).get_model_version(NAME, "1").run_id

    with pytest.raises(UserError, match=r"got 'weights'; .* has: model"):
        find(f"runs:/{run_id}/weights")


def test_a_model_of_someone_else_is_refused_and_not_kept(find, tracking_uri, tmp_path):
    client = open_client(tracking_uri)
    (tmp_path / "MLmodel").write_text("flavors: {}")
    name = "forests"
    client.create_registered_model(name)
    client.create_model_version(name, source=tmp_path.as_uri())

    with pytest.raises(UserError, match=r"must be a model that `sentinel-tune retrain` registered"):
        find(f"models:/{name}/1")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.slow
def test_a_server_that_is_down_is_one_clear_line(find):
    with pytest.raises(UserError, match=r"MLflow at http://127\.0\.0\.1:9 must answer"):
        find(f"models:/{NAME}@champion", uri="http://127.0.0.1:9")


def test_reading_makes_no_database(find, tmp_path):
    with pytest.raises(UserError, match="the tracking database must exist"):
        find(f"models:/{NAME}@champion", uri=f"sqlite:///{tmp_path / 'none.db'}")

    assert not (tmp_path / "none.db").exists()


def test_all_models_that_are_not_there_are_told_at_once(cli, tmp_path):
    ended = cli("evaluate", tmp_path / "one", "runs:/of/none", tmp_path / "two", "--no-track")

    assert (ended.status, ended.stdout) == (2, "")
    found = [line for line in ended.stderr.splitlines() if line.endswith("which is not there")]
    assert [str(tmp_path / name) in line for name, line in zip(("one", "two"), found, strict=True)] == [True, True]
