"""`export`: the submission, the torch program, a checked copy; and what is refused."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from trainable.export.standalone import ExportedModel


@pytest.fixture
def model(trained_model, tmp_path) -> Path:
    return Path(shutil.copytree(trained_model, tmp_path / "model"))


def test_a_submission_and_a_copy_are_written_at_once(cli, model, tmp_path):
    ended = cli("export", model, "--submission", tmp_path / "sub", "--out", tmp_path / "copy", "--json")
    result = ended.result

    assert ended.status == 0
    assert (result["model"], result["submission"], result["out"], result["format"]) == (
        str(model), str(tmp_path / "sub"), str(tmp_path / "copy"), "folder",
    )  # fmt: skip
    assert (tmp_path / "sub" / "model.py").is_file()
    assert result["submission_zip"] == str(tmp_path / "sub.zip")
    assert zipfile.is_zipfile(tmp_path / "sub.zip")
    assert ExportedModel.load(tmp_path / "copy").config == ExportedModel.load(model).config


def test_what_was_written_is_shown(cli, model, tmp_path):
    shown = cli("export", model, "--submission", tmp_path / "sub").stdout

    assert f"submission: {tmp_path / 'sub'}\nto upload: {tmp_path / 'sub.zip'}\n" in shown
    assert "exported and checked" in shown


@pytest.mark.slow
def test_a_torch_program_is_written(cli, model, tmp_path):
    file = tmp_path / "beetles.pt2"
    ended = cli("export", model, "--format", "torch-export", "--out", file, "--json")

    assert (ended.status, ended.result["out"]) == (0, str(file))
    program, loaded = torch.export.load(file).module(), ExportedModel.load(model)
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = program(pixels, loaded.domain_indices([4, None, 7])).detach().numpy()
    assert_rounded(found, predicted_in_float64(loaded, pixels, [4, None, 7]), TINY_TERMS)


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "must be told what to write"),
        (["--format", "torch-export", "--submission", "s"], "needs `--out FILE.pt2`"),
        (["--format", "torch-export", "--out", "m.onnx"], "must be a .pt2 file"),
        (["--format", "pickle", "--out", "m"], "`--format` must be one of folder, torch-export"),
        (["--out", "model"], "`--out` must be apart from MODEL"),
        (["--submission", "model"], "`--submission` must be apart from MODEL"),
        (["--submission", "model/sub"], "`--submission` must be apart from MODEL"),
        (["--submission", "x", "--out", "x"], "`--out` must be apart from --submission"),
        (["--submission", "x", "--out", "x.zip"], "`--out` must be apart from --submission"),
        (["--submission", "packed"], "packed.zip is something else"),
        (["--submission", "taken"], "holds notes.txt"),
        (["--out", "taken"], "holds notes.txt"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_clear_lines(cli, model, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    Path("taken").mkdir()
    Path("taken", "notes.txt").write_text("mine")
    Path("packed.zip").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    ended = cli("export", "model", *words)

    assert (ended.status, ended.stdout) == (2, "")
    assert [message in line for line in ended.stderr.splitlines() if line.startswith("error: ")] == [True]
    assert "Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert ExportedModel.load(model)


def test_a_folder_that_is_no_whole_model_is_refused_and_nothing_is_written(cli, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    (model / "model.safetensors").rename(model / "model.bin")
    ended = cli("export", model, "--submission", tmp_path / "sub")

    assert ended.status == 2
    assert "must have format_version 1, but has 99" in ended.stderr
    assert "a pickle, which can run code, is refused unread" in ended.stderr
    assert not (tmp_path / "sub").exists()

    ended = cli("export", tmp_path / "none", "--submission", tmp_path / "sub")
    assert (ended.status, "is not there" in ended.stderr) == (2, True)
