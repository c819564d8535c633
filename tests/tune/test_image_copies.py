"""Copies of images from the space that asks for them to a trained model: extracted once, counted, found again."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from search_spaces.space import SearchSpace
from search_spaces.variant import read_variant
from tests.conftest import PLAIN
from trainable.data.specimens import load_specimens
from trainable.export.standalone import ExportedModel
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.trial_data import TrialData
from tune.cli import parse_command
from tune.execution.session import request_for
from tune.extraction.extraction import make_features
from tune.extraction.request import Progress
from tune.planning.plan_text import plan_text
from tune.report.console import Console
from tune.verbs.plan import plan_study

DEMO = "demo:76"


class Stopped(Exception):
    """Somebody stops an extraction."""


def space_with(folder: Path, **parameters: object) -> Path:
    """`plain.yaml` with further parameters, in a file of its own."""
    values = yaml.safe_load(PLAIN.read_text(encoding="utf-8"))
    own = {"role": "scientific", "why": "To see whether it helps."}
    values["parameters"] |= {f"augment.{name}": {"choices": choices, **own} for name, choices in parameters.items()}
    file = folder / "copies.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


@pytest.fixture
def extract(cli, tmp_path):
    """`extract --local` into a cache of the test's own; gives the result."""

    def run(space: object) -> dict:
        words = ["--data", DEMO, "--space", space, "--workers", 1, "--cache", tmp_path / "cache", "--json"]
        outcome = cli("extract", "--local", *words)
        assert outcome.status == 0, outcome.stderr
        return outcome.result

    return run


def test_a_space_says_how_many_copies_are_needed(tmp_path):
    assert SearchSpace.load("full").most_copies() == 0
    assert SearchSpace.load(str(space_with(tmp_path, image_copies=[0, 3]))).most_copies() == 3
    assert SearchSpace.load(str(space_with(tmp_path, image_copies=[0], test_flips=[False, True]))).most_copies() == 1


@pytest.mark.seconds
def test_what_is_stored_is_not_extracted_again_by_a_search_with_or_without_copies(extract, tmp_path):
    without, n_images = extract(PLAIN), 76
    with_two = extract(space_with(tmp_path, image_copies=[0, 2]))

    assert without["n_extracted"] == n_images
    assert "copies" not in without
    assert with_two["store"] == without["store"]
    assert with_two["n_extracted"] == 2 * n_images
    assert len(with_two["copies"]) == 2
    assert extract(space_with(tmp_path, image_copies=[0, 2]))["n_extracted"] == 0
    assert extract(PLAIN)["n_extracted"] == 0
    with_flips = extract(space_with(tmp_path, test_flips=[False, True]))
    assert with_flips["n_extracted"] == 0
    assert with_flips["copies"] == with_two["copies"][:1]


@pytest.mark.seconds
def test_an_extraction_that_was_stopped_amid_a_copy_goes_on_there(tmp_path):
    space = SearchSpace.load(str(space_with(tmp_path, image_copies=[0, 2])))
    specimens = load_specimens(DEMO, cache_dir=tmp_path / "cache", n_processes=1)
    words = ["--data", DEMO, "--workers", "1", "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    _, given = parse_command(["extract", "--local", *words])
    request = request_for(
        given.options(), specimens, n_blocks=space.reachable_blocks(), n_copies=space.most_copies(), device="cpu"
    )
    lines: list[str] = []

    def stop_in_copy_1(event: Progress | str) -> None:
        if isinstance(event, str):
            lines.append(event)
        elif lines and event.n_done >= 40:
            raise Stopped

    with pytest.raises(Stopped):
        make_features(request, on_ray=False, tell=stop_in_copy_1)
    features = make_features(request, on_ray=False, tell=lambda _: None)

    assert lines == ["copy 1 of 2 of each image"]
    assert 76 < features.n_extracted < 2 * 76
    assert len(features.copies) == 2
    assert make_features(request, on_ray=False, tell=lambda _: None).n_extracted == 0


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plans a search with its measurements in this process."""
    monkeypatch.chdir(tmp_path)

    def run(space: object):
        words = ["--data", DEMO, "--space", space, "--workers", 1, "--epochs", 2, "--trials", 3, "--no-confirm"]
        _, given = parse_command(["plan", "--local", *map(str, [*words, "--cache", tmp_path / "cache"])])
        return plan_study(given, Console(json=False), fresh=lambda function, *args, **_: function(*args))

    return run


@pytest.mark.seconds
def test_a_plan_counts_images_bytes_and_time_of_copies(plan, extract, tmp_path):
    one, three = plan(PLAIN).extraction, plan(file := space_with(tmp_path, image_copies=[0, 2]))
    assert three.extraction.bytes == 3 * one.bytes
    assert (one.images, three.extraction.images) == (76, 3 * 76)
    assert three.extraction.seconds == pytest.approx(3 * 76 * three.extraction.image_seconds)
    assert "228 of 228, 2 copies of each among them to run" in plan_text(three)
    extract(PLAIN)
    assert plan(file).extraction.images == 2 * 76
    extract(file)
    assert plan(file).extraction.images == 0


@pytest.mark.slow
@pytest.mark.parametrize("flips", [False, True])
def test_a_variant_with_copies_trains_and_its_exported_model_scores_what_training_said(cli, tmp_path, flips):
    values = {"about": "copies and flips", "epochs": 2, "config": read_variant("ft_did").config.complete()}
    del values["config"]["epochs"], values["config"]["length"]
    values["config"]["augment"] |= {"image_copies": 2, "test_flips": flips}
    file, out, cache = tmp_path / "own.yaml", tmp_path / "out", tmp_path / "cache"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")

    outcome = cli("train", "--data", DEMO, "--variant", file, "--workers", 1, "--cache", cache, "--out", out)

    assert outcome.status == 0, outcome.stderr
    result = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert result["config"]["augment"]["image_copies"] == 2
    data, model = TrialData.load(out / "data"), ExportedModel.load(out / "model")
    assert len(data.copies) == 2
    rows = np.concatenate([data.split.id_, data.split.ood])
    images = load_specimens(DEMO, cache_dir=cache, n_processes=1).images.read(rows.tolist())
    scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split, targets=data.targets)

    found = model.predict(images, data.domain_ids[rows].tolist()).astype(np.float32)
    assert scorer.score(found)["score/all"] == pytest.approx(result["best"]["score"], abs=1e-4)
    assert model.config.get("test_flips", False) is flips
