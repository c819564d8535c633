"""Classes are scored as scikit-learn scores them, and a temperature is the best one of events that it is not for."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss

from tests.calibration_error import calibration_error_of_scikit_learn
from tests.drawn_events import DrawnEvents
from trainable.data.task import Task
from trainable.scoring.class_rule import N_BINS, ClassRule, calibration_error, log_losses, macro_f1
from trainable.scoring.folds_scorer import floors
from trainable.scoring.out_of_fold import OutOfFold, calibrated_sigmas, paired_difference
from trainable.scoring.scoring import HeldOutScorer, floor_predictions
from trainable.scoring.targets import Targets
from trainable.training.label_units import LabelUnits

N_EVENTS, N_CLASSES = 120, 5
DRAWN = DrawnEvents(N_EVENTS)
EVENTS, SITES, DOMAINS, GENUS, ROWS = DRAWN.events, DRAWN.sites, DRAWN.domains, DRAWN.genus, DRAWN.rows
split = DRAWN.split
NAMES = ["ash", "beech", "elm", "lime", "oak"]


def task(kind: str = "log_loss", scale: str = "raw") -> Task:
    return Task.from_dict(
        {
            "columns": {"image": "photo", "domain": "region"},
            "covariates": ["genus"],
            "targets": {"tree": {"classes": NAMES}},
            "score": {"kind": kind, "scale": scale},
        }
    )


def drawn(seed: int = 0) -> np.ndarray:
    """Labels of 120 events, some classes more often than others."""
    return np.random.default_rng(seed).choice(N_CLASSES, N_EVENTS, p=[0.4, 0.3, 0.15, 0.1, 0.05]).astype(float)[:, None]


def logits(labels: np.ndarray, *, skill: float = 2.0, sharpness: float = 1.0, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(len(labels), N_CLASSES))
    found[np.arange(len(labels)), labels[:, 0].astype(int)] += skill
    return sharpness * found


def scorer(labels: np.ndarray, of: Task | None = None) -> HeldOutScorer:
    return HeldOutScorer(labels, EVENTS, SITES, split(), targets=Targets.of(of or task(), labels, EVENTS))


@pytest.mark.parametrize("kind", ["log_loss", "brier"])
def test_a_score_and_its_figures_are_those_of_scikit_learn(kind):
    labels = drawn()
    of = scorer(labels, task(kind))
    found = of.score(logits(labels)[ROWS])
    forecasts = of.forecasts(logits(labels)[ROWS])

    for part, forecast in forecasts.items():
        true, shares = forecast.labels[:, 0].astype(int), softmax(forecast.mu / forecast.sigma, axis=1)
        wanted = {
            "log_loss": log_loss(true, shares, labels=range(N_CLASSES)),
            "brier": sum(brier_score_loss(true == c, shares[:, c], pos_label=True) for c in range(N_CLASSES)),
            "accuracy": accuracy_score(true, shares.argmax(axis=1)),
            "macro_f1": f1_score(true, shares.argmax(axis=1), average="macro"),
            "ece": calibration_error_of_scikit_learn(shares.max(axis=1), (true == shares.argmax(axis=1)).astype(float)),
        }
        assert {name: found[f"{name}_{part}/tree"] for name in wanted} == pytest.approx(wanted)
        assert found[f"score/{part}"] == pytest.approx(wanted[kind])
    assert found["score/all"] == pytest.approx(np.sqrt(np.mean([found[f"score/{p}"] ** 2 for p in forecasts])))
    assert set(found) == set(of.metric_names())
    assert not any(name.startswith(("r2", "mae", "crps", "sigma")) for name in found)


def test_f1_counts_classes_that_are_true_or_found_as_scikit_learn_does():
    rng = np.random.default_rng(3)
    for _ in range(20):
        true, found = rng.integers(0, 9, 12), rng.integers(2, 11, 12)
        assert macro_f1(true, found) == pytest.approx(f1_score(true, found, average="macro", zero_division=0))


def test_a_calibration_error_is_the_distance_of_confidence_from_accuracy():
    assert calibration_error(np.full(10, 0.9), np.repeat([1.0, 0.0], [9, 1])) == pytest.approx(0)
    assert calibration_error(np.full(10, 0.9), np.repeat([1.0, 0.0], [4, 6])) == pytest.approx(0.5)
    two_bins = calibration_error(np.repeat([1.0, 0.5], 5), np.repeat([0.0, 1.0], 5))
    assert two_bins == pytest.approx(0.5 * 1.0 + 0.5 * 0.5)


@pytest.mark.parametrize("drawn_from", ["anywhere", "the edges of bins", "two bins alone", "certainty and chance"])
def test_a_calibration_error_is_that_of_scikit_learns_reliability_diagram(drawn_from):
    rng = np.random.default_rng(7)
    for _ in range(200):
        n = int(rng.integers(1, 200))
        confidence = {
            "anywhere": lambda n: rng.uniform(0, 1, n) ** rng.uniform(0.2, 5),
            "the edges of bins": lambda n: rng.choice(np.linspace(0, 1, N_BINS + 1), n),
            "two bins alone": lambda n: rng.choice([0.31, 0.32, 0.97], n),
            "certainty and chance": lambda n: rng.choice([1.0, 1 / 3, 0.2], n),
        }[drawn_from](n)
        is_right = (rng.uniform(0, 1, n) < confidence).astype(float)

        wanted = calibration_error_of_scikit_learn(confidence, is_right)
        assert calibration_error(confidence, is_right) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("kind", ["log_loss", "brier"])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 6.0])
def test_a_temperature_is_the_one_of_the_lowest_mean_loss(kind, sharpness):
    labels, rule = drawn(), ClassRule(n_classes=N_CLASSES, kind=kind)
    mu = logits(labels, sharpness=sharpness)

    def mean_loss(log_t: float) -> float:
        return float(rule.losses(labels, mu, np.full_like(labels, np.exp(log_t))).mean()) + log_t**2 / N_EVENTS

    best = minimize_scalar(mean_loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8})
    assert mean_loss(np.log(rule.fit(labels, mu)[0, 0])) == pytest.approx(best.fun, rel=1e-4)


def test_a_few_events_that_are_all_forecast_right_make_no_forecast_certain():
    labels, rule = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [0.0]]), ClassRule(n_classes=N_CLASSES, kind="log_loss")
    mu = 6 * np.eye(N_CLASSES)[labels[:, 0].astype(int)]

    assert 0.5 < rule.fit(labels, mu)[0, 0] < 1


def test_the_temperature_of_a_site_is_fitted_without_its_labels():
    labels = drawn()
    before = scorer(labels).forecasts(logits(labels)[ROWS])["ood"]
    changed = labels.copy()
    own = before.sites[0] == SITES
    changed[own] = (changed[own] + 1) % N_CLASSES
    after = scorer(changed).forecasts(logits(labels)[ROWS])["ood"]

    is_own = before.sites == before.sites[0]
    assert np.array_equal(before.sigma[is_own], after.sigma[is_own])
    assert not np.array_equal(before.sigma[~is_own], after.sigma[~is_own])
    assert not np.array_equal(before.pooled_sigma, after.pooled_sigma)


def test_an_events_images_count_alike_however_their_logits_are_shifted():
    """A softmax does not see a constant that is added to all logits of an image."""
    labels = drawn()
    events = EVENTS // 2
    of_events = np.repeat(labels[::2], 2, axis=0)
    places = np.repeat(SITES[::2], 2)
    of = HeldOutScorer(of_events, events, places, split(), targets=Targets.of(task(), of_events, events))
    given = logits(of_events)[ROWS]
    shift = np.random.default_rng(9).normal(scale=50, size=(len(given), 1))

    assert of.score(given + shift) == pytest.approx(of.score(given))


def test_a_skill_is_a_share_of_what_the_classes_own_frequencies_score():
    labels = drawn()
    shares = np.bincount(labels[:, 0].astype(int)) / N_EVENTS
    targets = Targets.of(task(scale="skill"), labels, EVENTS)

    assert targets.floor == pytest.approx(log_loss(labels[:, 0], np.tile(shares, (N_EVENTS, 1))))
    raw, skill = (scorer(labels, task(scale=scale)).score(logits(labels)[ROWS]) for scale in ("raw", "skill"))
    assert skill["score/ood"] == pytest.approx(raw["score/ood"] / targets.floor[0])
    assert skill["log_loss_ood/tree"] == raw["log_loss_ood/tree"]


def test_floors_are_frequencies_of_the_training_events_and_none_is_nothing():
    labels = drawn()
    labels[split().train[labels[split().train, 0] == 4]] = 0  # no training event is of the last class
    targets = Targets.of(task(), labels, EVENTS)
    given = (labels, EVENTS, SITES, DOMAINS, GENUS, [split()])
    predictions = floor_predictions(labels, EVENTS, DOMAINS, GENUS, split(), targets=targets)

    assert [*predictions] == ["constant", "domain_mean", "species_mean"]
    counts = np.bincount(labels[split().train, 0].astype(int), minlength=N_CLASSES)
    np.testing.assert_allclose(np.exp(predictions["constant"][0]), (counts + 0.5) / (counts.sum() + 0.5 * N_CLASSES))
    for found in predictions.values():
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1)
    unseen = predictions["domain_mean"][DOMAINS[ROWS] == "region 2"]  # held out as a whole
    assert np.array_equal(unseen, predictions["constant"][: len(unseen)])
    assert all(np.isfinite(list(metrics.values())).all() for metrics in floors(*given, targets=targets).values())


def gathered(skill: float, *, seeds: int = 2) -> OutOfFold:
    labels = drawn()
    of = scorer(labels)
    runs = [of.forecasts(logits(labels, skill=skill, seed=seed)[ROWS]) for seed in range(seeds)]
    return OutOfFold.gather({0: runs}, dict(zip(SITES, DOMAINS, strict=True)))


def test_forecasts_of_classes_are_kept_compared_and_calibrated_over_seeds():
    good, poor = gathered(2.0), gathered(0.2)
    back = OutOfFold.from_dict(json.loads(json.dumps(good.to_dict())))

    assert back.metrics() == good.metrics()
    assert back.intervals() == good.intervals()
    assert set(back.metrics()) >= {"accuracy_id/tree", "macro_f1_ood/tree", "ece_id/tree", "log_loss_id/tree"}
    assert paired_difference(back, poor).is_win
    assert back.metrics()["score/id"] == pytest.approx(back.metrics()["log_loss_id/tree"])
    temperatures = calibrated_sigmas(back, n_members=2)
    part = back.parts["ood"]

    def cost(factor: float) -> float:
        t = np.full_like(part.labels, temperatures["unknown"][0] * factor)
        prior = np.log(t[0, 0]) ** 2 / len(part.labels)
        return float(log_losses(part.labels, part.mu.mean(axis=0), t).mean() + prior)

    assert cost(1.0) <= min(cost(0.9), cost(1.1))


def test_kept_logits_are_short_and_say_what_exact_ones_say():
    labels = drawn()
    run = scorer(labels).forecasts(logits(labels)[ROWS])
    kept = OutOfFold.gather({0: [run]}, dict(zip(SITES, DOMAINS, strict=True)))
    numbers = np.ravel(kept.to_dict()["ood"]["mu"])

    assert max(len(repr(float(number))) for number in numbers) <= 9
    assert kept.metrics()["score/ood"] == run["ood"].crps.mean()
    other = ClassRule(n_classes=N_CLASSES, kind="brier").losses(run["ood"].labels, run["ood"].mu, run["ood"].sigma)
    assert kept.metrics()["brier_ood/tree"] == pytest.approx(other.mean(), abs=1e-4)


def test_forecasts_of_classes_without_their_temperatures_are_refused():
    values = gathered(1.0).to_dict()
    del values["id"]["sigma"]

    with pytest.raises(KeyError, match="sigma"):
        OutOfFold.from_dict(values)


def test_what_is_learnt_of_classes_has_no_unit():
    labels = drawn()
    units = LabelUnits.of(Targets.of(task(), labels, EVENTS), labels, EVENTS, split().train)

    assert units.are_the_targets_own
    assert units.centre.shape == (N_CLASSES,)
