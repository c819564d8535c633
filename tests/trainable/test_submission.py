"""The challenge's folder and the torch program: they predict what the exported model predicts, without this project."""

import ast
import importlib.util
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.version import Version
from PIL import Image

from tests.beetles import LABEL_RANGE, TARGETS
from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64, rounding_bound
from trainable.errors import UserError
from trainable.export import standalone
from trainable.export.standalone import ExportedModel, ModelFolderError
from trainable.export.submission import PACKAGES, write_submission
from trainable.export.torch_program import write_program
from trainable.scoring.crps import crps_normal

ALLOWED = (
    "pytorch", "tensorflow", "numpy", "scikit-learn", "keras", "torch", "open-clip-torch", "torchvision",
    "transformers", "pandas", "Pillow", "scipy", "tqdm", "pyarrow", "duckdb", "matplotlib", "xgboost", "nflows",
    "lightgbm", "seaborn", "iminuit", "timm", "torchaudio", "catboost", "plotly", "opencv-python-headless",
    "albumentations",
)  # fmt: skip
"""The lines of `ingestion_program/whitelist.txt` of Imageomics/HDR-SMood-Challenge, as read on 2026-11-29."""

BASELINES = ("torch==2.8.0", "torchvision==0.23.0", "open-clip-torch==3.1.0")
"""What the organisers' own baselines pin (`baselines/` of the same repository)."""

OURS = ("trainable", "tune", "search_spaces", "peft", "mlflow", "ray", "optuna")

INGESTION = """
import sys, json
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OURS!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())

def no_network(event, arguments):
    if event == "socket.connect":
        raise OSError("there is no network here")

sys.addaudithook(no_network)
submission, images, result = map(Path, sys.argv[1:])
sys.path.append(str(submission))  # at the end, as theirs
from PIL import Image
from model import Model

model = Model()
model.load()
forecasts = dict()
for event in json.loads((images / "events.json").read_text()):
    datapoints = [
        dict(
            relative_img=Image.open(images / name),
            colorpicker_img=Image.open(images / "colorpicker.png"),
            scalebar_img=Image.open(images / "scalebar.png"),
            scientificName=event["scientific_name"],
            domainID=event["domain"],
        )
        for name in event["files"]
    ]
    forecast = model.predict(datapoints)
    assert type(forecast) is dict and all(type(pair) is dict for pair in forecast.values())
    assert all(type(value) is float for pair in forecast.values() for value in pair.values())
    forecasts[event["name"]] = dict(
        (target, dict((key, round(value, 4)) for key, value in pair.items())) for target, pair in forecast.items()
    )
loaded = sorted(set(name.partition(".")[0] for name in sys.modules) & set({OURS!r}))
versions = dict((name, sys.modules[name].__version__) for name in ("torch", "torchvision", "open_clip"))
result.write_text(json.dumps(dict(forecasts=forecasts, loaded=loaded, versions=versions)))
"""
"""What their `ingestion.py` does with a submission, with our packages and the network taken away."""


def refused_requirements(text: str) -> list[str]:
    """What the organisers' ingestion would end at: it looks each line up verbatim, but for what follows `==`."""
    refused = []
    for line in io.StringIO(text).readlines():
        name, *versions = line.rstrip("\n").split("==")
        if name not in ALLOWED:
            refused.append(name)
        if len(versions) == 1:
            Version(versions[0])  # they end at one that is none
    return refused


@pytest.fixture(scope="module")
def submission(exported, tmp_path_factory) -> Path:
    return write_submission(exported, tmp_path_factory.mktemp("submissions") / "beetles")


@pytest.fixture(scope="module")
def events(tmp_path_factory) -> tuple[Path, list[dict[str, Any]]]:
    """Images of many modes and sizes in events of one and more specimens, of known and unknown domains."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    forms = [
        ("RGB", "jpg"),
        ("L", "png"),
        ("RGBA", "png"),
        ("P", "png"),
        ("CMYK", "tif"),
        ("I;16", "tif"),
        ("1", "png"),
    ]
    for scale in ("colorpicker", "scalebar"):
        Image.new("RGB", (8, 5)).save(folder / f"{scale}.png")
    names = ["Carabus goryi", None, float("nan")]  # as pandas reads a name that is missing
    events: list[dict[str, Any]] = []
    for number, (n_specimens, domain) in enumerate([(1, 1), (5, 4), (1, 77), (3, 9), (7, 10**6), (2, 4)]):
        files = []
        for specimen in range(n_specimens):
            mode, suffix = forms[(number + specimen) % len(forms)]
            size = tuple(int(side) for side in rng.integers(1, 90, 2))
            image = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(size)
            name = f"{number}-{specimen}.{suffix}"
            (image.convert("L") if mode == "I;16" else image).convert(mode).save(folder / name)
            files.append(name)
        scientific_name = names[number % len(names)]
        events.append({"name": f"event {number}", "domain": domain, "files": files, "scientific_name": scientific_name})
    (folder / "events.json").write_text(json.dumps(events))
    return folder, events


def forecast_here(exported: Path, events: tuple[Path, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """What this project computes for the same events, in float64."""
    folder, listed = events
    rows = [(event["name"], event["domain"], name) for event in listed for name in event["files"]]
    names, domains, files = zip(*rows, strict=True)
    model = ExportedModel.load(exported)
    pixels = model.pixels([(folder / file).read_bytes() for file in files])
    predictions = predicted_in_float64(model, pixels, domains)
    return model.forecast(predictions, names, domains)


def load_program(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("submitted_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    model.load()
    return model


def mean_crps(labels: np.ndarray, mu: list[list[float]], sigma: list[list[float]]) -> float:
    return float(crps_normal(labels, mu, sigma).mean())


def test_a_submission_holds_the_program_as_it_is_the_weights_and_allowed_packages_only(submission, exported):
    wanted = {"model.py", "model.safetensors", "config.json", "requirements.txt"}

    assert {path.name for path in submission.iterdir()} == wanted
    assert (submission / "model.py").read_bytes() == Path(standalone.__file__).read_bytes()
    assert (submission / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()
    assert "facts" not in json.loads((submission / "config.json").read_text())


def test_the_organisers_allow_what_a_submission_requires_as_their_baselines_do(submission):
    text = (submission / "requirements.txt").read_text()

    assert refused_requirements(text) == []
    assert tuple(text.splitlines()) == BASELINES == PACKAGES
    assert refused_requirements("torch>=2.6\n# comment\n\nopen_clip_torch==3.1.0\ntorch [a]==2.8.0\npillow\n") == [
        "torch>=2.6", "# comment", "", "open_clip_torch", "torch [a]", "pillow",
    ]  # fmt: skip


def test_what_is_uploaded_is_a_zip_of_the_same_files_at_its_root_and_of_the_same_bytes_each_time(
    submission, exported, tmp_path
):
    with zipfile.ZipFile(f"{submission}.zip") as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == {
            path.name: path.read_bytes() for path in submission.iterdir() if path.is_file()
        }

    again = write_submission(exported, tmp_path / "again")

    assert Path(f"{again}.zip").read_bytes() == Path(f"{submission}.zip").read_bytes()


@pytest.mark.parametrize("taken", ["text", "other zip", "folder", "link"])
def test_a_zip_of_another_kind_is_left_as_it_is_and_nothing_is_written(exported, tmp_path, taken):
    archive, mine = tmp_path / "submission.zip", tmp_path / "mine"
    mine.write_text("mine")
    if taken == "text":
        archive.write_text("mine")
    elif taken == "other zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(mine, "mine")
    elif taken == "folder":
        archive.mkdir()
    else:
        archive.symlink_to(mine)
    before = sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*"))

    with pytest.raises(UserError, match=r"submission\.zip is something else"):
        write_submission(exported, tmp_path / "submission")

    assert sorted((path, path.lstat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_the_program_imports_what_the_challenge_has_and_nothing_of_this_project():
    imported = set()
    for node in ast.walk(ast.parse(Path(standalone.__file__).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])

    assert imported - set(sys.stdlib_module_names) == {"torch", "open_clip", "numpy", "PIL", "safetensors"}


def test_the_challenges_loop_gets_what_the_exported_model_forecasts(submission, exported, events):
    folder, listed = events
    wanted = forecast_here(exported, events)
    model = load_program(submission)

    for event in listed:
        images = [Image.open(folder / name) for name in event["files"]]
        points = [{"relative_img": image, "domainID": event["domain"], "scientificName": "x"} for image in images]
        found = model.predict(points)

        assert list(found) == list(TARGETS)
        for i, pair in enumerate(found.values()):
            assert type(pair["mu"]) is type(pair["sigma"]) is float
            exact = np.float64(wanted[event["name"]]["mu"][i])
            assert_rounded(pair["mu"], exact, TINY_TERMS, magnitude=1.0)  # a score's unit
            assert pair["sigma"] == wanted[event["name"]]["sigma"][i]
            assert round(pair["sigma"], 4) > 0


@pytest.mark.parametrize("point", [{}, {"domainID": None}, {"domainID": float("nan")}, {"domainID": "?"}])
def test_a_datapoint_without_a_domain_is_of_an_unknown_one(submission, exports, point):
    image = Image.new("RGB", (20, 30))

    forecast = load_program(submission).predict([{"relative_img": image, **point}])

    assert [forecast[target]["sigma"] for target in TARGETS] == exports.sigmas["unknown"]


def test_a_tiny_sigma_survives_rounding(exports, tower, tmp_path):
    config = exports.config("full", 0)
    sigmas = {"known": [1e-9] * 3, "unknown": [1e-9] * 3}
    model = exports.export(tmp_path / "m", tower, config, exports.tail(tower, config), sigmas=sigmas)

    forecast = load_program(write_submission(model, tmp_path / "s")).predict([{"relative_img": Image.new("L", (9, 9))}])

    assert all(round(pair["sigma"], 4) > 0 for pair in forecast.values())


def test_a_submission_that_was_altered_is_refused(submission, tmp_path):
    copy = Path(shutil.copytree(submission, tmp_path / "copy"))
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:-4])

    with pytest.raises(ValueError, match="was altered"):
        load_program(copy)


def test_a_submission_replaces_one_of_before_and_nothing_else(exported, tmp_path):
    place = tmp_path / "submission"
    write_submission(exported, place)
    (place / "__pycache__").mkdir()
    write_submission(exported, place)
    assert not (place / "__pycache__").exists()

    for mine in (tmp_path / "mine", Path(shutil.copytree(exported, tmp_path / "model"))):
        mine.mkdir(exist_ok=True)
        (mine / "notes.txt").write_text("mine")
        before = sorted(mine.rglob("*"))
        with pytest.raises(UserError, match=re.escape(str(mine))):
            write_submission(exported, mine)
        assert sorted(mine.rglob("*")) == before


def test_no_submission_is_written_of_a_folder_that_cannot_be_trusted(exported, tmp_path):
    copy = Path(shutil.copytree(exported, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()

    with pytest.raises(ModelFolderError):
        write_submission(copy, tmp_path / "submission")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def score_elsewhere(python: Path | str, submission: Path, events: tuple[Path, list[dict[str, Any]]], scratch: Path):
    """What the organisers' loop gets of the uploaded zip, with another Python and nothing of this project."""
    program, result, unpacked = scratch / "ingestion.py", scratch / "result.json", scratch / "submitted"
    program.write_text(INGESTION.replace("{OURS!r}", repr(OURS)))
    with zipfile.ZipFile(f"{submission}.zip") as packed:
        packed.extractall(unpacked)
    done = subprocess.run(
        [python, "-I", str(program), str(unpacked), str(events[0]), str(result)],
        capture_output=True,
        text=True,
        cwd=scratch,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text())


def check_forecasts(
    found: dict[str, Any], wanted: dict[str, dict[str, list[float]]], listed: list[dict[str, Any]]
) -> None:
    """Equal but for the rounding to four decimals, and scores with them, which move by no more than mu and sigma do."""
    room = 0.5e-4 + LABEL_RANGE[1] * rounding_bound(TINY_TERMS)
    forecasts = {
        name: {key: [forecast[target][key] for target in TARGETS] for key in ("mu", "sigma")}
        for name, forecast in found.items()
    }
    for name, forecast in wanted.items():
        for key in ("mu", "sigma"):
            assert forecasts[name][key] == pytest.approx(forecast[key], abs=room)
    labels = np.random.default_rng(3).uniform(-2.09, 2.09, (len(listed), 3))
    scores = [
        mean_crps(labels, *([forecast[event["name"]][key] for event in listed] for key in ("mu", "sigma")))
        for forecast in (forecasts, wanted)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=2 * room)


@pytest.mark.slow
def test_in_a_process_without_this_project_and_without_network_it_scores_as_here(
    submission, exported, events, tmp_path
):
    outcome = score_elsewhere(sys.executable, submission, events, tmp_path)

    assert outcome["loaded"] == []
    check_forecasts(outcome["forecasts"], forecast_here(exported, events), events[1])


@pytest.fixture
def fresh_python() -> Iterator[Path]:
    """A Python with a submission's packages alone, as pip finds them: 7 GB for as long as a test takes."""
    with tempfile.TemporaryDirectory() as scratch:  # not `tmp_path`, which pytest keeps
        environment = Path(scratch, "environment")
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, environment], check=True)
        python = environment / "bin" / "python"
        install = ["uv", "pip", "install", "--quiet", "--no-cache", "--python", python, "--requirement"]
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text("".join(f"{package}\n" for package in BASELINES))
        subprocess.run([*install, requirements], check=True)
        yield python


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch 2.8 was built for Python 3.9 to 3.13")
def test_in_a_fresh_environment_with_the_organisers_versions_it_scores_as_here(
    submission, exported, events, fresh_python, tmp_path
):
    outcome = score_elsewhere(fresh_python, submission, events, tmp_path)

    versions = {name: version.partition("+")[0] for name, version in outcome["versions"].items()}
    assert versions == {"torch": "2.8.0", "torchvision": "0.23.0", "open_clip": "3.1.0"}
    check_forecasts(outcome["forecasts"], forecast_here(exported, events), events[1])


@pytest.mark.slow
def test_a_torch_program_predicts_what_the_model_predicts_for_any_number_of_images(exported, tmp_path):
    model = ExportedModel.load(exported)
    file = write_program(model, tmp_path / "beetles.pt2")

    extra = {"config.json": ""}
    program = torch.export.load(file, extra_files=extra).module()

    assert [path.name for path in tmp_path.iterdir()] == ["beetles.pt2"]
    assert json.loads(extra["config.json"]) == model.config
    for n in (1, 2, 7):
        pixels, domains = torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(n)), [1, 4, 9, None][:n]
        domains += [None] * (n - len(domains))
        with torch.no_grad():
            found = program(pixels, model.domain_indices(domains)).numpy()
        assert_rounded(found, predicted_in_float64(model, pixels, domains), TINY_TERMS)
