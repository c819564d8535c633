"""The challenge's model of when there was no other task predicts, scores, is handed in and is exported as it was.

`model_of_before/` holds what the code of then wrote: a model of two members with `training_state.safetensors`, which it
was exported from, its submission, and its forecasts and scores of `write_beetles`. It says of no task that it is one.
"""

import csv
import hashlib
import importlib.util
import io
import json
import re
import shutil
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.beetles import TARGETS
from tests.trainable.rounding import assert_rounded, forward_terms, predicted_in_float64, rounding_bound
from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.export.exporter import export_model
from trainable.export.facts import ModelFacts
from trainable.export.standalone import ExportedModel, read_config
from trainable.export.training_record import RECORD
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.tail.tail import Tail
from trainable.training.assembly import tail_of
from tune.evaluation.forecasting import targets_of_model

pytestmark = pytest.mark.rounding

BEFORE = Path(__file__).parent / "model_of_before"
ARCHITECTURE = VisionArchitecture(n_blocks=2, width=8, n_heads=2, mlp_width=32, n_tokens=5, embed_dim=24, image_size=16)
N_TERMS = forward_terms(ARCHITECTURE, 2) + 3 * 8 * 8 + 24 + 64
"""With the sums of patches and of the regressor, which are no small part of so small a network."""

SIDE, N_EVENTS, FIRST_DOMAIN = 8, 12, 1
SPECIES = ["Amara", "Carabus nemoralis", ""]
ADDED_FACTS = {"members": []}
"""By ensembles of several configurations, and not by tasks, which added nothing to the challenge's."""


def write_beetles(folder: Path) -> None:
    """Two photographs of each of 12 events at 6 sites of 3 domains, of bytes that no library has a say in."""
    lines = ["file_name,eventID,domainID,siteID,scientificName,collectDate,public_id,SPEI_30d,SPEI_1y,SPEI_2y"]
    for row in range(2 * N_EVENTS):
        event = row // 2
        (folder / f"{row:02d}.bmp").write_bytes(bitmap(row))
        labels = f"{0.25 * event - 1},{1.5 - 0.3 * event:.2f},{0.1 * event:.1f}"
        groups = f"{100 + event},{event // 4},S{event // 2}"
        lines.append(f"{row:02d}.bmp,{groups},{SPECIES[row % 3]},2019-06-{1 + event:02d},P{row},{labels}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def bitmap(row: int) -> bytes:
    pixels = b"".join(hashlib.sha256(f"{row} {part}".encode()).digest() for part in range(3 * SIDE * SIDE // 32))
    head = struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 2835, 2835, 0, 0) + pixels


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The current folder, with the model as `run/model` and the photographs as `beetles`."""
    (tmp_path / "beetles").mkdir()
    write_beetles(tmp_path / "beetles")
    shutil.copytree(BEFORE / "model", tmp_path / "run" / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def room() -> float:
    """How far two float32 forecasts of one photograph may lie from one another, at the most."""
    return 2 * rounding_bound(N_TERMS) * max(abs(float(row[target])) for row in recorded() for target in TARGETS)


def recorded() -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((BEFORE / "forecasts.csv").read_text(encoding="utf-8"))))


def test_it_is_read_as_the_challenges_though_it_names_no_task():
    config = read_config(BEFORE / "model")

    assert not {"task", "bounds", "classes"} & config.keys()
    assert targets_of_model(config).task == Task.load("beetles")


@pytest.mark.usefixtures("place")
def test_it_predicts_what_it_did_in_a_file_of_the_same_form(cli):
    words = ["--domain", FIRST_DOMAIN, "--species", "Amara", "--workers", 1, "--device", "cpu"]
    assert cli("predict", "run/model", "beetles", *words, "--csv", "now.csv").status == 0

    found = list(csv.DictReader(io.StringIO(Path("now.csv").read_text(encoding="utf-8"))))
    numbers = list(TARGETS)
    for row in (*found, *recorded()):
        assert all(repr(float(row[name])) == row[name] for name in numbers)
    assert [[*row] for row in found] == [[*row] for row in recorded()]
    assert [without(row, numbers) for row in found] == [without(row, numbers) for row in recorded()]
    model = ExportedModel.load(BEFORE / "model")
    pixels = model.pixels([bitmap(row) for row in range(2 * N_EVENTS)])
    n = len(pixels)
    exact = predicted_in_float64(model, pixels, [FIRST_DOMAIN] * n, ["Amara"] * n)
    exact = np.vstack([exact, exact.mean(axis=0)])  # the event's row is the last
    for rows in (found, recorded()):
        assert_rounded(np.array([[float(row[name]) for name in numbers] for row in rows]), exact, N_TERMS)


def without(row: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name not in set(names)}


@pytest.mark.seconds
def test_it_scores_what_it_did_in_files_and_words_of_the_same_form(cli, place):
    words = ["--data", "beetles", "--no-track", "--workers", 1, "--device", "cpu", "--cache", place / "cache"]
    ended = cli("evaluate", "run/model", *words, "--json")
    before = json.loads((BEFORE / "evaluation.json").read_text(encoding="utf-8"))
    (model,), (model_before,) = ended.result["models"], before["models"]
    results, results_before = (json.loads((at / "results.json").read_text()) for at in (place / "run/model", BEFORE))

    assert ended.status == 0
    assert ended.result.keys() - before.keys() == {"seconds"}
    assert model.keys() - model_before.keys() == {"results", "report", "html"}  # places
    assert ended.result["data"] == before["data"] | {"source": "beetles"}
    assert ended.result["events"] == before["events"]
    assert ended.result["warnings"] == before["warnings"]
    assert model["floors"] == pytest.approx(model_before["floors"])
    for name in (
        "score",
        "parts",
        "intervals",
        "mae",
        "rmse",
    ):  # no error or mean of errors moves by more than forecasts
        assert leaves(model[name]) == pytest.approx(leaves(model_before[name]), abs=room())
    for part, errors in model_before["rmse"].items():  # 1 - R2 is as the square of RMSE
        for target, rmse in errors.items():
            share = 2.1 * room() / rmse
            assert 1 - model["r2"][part][target] == pytest.approx(1 - model_before["r2"][part][target], rel=share)
    assert [*results] == [*results_before] == list(TARGETS)
    for target, values in results.items():
        assert [*values] == [*results_before[target]]
        assert values == {"MAE": model["mae"]["all"][target], "r2": model["r2"]["all"][target]}


def leaves(values: Any) -> list[float]:
    if isinstance(values, dict):
        return [leaf for value in values.values() for leaf in leaves(value)]
    return [leaf for value in values for leaf in leaves(value)] if isinstance(values, list) else [values]


@pytest.mark.seconds
def test_its_table_of_scores_is_set_as_it_was(cli, place):
    words = ["--data", "beetles", "--no-track", "--workers", 1, "--device", "cpu", "--cache", place / "cache"]
    shown = cli("evaluate", "run/model", *words).stdout.partition("\nresults ")[0]
    before = (BEFORE / "evaluation.txt").read_text(encoding="utf-8")

    number = r"-?\d+\.\d+"
    assert re.sub(number, "#", shown) == re.sub(number, "#", before)
    for found, wanted in zip(re.findall(number, shown), re.findall(number, before), strict=True):
        last = 10.0 ** -len(wanted.partition(".")[2])
        assert float(found) == pytest.approx(float(wanted), abs=1.01 * last)  # a last digit may be rounded otherwise


def test_what_is_handed_in_is_as_it_was_but_for_the_program_and_forecasts_the_same(cli, place):
    assert cli("export", "run/model", "--submission", "submission").status == 0

    with zipfile.ZipFile("submission.zip") as now, zipfile.ZipFile(BEFORE / "submission.zip") as before:
        assert now.namelist() == before.namelist()
        assert [(e.date_time, e.external_attr, e.compress_type) for e in now.infolist()] == [
            (e.date_time, e.external_attr, e.compress_type) for e in before.infolist()
        ]
        assert [n for n in now.namelist() if now.read(n) != before.read(n)] == ["model.py"]
        before.extractall("before")
    programs = [submitted(place / name) for name in ("submission", "before")]
    for domain in (1, 2, 99, None):
        for name in (*SPECIES, None):
            points = [
                {"relative_img": Image.open(io.BytesIO(bitmap(row))), "domainID": domain, "scientificName": name}
                for row in range(3)
            ]
            found, wanted = (program.predict(points) for program in programs)
            assert [*found] == [*wanted] == list(TARGETS)
            for target, pair in found.items():
                assert pair["sigma"] == wanted[target]["sigma"]
                assert pair["mu"] == pytest.approx(wanted[target]["mu"], abs=room())


def submitted(folder: Path) -> Any:
    """What the challenge makes of a submission's folder."""
    spec = importlib.util.spec_from_file_location(f"program_of_{folder.name}", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    model.load()
    return model


LIMIT_BEFORE = "* The task is nearly flat: forecasts gain little over the floors; read the score beside them.\n"
LIMIT_NOW = "* Its score gains 0.0087 (1%) on the floor `constant`, which sees no image; read it beside the floors.\n"
"""Since then a card says what its own model gains or loses."""


def test_an_export_of_the_same_training_says_the_same(tmp_path):
    before, folder = read_config(BEFORE / "model"), tmp_path / "model"
    facts = ModelFacts.from_dict(before["facts"])
    backbone, tails = trained(tmp_path / "tower", TrialConfig.from_dict(facts.config), before)
    export_model(
        folder,
        backbone=backbone,
        tails=tails,
        known_domains=before["known_domains"],
        known_species=before["known_species"],
        sigmas=before["sigmas"],
        facts=facts,
    )
    config = read_config(folder)

    assert {*files(folder)} == {*files(BEFORE / "model"), Path("README.md")}  # which is kept as card.txt
    assert RECORD not in config["sha256"]  # of the data, where they are given
    assert [*config] == [*before]
    assert {**config, "facts": 0, "sha256": 0} == {**before, "facts": 0, "sha256": 0}
    assert facts_said(config) == {**facts_said(before), **ADDED_FACTS}
    assert config["sha256"].keys() == before["sha256"].keys()
    card = (BEFORE / "card.txt").read_text(encoding="utf-8")
    assert card.count(LIMIT_BEFORE) == 1
    assert (folder / "README.md").read_text(encoding="utf-8") == card.replace(LIMIT_BEFORE, LIMIT_NOW)
    check_weights(load_file(folder / "model.safetensors"), load_file(BEFORE / "model" / "model.safetensors"))
    for adapter in ("adapter", "adapter_1"):
        kept, kept_before = (load_file(at / adapter / "adapter_model.safetensors") for at in (folder, BEFORE / "model"))
        assert kept.keys() == kept_before.keys()
        assert all(torch.equal(value, kept_before[name]) for name, value in kept.items())


def files(folder: Path) -> Iterable[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]


def facts_said(config: dict[str, Any]) -> dict[str, Any]:
    """But for the configuration, to which settings are added as they come."""
    return {name: value for name, value in config["facts"].items() if name != "config"}


def check_weights(found: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> None:
    """Of the same names and shapes; those that no adapter was added to are copies."""
    assert {name: value.shape for name, value in found.items()} == {name: v.shape for name, v in before.items()}
    merged = re.compile(r"resblocks\.1\.(attn\.(in|out)_proj|mlp\.c_(fc|proj))(\.|_)weight|_code\.weight")
    for name, value in found.items():
        if merged.search(name):
            assert_rounded(value, before[name].double(), 8, name)  # a product over rank 4, scaled and added, twice
        else:
            assert torch.equal(value, before[name]), name


def trained(folder: Path, config: TrialConfig, exported: dict[str, Any]) -> tuple[Backbone, list[Tail]]:
    """The backbone and the tails that `model_of_before/model` was exported from."""
    state = load_file(BEFORE / "training_state.safetensors")
    folder.mkdir()
    text_cfg = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1}
    preprocess = {name: exported["transform"][name] for name in ("mean", "std")}
    of_folder = {"model_cfg": {**exported["model_cfg"], "text_cfg": text_cfg}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(of_folder))
    save_file(of_prefix(state, "visual.", keep=True), folder / "open_clip_model.safetensors")
    backbone = load_backbone(f"local-dir:{folder}")
    tails = []
    for member in range(exported["n_members"]):
        tail = tail_of(
            config, backbone.architecture, backbone.tail_state(1), tap=1, n_domains=2, n_species=2, seed=member
        )
        tail.load_state_dict(of_prefix(state, f"tail_{member}."), strict=True)
        tails.append(tail.eval())
    return replace(backbone, name="hf-hub:somebody/small"), tails


def of_prefix(state: dict[str, torch.Tensor], prefix: str, *, keep: bool = False) -> dict[str, torch.Tensor]:
    return {name[0 if keep else len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
