"""Targets of any number and size: sigma, score and what is learnt follow the labels' size, never the beetles'."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.drawn_events import DrawnEvents
from trainable.data.task import Task, beetles
from trainable.errors import UserError
from trainable.scoring.crps import crps_normal
from trainable.scoring.evaluation import ModelForecasts, evaluate_forecasts
from trainable.scoring.folds_scorer import floors
from trainable.scoring.out_of_fold import OutOfFold, calibrated_sigmas, different_events, paired_difference
from trainable.scoring.scoring import HeldOutScorer
from trainable.scoring.targets import Targets
from trainable.training.label_units import LabelUnits

N_EVENTS = 60
DRAWN = DrawnEvents(N_EVENTS)
EVENTS, SITES, DOMAINS, GENUS, ROWS = DRAWN.events, DRAWN.sites, DRAWN.domains, DRAWN.genus, DRAWN.rows
split = DRAWN.split


def task(scale: str = "skill", low: object = 0, **columns: str) -> Task:
    return Task.from_dict(
        {
            "columns": {"image": "photo", "domain": "region", **columns},
            "covariates": ["genus"],
            "targets": {"mass": {"real": [low, None], "unit": "kg"}, "length": {"real": "any", "unit": "mm"}},
            "score": {"kind": "crps", "scale": scale},
        }
    )


def drawn(seed: int = 0) -> np.ndarray:
    """Labels of 60 events: masses near 1e-4, lengths near 3,000."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.gamma(4, 2e-5, N_EVENTS), rng.normal(3000, 400, N_EVENTS)], axis=1)


def guesses(labels: np.ndarray, seed: int = 1) -> np.ndarray:
    return (labels + np.random.default_rng(seed).normal(size=labels.shape) * labels.std(axis=0) * 0.7)[ROWS]


def scored(scale: float = 1.0, *, of: Task | None = None) -> dict[str, float]:
    labels = drawn() * scale
    targets = Targets.of(of or task(), labels, EVENTS)
    return HeldOutScorer(labels, EVENTS, SITES, split(), targets=targets).score(guesses(drawn()) * scale)


def test_a_skill_is_the_same_in_any_unit_and_a_crps_is_in_its_own():
    # without a bound, which would clip the guesses of the one and not of the other
    free = task(low=None)
    here, there = scored(of=free), scored(1e6, of=free)

    assert there["score/all"] == pytest.approx(here["score/all"], rel=1e-6)
    for part in ("id", "ood"):
        for name in ("mass", "length"):
            for kind in ("crps", "mae", "sigma"):
                assert there[f"{kind}_{part}/{name}"] == pytest.approx(1e6 * here[f"{kind}_{part}/{name}"], rel=1e-6)
            assert there[f"r2_{part}/{name}"] == pytest.approx(here[f"r2_{part}/{name}"])


def test_a_sigma_is_the_best_one_whatever_the_unit():
    """Of SDs of 4e-5 and 400, as of any: the score's minimum is where other sigmas cost more."""
    labels, targets = drawn(), Targets.of(task(), drawn(), EVENTS)
    errors = labels - labels.mean(axis=0)
    sigma = targets.rule.fit(errors, np.zeros_like(errors))[0]

    for factor in (0.97, 1.03):
        assert (crps_normal(errors, 0, sigma).mean(axis=0) < crps_normal(errors, 0, sigma * factor).mean(axis=0)).all()


def test_a_constant_forecast_has_a_skill_near_1_and_a_perfect_one_near_0():
    labels = drawn()
    targets = Targets.of(task(), labels, EVENTS)
    constant = floors(labels, EVENTS, SITES, DOMAINS, GENUS, [split()], targets=targets)["constant"]
    perfect = HeldOutScorer(labels, EVENTS, SITES, split(), targets=targets).score(labels[ROWS])

    assert constant["score/all"] == pytest.approx(1, abs=0.25)
    assert perfect["score/all"] < 0.02


def test_raw_scores_are_in_the_targets_own_units():
    values = scored(of=task("raw"))
    crps = [values[f"crps_{part}/{name}"] for part in ("id", "ood") for name in ("mass", "length")]

    assert values["score/all"] == pytest.approx(np.sqrt(np.mean(np.square(crps))))


def test_predictions_are_clipped_to_the_bounds_that_there_are():
    targets = Targets.of(task(), drawn(), EVENTS)

    assert targets.clip([[-1.0, -1.0], [2.0, 1e9]]).tolist() == [[0.0, -1.0], [2.0, 1e9]]


def test_floors_are_of_the_groups_that_the_task_has():
    labels = drawn()
    bare = Task.from_dict(
        {"columns": {"image": "photo"}, "targets": {"mass": {"real": "any"}, "length": {"real": "any"}}}
    )
    given = (labels, EVENTS, SITES, DOMAINS, GENUS, [split()])

    assert [*floors(*given, targets=Targets.of(task(), labels, EVENTS))] == ["constant", "domain_mean", "species_mean"]
    assert [*floors(*given, targets=Targets.of(bare, labels, EVENTS))] == ["constant"]


def gathered(noise: float, *, of: Task | None = None) -> OutOfFold:
    labels = drawn()
    targets = Targets.of(of or task(), labels, EVENTS)
    rng = np.random.default_rng(5)
    predictions = (labels + rng.normal(size=labels.shape) * labels.std(axis=0) * noise)[ROWS]
    scorer = HeldOutScorer(labels, EVENTS, SITES, split(), targets=targets)
    return OutOfFold.gather({0: [scorer.forecasts(predictions)]}, dict(zip(SITES, DOMAINS, strict=True)))


def test_forecasts_of_several_folds_keep_their_targets_in_a_file_and_are_compared_by_skill():
    good, poor = gathered(0.2), gathered(0.9)
    back = OutOfFold.from_dict(json.loads(json.dumps(good.to_dict())))

    assert back.targets.task == task()
    assert back.metrics() == good.metrics()
    assert back.intervals() == good.intervals()
    difference = paired_difference(back, poor)
    assert difference.is_win
    assert difference.mean == pytest.approx(good.metrics()["score/all"] - poor.metrics()["score/all"])
    sigmas = calibrated_sigmas(back)
    assert (sigmas["known"] / drawn().std(axis=0) > 0.1).all()
    assert (sigmas["known"] / drawn().std(axis=0) < 0.3).all()


def test_forecasts_of_different_tasks_are_not_compared():
    assert "their tasks differ" in str(different_events(gathered(0.2), gathered(0.2, of=task("raw"))))


def test_a_finished_model_is_scored_by_its_own_targets():
    labels = drawn()
    targets = Targets.of(task(), labels, EVENTS)
    mu = labels + 0.3 * labels.std(axis=0) * np.random.default_rng(2).normal(size=labels.shape)
    forecasts = ModelForecasts(
        event_ids=EVENTS,
        sites=SITES,
        domains=DOMAINS,
        is_known=DOMAINS != "region 2",
        labels=labels,
        mu=mu,
        sigma=np.broadcast_to(labels.std(axis=0), labels.shape),
        event_of_image=EVENTS,
        image_predictions=mu,
        targets=targets,
    )
    found = evaluate_forecasts(forecasts)

    assert found.parts["id"].keys() == {"mass", "length"}
    assert [group.name for group in found.domains] == ["region 0", "region 1", "region 2"]
    shares = [
        value / floor
        for part in found.parts.values()
        for value, floor in zip(part.values(), targets.floor, strict=True)
    ]
    assert found.score == pytest.approx(np.sqrt(np.mean(np.square(shares))))
    assert found.intervals["score/all"][0] < found.score < found.intervals["score/all"][1]


def test_labels_are_learnt_with_mean_0_and_sd_1_of_the_training_events_and_come_back():
    labels, targets = drawn(), Targets.of(task(), drawn(), EVENTS)
    units = LabelUnits.of(targets, labels, EVENTS, split().train)
    learnt = units.learnt(labels)

    np.testing.assert_allclose(learnt[split().train].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(learnt[split().train].std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(units.labels(learnt), labels, rtol=1e-5)
    elsewhere = labels.copy()
    elsewhere[ROWS] *= 7
    assert np.array_equal(LabelUnits.of(targets, elsewhere, EVENTS, split().train).centre, units.centre)


def test_the_challenge_is_learnt_and_scored_in_its_own_unit():
    """To the bit: no arithmetic is done on its labels, and what it is divided by is exactly 1."""
    labels = np.random.default_rng(0).uniform(-2.09, 2.09, (N_EVENTS, 3)).astype(np.float32)
    targets = Targets.of(beetles(), labels.astype(np.float64), EVENTS)
    units = LabelUnits.of(targets, labels, EVENTS, split().train)

    assert units.learnt(labels) is labels
    assert units.labels(labels) is labels
    assert np.array_equal(targets.spread, np.ones(3))
    assert np.array_equal(targets.floor, np.ones(3))
    assert Targets.beetles().to_dict() == targets.to_dict()


@pytest.mark.parametrize("change", [{"spread": [1.0]}, {"floor": [1.0, 0.0]}, {"floor": [1.0, "x"]}, {"task": {}}])
def test_targets_that_do_not_fit_together_are_refused(change):
    values = Targets.of(task(), drawn(), EVENTS).to_dict()
    assert Targets.from_dict(json.loads(json.dumps(values))).to_dict() == values

    with pytest.raises((UserError, ValueError)):
        Targets.from_dict(values | change)


def test_a_target_that_never_differs_is_measured_by_1():
    labels = drawn()
    labels[:, 0] = 0.5

    assert Targets.of(replace(task("raw")), labels, EVENTS).spread[0] == 1.0
