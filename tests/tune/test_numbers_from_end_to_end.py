"""Numbers known when predicting, on a demo that has one: trained, exported, forecast with it and without."""

import base64
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from tests.trainable.rounding import TINY_TERMS, assert_rounded, in_float64, taps_in_float64
from trainable.config import TrialConfig
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.task import Task
from trainable.export import standalone
from trainable.export.standalone import ExportedModel
from trainable.frozen.backbone import load_backbone
from trainable.training.checkpoint import load_latest
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
from tune.cli import main

DEMO, N = "demo:120", 12


@pytest.fixture(scope="module")
def training(demo_cache, tmp_path_factory) -> Path:
    """A training of two epochs on `demo-size` with a code for numbers; not to be changed."""
    folder = tmp_path_factory.mktemp("sizes")
    variant = yaml.safe_load(Path("search_spaces/variants/default.yaml").read_text(encoding="utf-8"))
    variant["config"]["tail"]["number_scale"] = 1.0
    (folder / "loud.yaml").write_text(yaml.safe_dump(variant), encoding="utf-8")
    options = {"--data": DEMO, "--task": "demo-size", "--variant": folder / "loud.yaml", "--epochs": 2, "--workers": 1,
               "--cache": demo_cache, "--out": folder / "out"}  # fmt: skip
    assert main(["train", *(str(word) for pair in options.items() for word in pair)]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def specimens(demo_cache) -> Specimens:
    return load_specimens(DEMO, task=Task.load("demo-size"), cache_dir=demo_cache, n_processes=1)


@pytest.fixture(scope="module")
def photographs(specimens, tmp_path_factory) -> Path:
    """The first of them as files, with a table of their sizes and one without."""
    folder = tmp_path_factory.mktemp("photographs")
    names = [f"{row}.jpg" for row in range(N)]
    for name, content in zip(names, specimens.images.read(range(N)), strict=True):
        (folder / name).write_bytes(content)
    table = pd.DataFrame({"file_name": names, "size_mm": specimens.numbers[:N, 0]})
    assert table["size_mm"].isna().any()
    table.to_csv(folder / "sizes.csv", index=False)
    table[["file_name"]].to_csv(folder / "sizeless.csv", index=False)
    return folder


def as_trained(training: Path, photographs: Path, numbers: np.ndarray) -> torch.Tensor:
    """What the trained tail makes of the photographs in float64, of no known domain."""
    data = TrialData.load(training / "data")
    state, _ = load_latest(training / "checkpoints")
    trainer = TailTrainer(TrialConfig.from_dict(state["values"]["config"]), data, seed=0)
    trainer.load_state_dict(state)
    trainer.load_best()
    pixels = ExportedModel.load(training / "model").pixels([(photographs / f"{i}.jpg").read_bytes() for i in range(N)])
    taps = taps_in_float64(load_backbone("tiny"), pixels, [trainer.tap])
    inputs = torch.from_numpy(trainer.number_units.read(numbers)).double()
    with torch.inference_mode():
        learnt = in_float64(trainer.tail.eval())(
            taps[trainer.tap], torch.full((N,), len(trainer.known_domains)), numbers=inputs
        )
    return learnt * torch.from_numpy(trainer.units.spread) + torch.from_numpy(trainer.units.centre)


@pytest.mark.seconds
@pytest.mark.parametrize("table", ["sizes.csv", "sizeless.csv", None])
def test_predict_forecasts_as_trained_with_the_column_without_it_and_without_a_table(
    table, training, photographs, specimens, cli, demo_cache
):
    words = [] if table is None else ["--numbers", photographs / table]
    ended = cli("predict", training / "model", photographs, *words, "--json", "--workers", 1, "--cache", demo_cache)
    assert ended.status == 0, ended.stderr

    sizes = specimens.numbers[:N] if table == "sizes.csv" else np.full((N, 1), np.nan)
    wanted = as_trained(training, photographs, sizes)
    of_file = {row["image"]: row["SPEI_2y"] for row in ended.result["specimens"]}
    found = torch.tensor([[of_file[str(photographs / f"{row}.jpg")]] for row in range(N)])
    assert_rounded(found, wanted, TINY_TERMS)
    said = {
        "sizes.csv": "",
        "sizeless.csv": f"{photographs / 'sizeless.csv'} has no column size_mm: taken for missing\n",
        None: "no --numbers are given: size_mm taken for missing\n",
    }
    assert ended.stderr.count("missing") == 1
    assert ("empty cells for size_mm of 2 of 12: taken for missing" in ended.stderr) == (table == "sizes.csv")
    assert said[table] in ended.stderr


def test_a_number_further_than_the_model_reads_is_told_with_its_column_and_how_many_have_it(
    training, photographs, cli, demo_cache
):
    (of,) = ExportedModel.load(training / "model").config["numbers"]
    sizes = [of["mean"] + 5.01 * of["sd"], of["mean"] - 5.01 * of["sd"], of["mean"] + 4.99 * of["sd"], *[np.nan] * 9]
    table = pd.DataFrame({"file_name": [f"{row}.jpg" for row in range(N)], "size_mm": sizes})
    words = [training / "model", photographs, "--workers", 1, "--cache", demo_cache, "--numbers"]
    said = []
    for first, name in ((0, "far.csv"), (2, "near.csv")):
        table.iloc[first:].to_csv(photographs / name, index=False)
        ended = cli("predict", *words, photographs / name)
        (photographs / name).unlink()
        assert ended.status == 0, ended.stderr
        said.append([line for line in ended.stderr.splitlines() if "warning" in line])

    low, high = (f"{of['mean'] + sign * 5 * of['sd']:.4g}" for sign in (-1, 1))
    assert said[1] == []
    (line,) = said[0]
    assert f"warning: size_mm of 2 of {N} lies beyond {low} to {high}, 5 SDs around the training's mean" in line


def test_numbers_for_a_model_that_reads_none_are_remarked_on_and_a_bad_table_is_refused(
    training, trained_model, photographs, cli, demo_cache, tmp_path
):
    words = [photographs, "--workers", 1, "--cache", demo_cache, "--numbers"]
    ended = cli("predict", trained_model, *words, photographs / "sizes.csv")
    assert ended.status == 0
    assert "--numbers is given, but this model reads none" in ended.stderr

    (tmp_path / "bad.csv").write_text("file_name,size_mm\na,long\n", encoding="utf-8")
    ended = cli("predict", training / "model", *words, tmp_path / "bad.csv")
    assert (ended.status, ended.stdout) == (2, "")
    assert "size_mm must be a number within 1e+30" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.seconds
def test_evaluate_reads_numbers_from_its_data_and_says_once_where_a_table_lacks_the_column(
    training, photographs, specimens, cli, tmp_path
):
    frame = specimens.frame[:N]
    columns = {"file_path": [f"{row}.jpg" for row in range(N)], "eventID": frame["event_id"],
               "siteID": frame["site_id"], "domainID": frame["domain_id"], "scientificName": frame["species"],
               "collectDate": frame["date"], "SPEI_2y": frame["SPEI_2y"]}  # fmt: skip
    scores, far = [], f"size_mm of {N} of {N} lies beyond "
    for sizes in (specimens.numbers[:N, 0], np.full(N, 12.0), np.full(N, 1e6), None):
        table = pd.DataFrame(columns if sizes is None else {**columns, "size_mm": sizes})
        table.to_csv(photographs / "metadata.csv", index=False)
        out = tmp_path / str(len(scores))
        words = ["--data", photographs, "--events", "all", "--workers", 1, "--out", out, "--json"]
        ended = cli("evaluate", training / "model", *words)
        assert ended.status == 0, ended.stderr
        line = "the table has no column size_mm: taken for missing"
        assert ended.stderr.count(line) == (sizes is None)
        assert ended.stderr.count(far) == (sizes is not None and sizes[0] == 1e6)
        scores.append(ended.result["models"][0]["score"])
    (photographs / "metadata.csv").unlink()
    assert len(set(scores)) == 4


def test_the_served_model_takes_a_column_of_the_numbers_name(training, photographs):
    from tune.models.logged_export import _example, _signature

    folder = training / "model"
    content = (photographs / "0.jpg").read_bytes()
    image = base64.b64encode(content).decode()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow infers types from the hint of each class that it sees, and warns
        patch.setitem(sys.modules, "sentinel_export", standalone)
        from tune.models.served_model import ServedModel

        served = ServedModel()
        served.model = ExportedModel.load(folder)
        frame = served.predict(pd.DataFrame({"image": [image] * 3, "size_mm": [14.5, None, 9]}))
        without = served.predict(pd.DataFrame({"image": [image]}))
        of_example = served.predict(_example(served.model.config))
        with pytest.raises(ValueError, match=r"^row 1: `size_mm` must be a number or missing, but got 'long'"):
            served.predict(pd.DataFrame({"image": [image] * 2, "size_mm": [3, "long"]}))

    wanted = served.model.predict([content] * 3, [None] * 3, None, [{"size_mm": 14.5}, None, {"size_mm": 9.0}])[:, 0]
    np.testing.assert_allclose(frame["SPEI_2y"], wanted)
    assert len(set(wanted)) == len(of_example) == 3
    np.testing.assert_allclose(without["SPEI_2y"], wanted[1], atol=1e-5)
    config = served.model.config
    assert _signature(config).inputs.input_names() == ["image", "domain", "species", "event", "size_mm"]
    assert [*_example(config)] == _signature(config).inputs.input_names()
