"""Test-time flips: a forecast is that of an image and of its mirror image, in every way in which a model goes out."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from trainable.data.task import Task
from trainable.export.exporter import write_config
from trainable.export.onnx_packages import torch_problem
from trainable.export.onnx_program import write_onnx
from trainable.export.standalone import ExportedModel, ModelFolderError
from trainable.export.submission import write_submission
from trainable.export.torch_program import write_program
from trainable.scoring.targets import Targets
from trainable.training.views import mean_of_views

DOMAINS = [1, 4, 9, 1000, None]


def photographs(width: int = 32, height: int = 32) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (len(DOMAINS), 7, 9, 3), dtype=np.uint8)
    return [Image.fromarray(of).resize((width, height)) for of in small]


def mirrored(images: list[Image.Image]) -> list[Image.Image]:
    return [ImageOps.mirror(image) for image in images]


def exported_with(exports, tower, folder: Path, flips: list[bool] | None, **changes) -> Path:
    """Of as many members as there are flips, which share all but their last two blocks."""
    config = exports.config("lora", 2)
    tails = [exports.tail(tower, config, seed=seed) for seed in range(len(flips or [0]))]
    return exports.export(folder, tower, config, *tails, test_flips=flips, **changes)


@pytest.fixture(scope="module")
def folder(exports, tower, tmp_path_factory) -> Path:
    """An exported model of two members, with flips."""
    return exported_with(exports, tower, tmp_path_factory.mktemp("flips") / "model", [True, True])


def test_an_image_and_its_mirror_image_are_forecast_alike(folder):
    model, images = ExportedModel.load(folder), photographs()

    assert np.array_equal(model.predict(images, DOMAINS), model.predict(mirrored(images), DOMAINS))
    large = photographs(100, 64)  # resized and cropped first, which rounds by itself
    assert np.allclose(model.predict(large, DOMAINS), model.predict(mirrored(large), DOMAINS), atol=2e-3)


def test_without_flips_they_are_not_and_the_folder_says_nothing_of_them(exports, tower, tmp_path):
    folder = exported_with(exports, tower, tmp_path / "model", [False, False])
    unsaid = exported_with(exports, tower, tmp_path / "unsaid", None)
    model, images = ExportedModel.load(folder), photographs()

    assert not np.allclose(model.predict(images, DOMAINS), model.predict(mirrored(images), DOMAINS), atol=1e-3)
    for place in (folder, unsaid):
        assert "test_flips" not in (place / "config.json").read_text(encoding="utf-8")


def test_a_forecast_is_the_mean_of_both_views(exports, tower, folder, tmp_path):
    plain = ExportedModel.load(exported_with(exports, tower, tmp_path / "model", [False, False]))
    images = photographs()
    both = [plain.predict(of, DOMAINS) for of in (images, mirrored(images))]
    assert np.abs(np.array(both)).max() < 2  # nothing was clipped

    assert np.allclose(ExportedModel.load(folder).predict(images, DOMAINS), np.mean(both, axis=0), atol=1e-6)


def test_members_may_differ_in_it(exports, tower, tmp_path):
    one, none = (
        ExportedModel.load(exported_with(exports, tower, tmp_path / str(flips[0]), flips))
        for flips in ([True, False], [False, False])
    )
    pixels, domains = one.pixels(photographs()), one.domain_indices(DOMAINS)
    with torch.inference_mode():
        found, own, flipped = (
            one.ensemble(pixels, domains),
            none.ensemble(pixels, domains),
            none.ensemble(pixels.flip(-1), domains),
        )

    assert one.ensemble.n_shared == 4
    assert torch.allclose(found[0], (own[0] + flipped[0]) / 2, atol=1e-6)
    assert torch.equal(found[1], own[1])


@pytest.mark.seconds
def test_the_torch_program_has_flips(folder, tmp_path):
    model = ExportedModel.load(folder)
    program = torch.export.load(write_program(model, tmp_path / "model.pt2")).module()
    pixels, domains = model.pixels(photographs()), model.domain_indices(DOMAINS)

    assert torch.allclose(program(pixels, domains), program(pixels.flip(-1), domains), atol=1e-6)
    assert np.allclose(program(pixels, domains).detach(), model.predict_pixels(pixels, DOMAINS), atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(torch_problem(torch.__version__) is not None, reason=str(torch_problem(torch.__version__)))
@pytest.mark.parametrize("of_classes", [False, True])
def test_the_onnx_file_has_flips(exports, tower, folder, tmp_path, of_classes):
    import onnxruntime

    if of_classes:
        folder = classes_with(exports, tower, tmp_path / "model", flips=True)
    model = ExportedModel.load(folder)
    file = write_onnx(model, tmp_path / "model.onnx", sizes=[1.0] * 3).path
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    pixels, domains = model.pixels(photographs()).numpy(), model.domain_indices(DOMAINS).numpy()

    (one,), (other,) = (
        session.run(None, {"images": of, "domains": domains}) for of in (pixels, pixels[..., ::-1].copy())
    )

    assert np.allclose(one, other, atol=1e-5)


def test_a_submission_has_flips(folder, tmp_path):
    submission = write_submission(folder, tmp_path / "submission")
    spec = importlib.util.spec_from_file_location("submitted", submission / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    model.load()

    def forecast(images: list[Image.Image]) -> dict:
        return model.predict([{"relative_img": image, "domainID": 4} for image in images])

    assert forecast(photographs()) == forecast(mirrored(photographs()))


def classes_with(exports, tower, folder: Path, *, flips: bool) -> Path:
    task = Task.from_dict({"columns": {"image": "file"}, "targets": {"kind": {"classes": ["a", "b", "c"]}}})
    targets = Targets(task=task, spread=np.ones(1), floor=np.ones(1))
    sigmas = {"known": [1.0], "unknown": [1.0]}
    return exported_with(exports, tower, folder, [flips], targets=targets, sigmas=sigmas)


def test_of_classes_it_is_the_mean_of_the_probabilities(exports, tower, tmp_path):
    plain, model = (
        ExportedModel.load(classes_with(exports, tower, tmp_path / str(flips), flips=flips)) for flips in (False, True)
    )
    images = photographs()

    def of(model: ExportedModel, images: list[Image.Image]) -> np.ndarray:
        forecasts = model.forecast(model.predict(images, DOMAINS), range(len(images)), DOMAINS)
        return np.array([forecasts[row]["probabilities"] for row in range(len(images))])

    wanted = (of(plain, images) + of(plain, mirrored(images))) / 2
    assert not np.allclose(wanted, of(plain, images), atol=1e-3)
    assert np.allclose(of(model, images), wanted, atol=1e-6)
    assert np.allclose(of(model, mirrored(images)), of(model, images), atol=1e-6)


def test_views_of_classes_are_logits_of_their_mean_probability():
    one, other = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).mul(5)

    found = mean_of_views(one, other, of_classes=True).softmax(-1)

    assert torch.allclose(found, (one.softmax(-1) + other.softmax(-1)) / 2, atol=1e-6)
    assert torch.equal(mean_of_views(one, other, of_classes=False), (one + other) / 2)


def test_the_model_card_says_so(exports, tower, tmp_path):
    config = exports.config("lora", 2).with_values({"augment.test_flips": True})
    facts = exports.facts(config, seeds=(0, 1))
    exported_with(exports, tower, tmp_path / "model", [True, True], facts=facts)
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")

    assert "\nForecasts are the mean for a photograph and for it flipped left to right." in card
    assert "flipped" not in (exported_with(exports, tower, tmp_path / "off", [False]) / "README.md").read_text("utf-8")


@pytest.mark.parametrize("value", [False, 1, "yes"])
def test_a_folder_that_says_another_thing_of_flips_is_refused(folder, tmp_path, value):
    shutil.copytree(folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_config(tmp_path / "model", config | {"test_flips": value}, unchecked=("README.md",))

    with pytest.raises(ModelFolderError, match="`test_flips` must be true"):
        ExportedModel.load(tmp_path / "model")
