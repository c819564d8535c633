"""Figures and tables of a model of another task: its own names and limits, a panel a target, text domains."""

import io

import numpy as np
import pytest
from PIL import Image

from trainable.data.task import Task
from trainable.scoring.evaluation import ModelForecasts, evaluate_forecasts
from trainable.scoring.targets import Targets
from tune.evaluation import figures
from tune.evaluation.look import COLOURS

N = 24
TARGETS = {
    "one": {"mass": {"real": "any", "unit": "g"}},
    "two": {"length": {"real": [0, None], "unit": "mm"}, "mass": {"real": "any", "unit": "g"}},
    "four": {f"t{i}": {"real": [0, 9000], "unit": "mm"} for i in range(4)},
}


def forecasts_of(kind: str) -> ModelForecasts:
    task = Task.from_dict({"columns": {"image": "photo", "domain": "region"}, "targets": TARGETS[kind]})
    rng = np.random.default_rng(0)
    labels = rng.uniform(1000, 5000, (N, len(task.targets)))
    mu = labels + rng.normal(0, 300, labels.shape)
    domains = np.array(["Süd", "Nord", "Ost"])[np.arange(N) % 3]
    return ModelForecasts(
        event_ids=np.array([f"plot {i:02}" for i in range(N)]),
        sites=np.array([f"Wald {i % 6}" for i in range(N)]),
        domains=domains,
        is_known=domains != "Ost",
        labels=labels,
        mu=mu,
        sigma=np.full(labels.shape, 300.0),
        event_of_image=np.arange(N),
        image_predictions=mu,
        targets=Targets.of(task, labels, np.arange(N)),
    )


@pytest.mark.seconds
@pytest.mark.parametrize("kind", TARGETS)
def test_a_figure_has_a_panel_for_each_target_of_the_task(kind):
    forecasts = forecasts_of(kind)
    coverage = evaluate_forecasts(forecasts).coverage
    pictures = (
        figures.predicted_against_observed(forecasts),
        figures.residuals_by_group(forecasts),
        figures.calibration_curves({part: coverage[part] for part in COLOURS}),
    )

    for picture in pictures:
        width, height = Image.open(io.BytesIO(picture)).size
        assert round(width / 440) == len(TARGETS[kind])
        assert height > 400


def test_axes_end_at_the_bounds_or_where_the_values_do():
    forecasts = forecasts_of("two")
    shown = np.concatenate([forecasts.labels, forecasts.mu])
    (low, high), (open_low, open_high) = (figures._limits(forecasts, place) for place in range(2))

    assert high > shown[:, 0].max()
    assert -0.05 * high < low < 0
    assert open_low < shown[:, 1].min()
    assert open_high > shown[:, 1].max()


def test_groups_of_text_and_targets_have_their_own_names():
    evaluation = evaluate_forecasts(forecasts_of("two"))

    assert evaluation.targets == ("length", "mass")
    assert [group.name for group in evaluation.domains] == ["Nord", "Ost", "Süd"]
    assert evaluation.seed_results().keys() == {"length", "mass"}
