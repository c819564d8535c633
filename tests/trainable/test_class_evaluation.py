"""The evaluation of classes against scikit-learn, and against resampling one draw after the other."""

import json

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from tests.calibration_error import calibration_error_of_scikit_learn
from trainable.data.task import Task
from trainable.scoring.class_evaluation import reliability, score_intervals
from trainable.scoring.evaluation import ModelForecasts, evaluate_forecasts, score_differences
from trainable.scoring.targets import Targets

NAMES = tuple("abcdefghijkl")
KINDS = ("log_loss", "brier", "accuracy", "macro_f1", "ece")


def made(*, kind: str = "log_loss", domain: str | None = "region", seed: int = 0, n: int = 150) -> ModelForecasts:
    """Events of 6 regions, the last two unknown, with two sites each; class l is of no event."""
    rng = np.random.default_rng(seed)
    columns = {"image": "f", "event": "e", "site": "s"} | ({} if domain is None else {"domain": domain})
    task = Task.from_dict(
        {"columns": columns, "targets": {"kind": {"classes": list(NAMES)}}, "score": {"kind": kind, "scale": "raw"}}
    )
    labels, domains = rng.integers(0, len(NAMES) - 1, (n, 1)).astype(np.float64), rng.integers(0, 6, n)
    logits = rng.normal(0, 1, (n, len(NAMES))) + 2 * (labels == np.arange(len(NAMES)))
    return ModelForecasts(
        event_ids=np.arange(n),
        sites=np.array([f"{d}{'ab'[i % 2]}" for i, d in enumerate(domains)]),
        domains=domains,
        is_known=domains < 4,
        labels=labels,
        mu=logits,
        sigma=np.where(domains < 4, 0.8, 1.4)[:, None],
        event_of_image=np.arange(n),
        image_predictions=logits,
        targets=Targets.of(task, labels, np.arange(n)),
    )


def softmax(forecasts: ModelForecasts) -> np.ndarray:
    powers = np.exp(forecasts.mu / forecasts.sigma)
    return powers / powers.sum(axis=1, keepdims=True)


def ece(found: np.ndarray, true: np.ndarray) -> float:
    return calibration_error_of_scikit_learn(found.max(axis=1), (found.argmax(axis=1) == true).astype(float))


def reference(forecasts: ModelForecasts, rows: np.ndarray) -> dict[str, float]:
    true, found = forecasts.labels[rows, 0].astype(int), softmax(forecasts)[rows]
    every = np.arange(len(NAMES))
    return {
        "log_loss": log_loss(true, found, labels=every),
        "brier": sum(brier_score_loss(true == c, found[:, c], pos_label=True) for c in every),
        "accuracy": accuracy_score(true, found.argmax(axis=1)),
        "macro_f1": f1_score(true, found.argmax(axis=1), average="macro"),
        "ece": ece(found, true),
    }


@pytest.mark.parametrize("kind", ["log_loss", "brier"])
def test_figures_of_every_group_are_scikit_learns(kind):
    forecasts = made(kind=kind)
    evaluation = evaluate_forecasts(forecasts)

    groups = {"all": np.ones(150, bool), "id": forecasts.is_known, "ood": ~forecasts.is_known}
    for name, mask in groups.items():
        wanted, group = reference(forecasts, np.flatnonzero(mask)), evaluation.groups[name]
        for figure in KINDS:
            assert group.figure("kind", figure) == pytest.approx(wanted[figure], abs=1e-12), (name, figure)
    losses = [reference(forecasts, np.flatnonzero(groups[name]))[kind] for name in ("id", "ood")]
    assert evaluation.score == pytest.approx(np.sqrt(np.mean(np.square(losses))))
    of_domain = evaluation.domains[2]
    assert (
        of_domain.figure("kind", "accuracy") == reference(forecasts, np.flatnonzero(forecasts.domains == 2))["accuracy"]
    )


@pytest.mark.seconds
def test_intervals_are_those_of_drawing_whole_sites_one_draw_after_the_other():
    forecasts, n = made(), 60
    events = forecasts.of_classes
    found = score_intervals(events, seed=3, level=0.8, n=n)

    sites, rng = np.unique(forecasts.sites), np.random.default_rng(3)
    draws = rng.multinomial(len(sites), np.full(len(sites), 1 / len(sites)), size=n)
    values = []
    for draw in draws:
        times = dict(zip(sites, draw, strict=True))
        rows = np.repeat(np.arange(150), [times[site] for site in forecasts.sites])
        values.append(reference(forecasts, rows))
    for figure in KINDS:
        limits = np.quantile([value[figure] for value in values], [0.1, 0.9])
        assert found[figure] == pytest.approx(limits, abs=1e-12), figure


def test_reliability_counts_every_event_once_and_brackets_what_it_found():
    forecasts = made()
    bins = reliability(forecasts.of_classes, seed=0, level=0.9)
    found, true = softmax(forecasts), forecasts.labels[:, 0]

    assert sum(of.n_events for of in bins) == 150
    assert [of.confidence for of in bins] == sorted(of.confidence for of in bins)
    assert all(of.low <= of.accuracy <= of.high for of in bins)
    total = sum(of.n_events * abs(of.accuracy - of.confidence) for of in bins) / 150
    assert total == pytest.approx(ece(found, true))


def test_every_class_and_every_confusion_is_counted():
    forecasts = made()
    evaluation, true = evaluate_forecasts(forecasts), forecasts.labels[:, 0].astype(int)
    told, every = forecasts.mu.argmax(axis=1), np.arange(len(NAMES))
    assert evaluation.classes is not None

    matrix = confusion_matrix(true, told, labels=every)
    for i, of_true in enumerate(NAMES):
        row = evaluation.classes.confusion.get(of_true, {})
        assert [row.get(name, 0) for name in NAMES] == matrix[i].tolist()
    scores = {
        "recall": recall_score(true, told, labels=every, average=None, zero_division=np.nan),
        "precision": precision_score(true, told, labels=every, average=None, zero_division=np.nan),
        "f1": f1_score(true, told, labels=every, average=None, zero_division=np.nan),
    }
    for i, outcome in enumerate(evaluation.classes.outcomes):
        for name, wanted in scores.items():
            value = getattr(outcome, name)
            assert wanted[i] == pytest.approx(np.nan if value is None else value, nan_ok=True), (outcome.name, name)
    assert evaluation.classes.outcomes[-1].n_events == 0
    assert evaluation.classes.outcomes[-1].recall is None


def test_plain_values_have_what_there_is_of_classes_and_nothing_of_numbers():
    values = json.loads(json.dumps(evaluate_forecasts(made()).to_dict(), allow_nan=False))

    assert "coverage" not in values
    assert set(values["groups"]["all"]["targets"]["kind"]) == set(KINDS)
    assert set(values["classes"]) == {"intervals", "reliability", "outcomes", "confusion"}
    assert "r2" not in json.dumps(values)
    assert evaluate_forecasts(made()).seed_results()["kind"].keys() == {"accuracy", "macro F1"}


def test_without_domains_there_are_none():
    evaluation = evaluate_forecasts(made(domain=None))

    assert evaluation.domains == ()
    assert len(evaluation.sites) == 12


def test_one_model_is_compared_with_another_in_pairs():
    one, other = made(), made()
    same = score_differences(one, other)["score/all"]
    surer = ModelForecasts(**{**vars_of(one), "sigma": one.sigma * 0.2})

    assert same.mean == same.low == same.high == 0
    assert score_differences(surer, one)["score/all"].mean == pytest.approx(
        evaluate_forecasts(surer).score - evaluate_forecasts(one).score
    )


def vars_of(forecasts: ModelForecasts) -> dict[str, object]:
    return {name: getattr(forecasts, name) for name in forecasts.__dataclass_fields__}
