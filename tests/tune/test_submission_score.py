"""What the challenge would score of a submission is what `evaluate` says of the model it was made from."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.beetles import TARGETS
from trainable.data.specimens import load_specimens
from trainable.data.splits import make_split
from trainable.scoring.crps import crps_normal

DATA = "demo:120"


def load_program(folder: Path) -> Any:
    """`model.py` as the challenge's ingestion takes it."""
    spec = importlib.util.spec_from_file_location("submitted", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.Model()
    model.load()
    return model


def rounded(forecast: dict[str, dict[str, float]]) -> list[tuple[float, float]]:
    """(mu, sigma) a target, as the ingestion writes them."""
    return [(round(forecast[target]["mu"], 4), round(forecast[target]["sigma"], 4)) for target in TARGETS]


@pytest.mark.seconds
def test_the_submissions_official_score_equals_that_of_evaluate(cli, trained_model, demo_cache, tmp_path):
    told = cli("evaluate", trained_model, "--data", DATA, "--no-track", "--out", tmp_path / "report", "--json")
    assert told.status == 0, told.stderr
    assert cli("export", trained_model, "--submission", tmp_path / "submission").status == 0
    model = load_program(tmp_path / "submission")

    specimens = load_specimens(DATA, cache_dir=demo_cache, n_processes=1)
    frame = specimens.frame
    split = make_split(frame, holdout="both", fold=0, seed=0)  # as `train` held them out
    parts = []
    for rows in (split.id_, split.ood):
        costs = []
        for _, event in frame.iloc[rows].groupby("event_id"):
            points = [
                {"relative_img": Image.open(io.BytesIO(image)), "domainID": int(event["domain_id"].iloc[0])}
                for image in specimens.images.read(event.index.tolist())
            ]
            mu, sigma = zip(*rounded(model.predict(points)), strict=True)
            costs.append(crps_normal(event[list(TARGETS)].to_numpy()[0], mu, sigma))
        parts.append(np.mean(costs, axis=0))
    score = float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    assert told.result["models"][0]["score"] == pytest.approx(score, abs=1e-4)  # mu and sigma were rounded to this
