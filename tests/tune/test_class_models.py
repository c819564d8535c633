"""A model of classes after its training: evaluated, predicted with, exported, served."""

import base64
import csv
import io
import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from tests.conftest import DEMO
from trainable.data.specimens import load_specimens
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.export import standalone
from trainable.export.onnx_packages import torch_problem
from trainable.export.standalone import ExportedModel, ModelFolderError, config_digest, read_config
from tune.cli import main
from tune.command_line.model_options import EvaluateOptions
from tune.evaluation.forecasting import targets_of_model
from tune.evaluation.labelled_data import _task as evaluated_task


@pytest.fixture(scope="module")
def species_model(demo_cache, tmp_path_factory) -> Path:
    """The exported folder of a training on the demo's species; not to be changed, but for its evaluation."""
    assert demo_cache.is_dir()
    folder = tmp_path_factory.mktemp("species") / "default"
    words = ["--data", DEMO, "--task", "demo-species", "--epochs", "2", "--workers", "1", "--out", str(folder)]
    assert main(["train", *words]) == 0
    return folder / "model"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Three images in two folders."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("creek/a.png", "creek/b.png", "hill/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.mark.seconds
def test_an_evaluation_tells_what_scikit_learn_does_of_the_exports_own_forecasts(
    cli, species_model, demo_cache, tmp_path
):
    ended = cli("evaluate", species_model, "--workers", 1, "--cache", demo_cache, "--out", tmp_path / "out",
                "--no-track")  # fmt: skip
    assert ended.status == 0, ended.stderr
    model = ExportedModel.load(species_model)
    task = Task.load("demo-species").with_classes(model.classes)
    specimens = load_specimens(DEMO, task=task, cache_dir=demo_cache, n_processes=1)
    held_out = np.isin(specimens.ids("site_id"), model.config["facts"]["held_out_sites"])
    rows = np.flatnonzero(held_out)
    logits = model.predict(specimens.images.read(rows.tolist()), [None] * len(rows))
    true = specimens.labels[rows, 0].astype(int)
    found = softmax(logits / model.config["temperatures"]["known"], axis=1)

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    figures = report["groups"]["all"]["targets"]["species"]
    assert figures["log_loss"] == pytest.approx(log_loss(true, found, labels=np.arange(len(model.classes))), rel=1e-6)
    assert figures["accuracy"] == accuracy_score(true, found.argmax(axis=1))
    assert set(report["groups"]) == {"all", *report["parts"]}
    assert "macro F1" in ended.stdout
    assert "R2" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 120
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for title in ("Score and floors", "Reliability", "Confusion", "Sites", "Worst events"):
        assert f">{title}</h2>" in page
    words = re.sub('src="[^"]*"', "", page)  # pictures are letters, too
    assert not any(word in words for word in ("R²", "MAE", "CRPS", "OOD", "σ"))
    assert page.count("<img") == 4
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results == {"species": {"accuracy": figures["accuracy"], "macro F1": figures["macro_f1"]}}


@pytest.mark.seconds
def test_a_model_stands_beside_its_copy(cli, species_model, demo_cache, tmp_path):
    other = tmp_path / "other" / "model"
    assert cli("export", species_model, "--out", other).status == 0
    ended = cli("evaluate", species_model, other, "--workers", 1, "--cache", demo_cache, "--out", tmp_path / "out",
                "--no-track")  # fmt: skip

    assert ended.status == 0, ended.stderr
    assert "accuracy, F1" in ended.stdout
    assert "no difference beyond noise" in ended.stdout
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "macro F1" in page
    assert "R²" not in page


def test_predict_tells_the_most_probable_classes_and_files_hold_all(cli, species_model, pictures, demo_cache, tmp_path):
    words = [pictures, "--workers", 1, "--device", "cpu", "--cache", demo_cache]
    shown = cli("predict", species_model, *words, "--csv", tmp_path / "all.csv")
    told = cli("predict", species_model, *words, "--json").result

    model = ExportedModel.load(species_model)
    files = sorted(pictures.rglob("*.png"))
    logits = model.predict([file.read_bytes() for file in files], [None] * 3)
    wanted = softmax(logits / model.config["temperatures"]["unknown"], axis=1)
    for specimen, of_classes in zip(told["specimens"], wanted, strict=True):
        assert [*specimen["species"]["probabilities"]] == [*model.classes]
        assert np.allclose([*specimen["species"]["probabilities"].values()], of_classes, rtol=1e-5)
        assert specimen["species"]["class"] == model.classes[of_classes.argmax()]
    assert len({event["event"] for event in told["events"]}) == 3  # the task has no events: each image is its own
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text(encoding="utf-8"))))
    assert [row["level"] for row in rows] == ["specimen"] * 3 + ["event"] * 3
    for row, specimen in zip(rows, told["specimens"], strict=False):
        assert row["species"] == specimen["species"]["class"]
        assert float(row["species_probability"]) == pytest.approx(specimen["species"]["probability"])
        assert sum(float(row[f"species: {name}"]) for name in model.classes) == pytest.approx(1)
    assert f"the 3 most probable of {len(model.classes)} classes" in shown.stdout
    assert max(map(len, shown.stdout.splitlines()[:-1])) <= 120


def test_it_is_no_submission(cli, species_model, tmp_path):
    refused = cli("export", species_model, "--submission", tmp_path / "submission")

    assert refused.status == 2
    assert "a submission is of the beetle challenge" in refused.stderr
    assert "species (" in refused.stderr
    assert not (tmp_path / "submission").exists()


def example(species_model: Path) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Pixels and domains of two images, and what the model says of them."""
    model = ExportedModel.load(species_model)
    pixels, domains = torch.zeros(2, 3, *[model.config["transform"]["image_size"]] * 2), torch.zeros(2).long()
    return pixels, domains, model.predict_pixels(pixels, [None, None])


@pytest.mark.seconds
def test_it_becomes_a_program(cli, species_model, tmp_path):
    ended = cli("export", species_model, "--format", "torch-export", "--out", tmp_path / "model.pt2")
    assert ended.status == 0, ended.stderr
    pixels, domains, logits = example(species_model)
    program = torch.export.load(tmp_path / "model.pt2").module()

    assert torch.backends.mha.get_fastpath_enabled()  # as it was before
    assert np.allclose(program(pixels, domains).detach().numpy(), logits, atol=1e-4)


@pytest.mark.seconds
@pytest.mark.skipif(torch_problem(torch.__version__) is not None, reason=str(torch_problem(torch.__version__)))
def test_it_becomes_a_graph(cli, species_model, tmp_path):
    import onnxruntime

    ended = cli("export", species_model, "--format", "onnx", "--out", tmp_path / "model.onnx")
    assert ended.status == 0, ended.stderr
    pixels, domains, logits = example(species_model)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = {"images": pixels.numpy(), "domains": domains.numpy()}
    (outputs,) = session.run(["logits"], {given.name: inputs[given.name] for given in session.get_inputs()})

    assert np.allclose(outputs, logits, atol=1e-4)
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    assert classes == list(ExportedModel.load(species_model).classes)


def test_the_card_speaks_of_classes_and_temperatures(species_model):
    card = (species_model / "README.md").read_text(encoding="utf-8")

    assert "a probability of each of" in card
    assert "temperature" in card
    assert "Accuracy:" in card
    assert not any(word in card for word in ("sigma", "CRPS", "R2", "MAE", "OOD"))


@pytest.mark.parametrize("classes", ["auto", ["a", "b"]])
def test_a_task_that_is_named_takes_the_models_classes_or_is_refused(classes, species_model, tmp_path):
    own = targets_of_model(read_config(species_model)).task
    target = own.to_dict()["targets"]["species"] | {"classes": classes}
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(own.to_dict() | {"targets": {"species": target}}), encoding="utf-8")
    options = EvaluateOptions(models=("m",), data=DEMO, task=str(file))

    if classes == "auto":
        assert evaluated_task(options, {"m": own}).classes == own.classes
    else:
        with pytest.raises(UserError, match="must have the classes of m in the same order"):
            evaluated_task(options, {"m": own})
    other = Task.load("demo-species").with_classes(["a", "b"])
    with pytest.raises(UserError, match="n has other ones than m"):
        evaluated_task(EvaluateOptions(models=("m", "n")), {"m": own, "n": other})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "b"]}, "head_widths lead from embed_dim to the targets"),
        ({"classes": ["a"]}, "`classes` must be a list of 2 to 500"),
        ({"temperatures": {"known": 0, "unknown": 1.0}}, "`temperatures.known` must be a number from 1e-06"),
        ({"sigmas": {"known": [1.0], "unknown": [1.0]}}, "keys that nothing knows"),
    ],
)
def test_a_configuration_that_no_classes_fit_is_refused(change, message, cli, species_model, tmp_path):
    assert cli("export", species_model, "--out", tmp_path / "copy").status == 0
    config = read_config(tmp_path / "copy") | change
    config["sha256"]["config.json"] = config_digest(config)
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config), encoding="utf-8")

    with pytest.raises(ModelFolderError, match=message):
        ExportedModel.load(tmp_path / "copy")


def test_it_is_served_with_a_column_a_class(species_model):
    from tune.models.logged_export import _signature

    images = []
    for shade in (40, 90, 160):
        buffer = io.BytesIO()
        Image.new("RGB", (30, 30), (shade, 60, 60)).save(buffer, "PNG")
        images.append(base64.b64encode(buffer.getvalue()).decode())
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow infers types from the hint of each class that it sees, and warns
        patch.setitem(sys.modules, "sentinel_export", standalone)
        from tune.models.served_model import ServedModel

        served = ServedModel()
        served.model = ExportedModel.load(species_model)
        frame = served.predict(pd.DataFrame({"image": images, "event": ["a", "a", None]}))
        none = served.predict(pd.DataFrame({"image": [], "event": []}))

    classes = served.model.classes
    assert [*frame] == _signature(served.model.config).outputs.input_names() == [*none]
    assert np.allclose(frame[[f"species: {name}" for name in classes]].sum(axis=1), 1)
    assert frame["species_event"][0] == frame["species_event"][1]
    assert frame["species"][2] == frame["species_event"][2]
    assert len(none) == 0
