"""Features that are there are found without their backbone being loaded, and only while nothing of it has changed."""

import json
import os
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

import trainable.frozen.backbone
from trainable.frozen.features import MANIFEST_NAME

DEMO = "demo:76"


class BackboneLoaded(BaseException):
    """It was to be done without; the command tells any `Exception` in words, and this is none."""


@pytest.fixture
def extract(cli, tmp_path):
    """`extract --local` into a cache of the test's own."""

    def run(*argv):
        words = ["--data", DEMO, "--space", "smoke", "--workers", 1, "--cache", tmp_path / "cache", "--json"]
        return cli("extract", "--local", *words, *argv)

    return run


@pytest.fixture
def nothing_loads(monkeypatch):
    """From here on, whoever loads a backbone fails."""

    def refuse(*_, **__):
        raise BackboneLoaded

    def begin() -> None:
        monkeypatch.setattr(trainable.frozen.backbone, "fingerprint_state", refuse)  # the last step of it

    return begin


@pytest.fixture
def model(tmp_path) -> Path:
    """A small tower in an open_clip folder."""
    text = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.CLIP(**config).state_dict()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


def test_a_second_time_the_same_features_are_given_and_no_backbone_is_loaded(extract, nothing_loads):
    first = extract()
    nothing_loads()
    second = extract()

    assert first.status == 0, first.stderr
    assert second.result == {**first.result, "n_extracted": 0}
    assert "nothing to extract" in second.stderr


@pytest.mark.seconds
def test_more_depths_other_images_and_an_unfinished_store_need_the_backbone(extract, nothing_loads, tmp_path):
    assert extract().status == 0
    (manifest,) = (tmp_path / "cache" / "features").glob(f"*/{MANIFEST_NAME}")
    nothing_loads()

    for argv in (["--space", "lora"], ["--data", "demo:77"]):
        with pytest.raises(BackboneLoaded):
            extract(*argv)
    manifest.write_text("{}")
    with pytest.raises(BackboneLoaded):
        extract()


@pytest.mark.seconds
def test_a_depth_that_the_backbone_has_not_is_refused_as_if_it_were_loaded(extract, nothing_loads, tmp_path):
    space = tmp_path / "deep.yaml"
    text = (Path(__file__).parents[2] / "search_spaces" / "smoke.yaml").read_text()
    space.write_text(text.replace("int: [1, 2]", "int: [1, 9]"))
    loaded = extract("--space", space)
    assert extract().status == 0
    nothing_loads()
    known = extract("--space", space)

    assert (loaded.status, known.status) == (2, 2)
    assert "`tail.n_blocks <= 6` must hold for backbone tiny" in known.stderr
    assert known.stderr.splitlines()[-1] == loaded.stderr.splitlines()[-1]


@pytest.mark.seconds
def test_weights_or_a_config_that_were_replaced_are_noticed_though_size_and_time_were_set_back(
    extract, nothing_loads, model
):
    words = ("--backbone", f"local-dir:{model}")
    first = extract(*words)
    assert first.status == 0, first.stderr
    weights, config = model / "open_clip_model.safetensors", model / "open_clip_config.json"
    before, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    other = extract(*words)
    assert other.result["store"] != first.result["store"]
    assert other.result["n_extracted"] == 76

    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6]}}))
    nothing_loads()
    with pytest.raises(BackboneLoaded):
        extract(*words)
    config.write_text(json.dumps(values))
    assert extract(*words).result == {**other.result, "n_extracted": 0}
