"""Out-of-fold forecasts: their score is the scorer's, differences are paired, sigma is the one that costs least."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from trainable.scoring.crps import crps_normal
from trainable.scoring.out_of_fold import (
    OutOfFold,
    calibrated_sigmas,
    different_events,
    only_fresh,
    paired_difference,
    restricted,
)
from trainable.scoring.scoring import EventForecast

N_EVENTS, N_SITES = 60, 12
DOMAIN_OF_SITE = {f"S{i:02d}": i // 2 for i in range(N_SITES)}


def forecast(error, *, seed: int = 0, n: int = N_EVENTS, sigma: float = 1.0) -> EventForecast:
    """Labels of a fixed world, forecast with errors of this SD."""
    world = np.random.default_rng(7)
    labels = world.normal(size=(n, 3)).clip(-2, 2)
    mu = labels + np.random.default_rng(seed).normal(scale=error, size=(n, 3))
    sigmas = np.full((n, 3), sigma)
    sites = np.array([f"S{i % N_SITES:02d}" for i in range(n)])
    return EventForecast(labels, mu, sigmas, crps_normal(labels, mu, sigmas), sigmas[0], sites, np.arange(n))


def shifted(one: EventForecast, by) -> EventForecast:
    mu = one.mu + by
    return replace(one, mu=mu, crps=crps_normal(one.labels, mu, one.sigma))


def gathered(error, *, seeds=(0,), folds=(1, 2)) -> OutOfFold:
    runs = {
        f: [{p: forecast(error, seed=100 * s + 10 * f + (p == "ood")) for p in ("id", "ood")} for s in seeds]
        for f in folds
    }
    return OutOfFold.gather(runs, DOMAIN_OF_SITE)


def test_the_score_of_one_fold_and_seed_is_that_of_its_forecasts():
    one = {"id": forecast(0.5), "ood": forecast(0.9, seed=1)}
    metrics = OutOfFold.gather({3: [one]}, DOMAIN_OF_SITE).metrics()

    means = np.concatenate([one["id"].crps.mean(axis=0), one["ood"].crps.mean(axis=0)])
    assert metrics["score/all"] == pytest.approx(np.sqrt((means**2).mean()), abs=1e-12)
    assert metrics["crps_ood/SPEI_2y"] == pytest.approx(one["ood"].crps[:, 2].mean(), abs=1e-12)


def test_seeds_are_averaged_run_by_run_not_as_an_ensemble():
    alone = [gathered(0.8, seeds=(s,)).metrics()["crps_id/SPEI_1y"] for s in (0, 1, 2)]

    assert gathered(0.8, seeds=(0, 1, 2)).metrics()["crps_id/SPEI_1y"] == pytest.approx(np.mean(alone), abs=1e-12)


def test_the_probability_of_being_better_is_that_of_the_interval_that_ends_at_zero():
    found = paired_difference(gathered(0.8), gathered(0.82, seeds=(1,)), level=0.9)
    ends_at_zero = brentq(
        lambda level: paired_difference(gathered(0.8), gathered(0.82, seeds=(1,)), level=level).high, 0.001, 0.999
    )

    assert found.mean < 0
    assert found.p_better == pytest.approx((1 + ends_at_zero) / 2)
    mirrored = paired_difference(gathered(0.82, seeds=(1,)), gathered(0.8))
    assert mirrored.p_better == pytest.approx(1 - found.p_better)
    assert paired_difference(gathered(0.8), gathered(0.8)).p_better == 0.5


def test_a_truly_better_configuration_wins_and_its_mirror_loses():
    good, bad = gathered(0.3), gathered(0.9)
    difference = paired_difference(good, bad)

    assert difference.is_win
    assert difference.low < difference.mean < difference.high < 0
    mirror = paired_difference(bad, good)
    assert not mirror.is_win
    assert (mirror.low, mirror.high) == pytest.approx((-difference.high, -difference.low), abs=1e-12)


def test_equals_and_mere_luck_win_nothing():
    assert paired_difference(gathered(0.5), gathered(0.5)).mean == 0
    assert not paired_difference(gathered(0.5), gathered(0.5)).is_win
    wins = [paired_difference(gathered(0.6, seeds=(s,)), gathered(0.6, seeds=(s + 50,))).is_win for s in range(20)]
    assert sum(wins) <= 4  # nominally 1 in 20


def test_what_a_training_got_right_by_chance_is_not_taken_for_skill():
    """Runs of equal configurations differ by what is common to all events of a fold, too."""

    def run(seed):
        folds = {}
        for fold in range(4):
            shift = np.random.default_rng([seed, fold]).normal(scale=0.15, size=3)
            folds[fold] = [{part: shifted(forecast(0.5, seed=seed * 100 + fold), shift) for part in ("id", "ood")}]
        return OutOfFold.gather(folds, DOMAIN_OF_SITE)

    wins = [paired_difference(run(seed), run(seed + 1000)).is_win for seed in range(1, 61)]
    assert sum(wins) <= 8  # nominally 3


def test_other_events_folds_or_labels_are_not_compared():
    one = gathered(0.5)
    assert different_events(one, gathered(0.9)) is None
    assert "same id events" in str(different_events(one, gathered(0.5, folds=(1, 3))))
    assert "parts" in str(different_events(one, OutOfFold(parts={"id": one.parts["id"]})))
    with pytest.raises(ValueError, match="same id events"):
        paired_difference(one, gathered(0.5, folds=(1, 3)))


@pytest.mark.parametrize("error", [0.2, 1.0])
def test_the_sigma_to_hand_in_costs_least_of_all(error):
    forecasts = gathered(error, seeds=(0, 1))
    sigma = calibrated_sigmas(forecasts)["unknown"]
    part = forecasts.parts["ood"]

    def cost(factor):
        return crps_normal(part.labels, part.mu, sigma * factor).mean()

    assert cost(1.0) <= min(cost(0.95), cost(1.05))


def test_an_ensemble_gets_the_smaller_sigma_of_its_mean():
    forecasts = gathered(0.8, seeds=(0, 1, 2, 3))

    assert (calibrated_sigmas(forecasts, n_members=4)["known"] < 0.7 * calibrated_sigmas(forecasts)["known"]).all()


def test_a_kind_of_domain_never_held_out_gets_the_others_sigma():
    forecasts = OutOfFold(parts={"id": gathered(0.5).parts["id"]})
    sigmas = calibrated_sigmas(forecasts)

    np.testing.assert_array_equal(sigmas["unknown"], sigmas["known"])


def test_json_gives_everything_back_exactly():
    forecasts = gathered(0.4, seeds=(0, 1))
    back = OutOfFold.from_dict(json.loads(json.dumps(forecasts.to_dict())))

    assert back.metrics() == forecasts.metrics()
    assert different_events(back, forecasts) is None
    assert back.intervals() == forecasts.intervals()


def test_evidence_that_names_no_domains_counts_each_site_as_one():
    values = gathered(0.4).to_dict()
    for part in values.values():
        del part["domains"]
    back = OutOfFold.from_dict(values)

    assert (back.parts["id"].domains == back.parts["id"].sites).all()
    assert paired_difference(back, back).mean == 0


def test_of_a_fold_only_events_that_nothing_was_chosen_by_are_kept():
    forecasts = {"id": forecast(0.5), "ood": forecast(0.5, seed=1, n=20)}
    kept = only_fresh(forecasts, np.arange(30))

    assert list(kept) == ["id"]  # of the other part nothing is fresh
    assert kept["id"].event_ids.tolist() == list(range(30, 60))
    np.testing.assert_array_equal(kept["id"].crps, forecasts["id"].crps[30:])
    everything = only_fresh(forecasts, np.arange(N_EVENTS))
    assert everything.keys() == forecasts.keys()


def test_forecasts_are_restricted_to_the_events_and_folds_of_another():
    one, fewer = gathered(0.5), OutOfFold.gather({2: [{"id": forecast(0.9, n=25)}]}, DOMAIN_OF_SITE)
    same = restricted(one, fewer)

    assert different_events(same, fewer) is None
    assert set(same.parts["id"].folds.tolist()) == {2}
    assert paired_difference(same, fewer).mean < 0
