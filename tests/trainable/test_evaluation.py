"""The evaluation of a finished model against the trial's own scorer, scikit-learn and what was planted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from tests.beetles import TARGETS
from trainable.data.splits import Split
from trainable.scoring.evaluation import (
    NOMINAL,
    ModelForecasts,
    evaluate_forecasts,
    score_differences,
    with_common_parts,
)
from trainable.scoring.scoring import HeldOutScorer

UNKNOWN = (7, 8)


def make_forecasts(*, n_events: int = 200, sigma: float = 0.8, error: float = 0.8, seed: int = 0) -> ModelForecasts:
    """Events of 10 domains, two of them unknown, with two sites each; errors are normal with SD `error`."""
    rng = np.random.default_rng(seed)
    domains = rng.integers(0, 10, n_events)
    labels = rng.normal(0.2, 1.0, (n_events, 3))
    mu = labels + rng.normal(0, error, (n_events, 3))
    event_of_image = np.concatenate([np.arange(n_events), rng.integers(0, n_events, 3 * n_events)])
    return ModelForecasts(
        event_ids=np.arange(n_events) * 7,
        sites=np.array([f"S{d}{'ab'[i % 2]}" for i, d in enumerate(domains)]),
        domains=domains,
        is_known=~np.isin(domains, UNKNOWN),
        labels=labels,
        mu=mu,
        sigma=np.full((n_events, 3), sigma),
        event_of_image=event_of_image,
        image_predictions=mu[event_of_image] + rng.normal(0, 0.1, (len(event_of_image), 3)),
    )


def test_score_and_parts_equal_those_of_a_trial_with_the_same_sigmas() -> None:
    """The trial's scorer, its means and sigmas taken over as if a model had handed them out."""
    rng = np.random.default_rng(1)
    event_of_image = np.sort(np.concatenate([np.arange(120), rng.integers(0, 120, 300)]))
    sites, labels = np.array([f"S{e % 12}" for e in range(120)]), rng.normal(0, 0.9, (120, 3)).clip(-2.09, 2.09)
    is_ood = np.arange(120) % 12 >= 8
    rows = np.arange(len(event_of_image))
    side = is_ood[event_of_image]
    held_out = Split(
        policy="both",
        fold=0,
        train=rows,
        id_=rows[~side],
        ood=rows[side],
        held_out_sites=(),
        held_out_domains=(),
        n_leaked_events=0,
    )
    scorer = HeldOutScorer(labels[event_of_image], event_of_image, sites[event_of_image], held_out)
    images = (0.5 * labels[event_of_image] + rng.normal(0, 0.5, (len(rows), 3))).clip(-2.09, 2.09)
    predictions = np.concatenate([images[~side], images[side]])
    metrics, parts = scorer.score(predictions), scorer.forecasts(predictions)

    mu, sigma = np.empty((120, 3)), np.empty((120, 3))
    for part in parts.values():
        mu[part.event_ids], sigma[part.event_ids] = part.mu, part.sigma
    evaluation = evaluate_forecasts(
        ModelForecasts(
            event_ids=np.arange(120),
            sites=sites,
            domains=is_ood.astype(np.int64),
            is_known=~is_ood,
            labels=labels,
            mu=mu,
            sigma=sigma,
            event_of_image=event_of_image,
            image_predictions=images,
        )
    )

    assert evaluation.score == pytest.approx(metrics["score/all"])
    for part in ("id", "ood"):
        group = evaluation.groups[part]
        assert group.score == pytest.approx(metrics[f"score/{part}"])
        for target in TARGETS:
            assert evaluation.parts[part][target] == pytest.approx(metrics[f"crps_{part}/{target}"])
            assert group.targets[target].r2 == pytest.approx(metrics[f"r2_{part}/{target}"])
            assert group.targets[target].mae == pytest.approx(metrics[f"mae_{part}/{target}"])
    six = [value for part in evaluation.parts.values() for value in part.values()]
    assert evaluation.score == pytest.approx(np.sqrt(np.mean(np.square(six))))


def test_a_forecast_by_hand() -> None:
    """One event of each part, both two SPEI units off at sigma 1: CRPS 2 (2 Phi(2) - 1) + 2 phi(2) - 1/sqrt(pi)."""
    forecasts = ModelForecasts(
        event_ids=np.array([3, 9]),
        sites=np.array(["a", "b"]),
        domains=np.array([1, 2]),
        is_known=np.array([True, False]),
        labels=np.zeros((2, 3)),
        mu=np.array([[2.0] * 3, [-2.0] * 3]),
        sigma=np.ones((2, 3)),
        event_of_image=np.array([0, 0, 1]),
        image_predictions=np.array([[1.0] * 3, [3.0] * 3, [-2.0] * 3]),
    )
    evaluation = evaluate_forecasts(forecasts)
    crps = 2 * (2 * norm.cdf(2) - 1) + 2 * norm.pdf(2) - 1 / np.sqrt(np.pi)
    together, known = evaluation.groups["all"].targets["SPEI_1y"], evaluation.groups["id"].targets["SPEI_1y"]

    assert evaluation.score == pytest.approx(crps)
    assert (together.rmse, together.bias, together.mae) == (2.0, 0.0, 2.0)
    assert (known.r2, known.bias) == (None, 2.0)  # R2 of one event is undefined
    inside = {point.nominal: point.observed for point in evaluation.coverage["all"]["SPEI_1y"]}
    assert (inside[0.9], inside[0.95]) == (0.0, 0.0)  # 1.96 < 2
    assert [(d.name, d.part, d.n_images) for d in evaluation.domains] == [("1", "id", 2), ("2", "ood", 1)]


def test_r2_rmse_and_mae_equal_scikit_learns_together_and_by_part_domain_and_site() -> None:
    forecasts = make_forecasts()
    evaluation = evaluate_forecasts(forecasts)
    masks = {"all": np.ones(200, dtype=bool), "id": forecasts.is_known, "ood": ~forecasts.is_known}
    checked = [(evaluation.groups[name], mask) for name, mask in masks.items()]
    checked += [(group, forecasts.domains == int(group.name)) for group in evaluation.domains]
    checked += [(group, forecasts.sites == group.name) for group in evaluation.sites]
    assert len(checked) == 3 + 10 + 20
    for group, mask in checked:
        images = mask[forecasts.event_of_image]
        assert (group.n_events, group.n_images) == (mask.sum(), images.sum())
        for i, target in enumerate(TARGETS):
            labels, mu = forecasts.labels[mask, i], forecasts.mu[mask, i]
            image_labels = forecasts.labels[forecasts.event_of_image[images], i]
            scores = group.targets[target]
            assert scores.r2 == pytest.approx(r2_score(labels, mu))
            assert scores.rmse == pytest.approx(root_mean_squared_error(labels, mu))
            assert scores.mae == pytest.approx(
                mean_absolute_error(image_labels, forecasts.image_predictions[images, i])
            )


def test_the_score_of_all_is_not_that_of_pooled_events_but_of_the_six_parts() -> None:
    evaluation = evaluate_forecasts(make_forecasts())
    assert evaluation.groups["all"].score == evaluation.score
    low, high = evaluation.intervals["score/all"]
    assert low < evaluation.score < high
    assert set(evaluation.intervals) == {"score/all", "score/id", "score/ood"}


def test_a_model_that_knows_every_domain_has_no_ood_part() -> None:
    forecasts = make_forecasts()
    evaluation = evaluate_forecasts(replace(forecasts, is_known=np.ones(200, dtype=bool)))
    assert list(evaluation.parts) == ["id"]
    assert list(evaluation.groups) == list(evaluation.coverage) == ["all", "id"]
    assert evaluation.score == pytest.approx(evaluation.groups["id"].score)


def test_a_calibrated_forecast_covers_what_it_says_and_a_bold_one_less() -> None:
    honest = evaluate_forecasts(make_forecasts(n_events=4000)).coverage["all"]
    bold = evaluate_forecasts(make_forecasts(n_events=4000, sigma=0.4)).coverage["all"]
    for target in TARGETS:
        assert [point.nominal for point in honest[target]] == list(NOMINAL)
        for point in honest[target]:
            assert point.observed == pytest.approx(point.nominal, abs=0.03)
            assert point.low <= point.observed <= point.high
        # half the right sigma: the 90 % interval is that of 1.645 / 2 sigma
        inside = {point.nominal: point.observed for point in bold[target]}
        assert inside[0.9] == pytest.approx(2 * norm.cdf(norm.ppf(0.95) / 2) - 1, abs=0.03)
    assert {0.5, 0.9} <= set(NOMINAL)


def test_the_worst_events_are_those_of_the_highest_mean_crps() -> None:
    forecasts = make_forecasts()
    mu = forecasts.mu.copy()
    mu[[17, 40]] = forecasts.labels[[17, 40]] + [[9.0] * 3, [7.0] * 3]
    worst = replace(forecasts, mu=mu).worst_events(5)
    assert list(worst[:2]) == [17, 40]
    assert len(worst) == 5
    assert len(forecasts.worst_events(1000)) == 200


def test_the_seed_systems_results_have_their_format_to_the_key() -> None:
    evaluation = evaluate_forecasts(make_forecasts())
    results = evaluation.seed_results()
    assert list(results) == ["SPEI_30d", "SPEI_1y", "SPEI_2y"]
    assert all(list(values) == ["MAE", "r2"] for values in results.values())
    assert results["SPEI_2y"]["r2"] == evaluation.groups["all"].targets["SPEI_2y"].r2


def test_an_evaluation_is_plain_values_and_repeats() -> None:
    forecasts = make_forecasts()
    first = json.dumps(evaluate_forecasts(forecasts).to_dict(), allow_nan=False)
    assert first == json.dumps(evaluate_forecasts(forecasts).to_dict(), allow_nan=False)


def test_paired_differences_see_a_small_gain_that_the_intervals_of_the_scores_do_not() -> None:
    one = make_forecasts()
    better = replace(one, mu=one.labels + 0.98 * (one.mu - one.labels))
    differences = score_differences(better, one)
    total = differences["score/all"]
    assert list(differences) == ["score/all", "score/id", "score/ood"]
    assert total.mean == pytest.approx(evaluate_forecasts(better).score - evaluate_forecasts(one).score)
    assert total.low <= total.mean <= total.high < 0
    assert evaluate_forecasts(better).intervals["score/all"][1] > evaluate_forecasts(one).score
    same = score_differences(one, one)["score/all"]
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)


def test_only_forecasts_of_the_same_events_are_compared() -> None:
    one = make_forecasts()
    with pytest.raises(ValueError, match="same id events"):
        score_differences(replace(one, event_ids=one.event_ids + 1), one)
    fewer = replace(one, is_known=one.is_known & (one.domains != 0))
    with pytest.raises(ValueError, match="same id events"):
        score_differences(fewer, one)
    common = with_common_parts({"fewer": fewer, "one": one})
    assert score_differences(common["fewer"], common["one"])["score/all"].mean == 0.0
    assert not common["one"].is_known[one.domains == 0].any()
