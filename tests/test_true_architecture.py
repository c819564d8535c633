"""BioCLIP 2's own architecture, with random weights: everything fits together at its true size."""

import csv
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import search_spaces

N_IMAGES = 11
SITES = (("ABBY", 16), ("WREF", 16), ("BART", 1), ("HARV", 1), ("KONZ", 6))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    """ViT-L-14 in an open_clip folder, with a text tower of next to nothing."""
    folder = tmp_path_factory.mktemp("ViT-L-14")
    config = open_clip.get_model_config("ViT-L-14")
    text = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], text).state_dict()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """A folder of images with metadata.csv: two events a site, of one or two specimens each."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(N_IMAGES):
        event = max(number - 1, 0)
        site, domain = SITES[event // 2]
        pixels = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((330, 270)).save(folder / f"{number}.jpg")
        of_event = np.random.default_rng(100 + event)
        rows.append(
            {
                "file_name": f"{number}.jpg",
                **{f"SPEI_{span}": round(float(of_event.uniform(-2, 2)), 2) for span in ("30d", "1y", "2y")},
                "eventID": event,
                "domainID": domain,
                "siteID": site,
                "scientificName": ("Carabus goryi", "Pterostichus adoxus")[number % 2],
                "collectDate": f"2018-06-{event + 1:02d}",
            }
        )
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


DEPTHS = """
about: both depths
base: default
start_from:
- {name: shallow, tail.n_blocks: 1, adapter.kind: full, optim.batch_size: 8}
parameters:
  tail.n_blocks: {choices: [1, 2], role: scientific, why: depth}
  adapter.kind: {choices: [full, dora], role: scientific, why: what trains}
  optim.batch_size: {choices: [8, 16], role: nuisance, why: few images}
"""


def test_vit_l_14_is_extracted_once_trained_an_epoch_at_both_depths_scored_and_exported(
    backbone, photographs, cli, tracking_uri, tmp_path
):
    space = tmp_path / "depths.yaml"
    space.write_text(DEPTHS)
    data = ["--data", photographs, "--backbone", f"local-dir:{backbone}", "--cache", tmp_path / "cache", "--json"]
    extracted = cli("extract", "--local", *data, "--space", space)
    assert (extracted.status, extracted.result["n_extracted"]) == (0, N_IMAGES), extracted.stderr
    assert extracted.result["taps"] == [22, 23]

    study = ["--study", tmp_path / "study", "--tracking-uri", tracking_uri, "--no-confirm"]
    searched = cli("search", "--local", *data, "--space", space, "--trials", 1, "--epochs", 1, *study)
    assert searched.status == 0, searched.stderr
    assert "nothing to extract" in searched.stderr
    check_scores(searched.result["best"]["metrics"])

    variant = yaml.safe_load((Path(search_spaces.__file__).parent / "variants" / "default.yaml").read_text())
    variant["config"]["tail"]["n_blocks"] = 2
    variant["config"]["adapter"]["kind"] = "dora"
    variant["config"]["optim"]["batch_size"] = 8
    (tmp_path / "dora.yaml").write_text(yaml.safe_dump(variant))
    words = ["--variant", tmp_path / "dora.yaml", "--epochs", 1, "--out", tmp_path / "dora"]
    trained = cli("train", *data, *words)
    assert trained.status == 0, trained.stderr
    assert "nothing to extract" in trained.stderr
    check_scores(trained.result["last"]["metrics"])
    assert (tmp_path / "dora" / "model" / "model.safetensors").is_file()  # checked at export to forecast as trained


def check_scores(metrics):
    for name in ("score/all", "score/id", "score/ood", "train/loss"):
        assert 0 < metrics[name] < 5
