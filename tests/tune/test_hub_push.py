"""`export --push`: a model given on by the hub, against a stand-in of the hub on loopback; and what is refused."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.tune.hub_stand_in import READER, WRITER, Hub, Repository
from trainable.data.task import Task, beetles
from trainable.export.standalone import ExportedModel

NAME = "entomologists/spei"


@pytest.fixture
def model(trained_model, tmp_path) -> Path:
    return Path(shutil.copytree(trained_model, tmp_path / "model"))


@pytest.fixture
def hub():
    hub = Hub()
    yield hub
    hub.end()


@pytest.fixture
def export(hub, processes, model, tmp_path):
    """Runs `export model --push NAME` as a process that knows the stand-in alone, with a home of its own."""

    assert model.is_dir()

    def run(*words: object, token: str | None = WRITER):
        environment = hub.environment(token) | {"HF_HOME": str(tmp_path / "hf-home")}
        return processes.run("export", "model", *words, **environment)

    return run


@pytest.fixture
def leaf(tmp_path) -> Path:
    """A photograph."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "leaf.png")
    return tmp_path / "leaf.png"


def metadata(readme: bytes) -> dict[str, object]:
    return yaml.safe_load(readme.decode().split("---\n")[1])


def problems(ended) -> list[str]:
    return [line for line in ended.stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.slow
def test_a_model_that_was_pushed_predicts_the_same_bits_and_its_card_says_what_it_is(
    hub, export, processes, model, leaf, tmp_path
):
    ended = export("--push", NAME, "--licence", "cc0-1.0", "--private", "--json")
    assert ended.status == 0, ended.stderr
    repository = hub.repositories[NAME]
    assert repository.private
    assert ended.result["pushed"] == {
        "repository": NAME,
        "commit": f"{hub.endpoint}/{NAME}/commit/{repository.sha}",
        "is_new": True,
        "licence": "cc0-1.0",
    }
    assert WRITER not in ended.stdout + ended.stderr

    card = metadata(repository.files["README.md"])
    assert card["license"] == "cc0-1.0"
    assert {"biology", "CV", "images"} <= set(card["tags"])
    assert "SPEI_30d" in card["model_description"]
    assert repository.files["README.md"].decode().endswith((model / "README.md").read_text())
    (tmp_path / "task.yaml").write_bytes(repository.files["task.yaml"])
    assert Task.load(tmp_path / "task.yaml") == beetles()

    folder = tmp_path / "downloaded"
    for name, content in repository.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    wanted = ExportedModel.load(model).predict([leaf.read_bytes()], [4])
    assert (ExportedModel.load(folder).predict([leaf.read_bytes()], [4]) == wanted).all()

    environment = hub.environment() | {"HF_HOME": str(tmp_path / "hf-home")}
    told = processes.run("predict", f"hf://{NAME}", leaf, "--domain", "4", "--json", **environment)
    here = processes.run("predict", "model", leaf, "--domain", "4", "--json")
    assert told.status == 0, told.stderr
    assert told.result["specimens"] == here.result["specimens"]


@pytest.mark.slow
def test_a_second_push_is_a_commit_on_top_that_keeps_the_chosen_licence_and_takes_away_what_has_no_place(hub, export):
    assert export("--push", NAME).status == 0
    first = dict(hub.repositories[NAME].files)
    assert metadata(first["README.md"])["license"] == "unknown"
    first["README.md"] = first["README.md"].replace(b"license: unknown", b"license: mit", 1)
    hub.repositories[NAME].commits.append(first | {"adapter_7/adapter_model.safetensors": b"x", "figure.png": b"y"})
    ended = export("--push", NAME, "--json")

    assert ended.status == 0, ended.stderr
    assert f"{NAME} is there already" in ended.stderr
    assert ended.result["pushed"]["is_new"] is False
    assert ended.result["pushed"]["licence"] == "mit"
    assert set(hub.repositories[NAME].files) == {*first, "figure.png"}
    assert len(hub.repositories[NAME].commits) == 4  # made, pushed, changed by hand, pushed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "token", "message"),
    [
        (["--push", NAME], READER, "may only read"),
        (["--push", NAME], "hf_of_nobody", "Invalid user token"),
        (["--push", "visitors/spei"], WRITER, "which are carabus, entomologists, but got 'visitors'"),
        (["--push", NAME, "--licence", "mine"], WRITER, '"license" must be one of'),
        (["--push", "carabus/taken", "--private"], WRITER, "carabus/taken is there, and public"),
    ],
)
def test_what_the_hub_would_refuse_is_one_line_before_anything_is_sent(hub, export, words, token, message):
    hub.repositories["carabus/taken"] = Repository(private=False)
    ended = export(*words, token=token)

    assert ended.status == 2
    assert [message in line for line in problems(ended)] == [True], ended.stderr
    assert "Traceback" not in ended.stderr
    assert hub.sent == []
    assert token not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_hub_that_is_away_or_fails_on_the_way_is_one_line_and_changes_nothing(hub, export):
    hub.broken = "/lfs/"
    ended = export("--push", NAME)
    assert ended.status == 2
    assert ["the hub must take" in line and "disk of the hub" in line for line in problems(ended)] == [True]
    assert len(hub.repositories[NAME].commits) == 1

    hub.end()
    ended = export("--push", NAME)
    assert ended.status == 2
    assert ["the hub must take" in line for line in problems(ended)] == [True], ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--push", "spei"], "`--push` must be OWNER/NAME"),
        (["--push", "a/b/c"], "`--push` must be OWNER/NAME"),
        (["--push", "a/b--c"], "`--push` must be OWNER/NAME"),
        (["--push", "a/b.git"], "`--push` must be OWNER/NAME"),
        (["--push", NAME, "--licence", "My Own"], "`--licence` must be a name of the hub's list"),
        (["--out", "o", "--licence", "mit"], "there is no `--push OWNER/NAME`"),
        (["--out", "o", "--private"], "there is no `--push OWNER/NAME`"),
        (["--push", NAME], "must have a token of the hub, but there is none"),
        (["--push", NAME, "--out", "o"], "must have a token of the hub, but there is none"),
    ],
)
def test_a_name_or_a_token_that_cannot_be_is_refused_without_the_network(
    cli, trained_model, tmp_path, monkeypatch, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    ended = cli("export", trained_model, *words)

    assert (ended.status, ended.stdout) == (2, "")
    assert [message in line for line in problems(ended)] == [True]
    assert list(tmp_path.iterdir()) == []


def test_the_metadata_that_an_owner_wrote_by_hand_stay(trained_model):
    from trainable.export.facts import ModelFacts
    from trainable.export.hub_card import hub_card

    config = json.loads((trained_model / "config.json").read_text())
    facts = ModelFacts.from_dict(
        config["facts"] | {"data": "hf://a/beetles", "backbone": "hf-hub:imageomics/bioclip-2"}
    )
    made = hub_card("# A model\n", facts=facts, task=beetles())
    values = metadata(made.encode())
    assert (values["license"], values["datasets"], values["base_model"]) == (
        "unknown", ["a/beetles"], "imageomics/bioclip-2",
    )  # fmt: skip

    mended = made.replace("license: unknown", "license: mit").replace("- CV", "- computer vision")
    again = hub_card(mended, facts=facts, task=beetles(), at_the_hub={"license": "cc0-1.0"})
    assert again == mended
    assert (
        metadata(hub_card(mended, facts=facts, task=beetles(), licence="cc-by-4.0").encode())["license"] == "cc-by-4.0"
    )


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("license: mit\na: b: c\n", "its metadata:3: must be valid YAML: mapping values are not allowed"),
        ("date: 2026-13-45\n", "its metadata:2: '2026-13-45' must be a plain value: month must be in 1..12"),
        ("date: !!timestamp soon\n", "its metadata:2: 'soon' must be a plain value"),
        ("a: " + "[" * 20_000 + "\n", "its metadata:2: must be valid YAML: lists and mappings must be nested at most"),
        ("a: &a [mit, mit]\nlicense: [*a, *a]\n", "its metadata:3: must be valid YAML: YAML aliases (*name) must not"),
        ("license: mit\nlicense: cc0-1.0\n", "its metadata:3: `license` must stand once, but stands on line 2 already"),
        ("- license\n", "its metadata:1: must be a mapping of keys"),
    ],
)
def test_metadata_that_are_wrong_as_text_are_one_line_that_says_where_they_stand(written, message):
    from trainable.export.hub_card import licence_of

    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        licence_of(f"---\n{written}---\n# A model\n")
    assert len(str(refused.value).splitlines()) == 1
