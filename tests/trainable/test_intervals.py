import numpy as np
import pytest

from trainable.scoring.intervals import bootstrap_interval, score_interval
from trainable.scoring.scoring import EventForecast


def forecast(crps, sites) -> EventForecast:
    """A forecast of which only CRPS `[events, 3]` and sites matter."""
    values = np.asarray(crps, dtype=np.float64)
    zeros = np.zeros_like(values)
    return EventForecast(zeros, zeros, zeros + 1, values, np.ones(3), np.asarray(sites), np.arange(len(values)))


def test_two_sites_give_an_interval_between_them_when_both_are_drawn_twice_often_enough() -> None:
    """Of two sites with scores 1 and 3, a quarter of draws is 1, a quarter 3, half 2."""
    part = forecast([[1.0] * 3, [1.0] * 3, [3.0] * 3, [3.0] * 3], ["a", "a", "b", "b"])
    assert score_interval({"id": part}, seed=0, level=0.9) == {"score/all": (1.0, 3.0), "score/id": (1.0, 3.0)}
    assert score_interval({"id": part}, seed=0, level=0.4) == {"score/all": (2.0, 2.0), "score/id": (2.0, 2.0)}


def test_the_score_of_both_parts_is_the_root_mean_square_over_targets_and_parts() -> None:
    one_value = {
        "id": forecast([[1.0, 2.0, 3.0]] * 4, ["a", "a", "b", "c"]),
        "ood": forecast([[4.0, 5.0, 6.0]] * 3, ["d", "e", "e"]),
    }
    intervals = score_interval(one_value, seed=0)
    assert intervals["score/id"] == pytest.approx([np.sqrt(14 / 3)] * 2)
    assert intervals["score/ood"] == pytest.approx([np.sqrt(77 / 3)] * 2)
    assert intervals["score/all"] == pytest.approx([np.sqrt(91 / 6)] * 2)


def test_a_score_interval_repeats_with_its_seed_and_holds_the_score() -> None:
    rng = np.random.default_rng(0)
    crps, sites = rng.gamma(2.0, size=(60, 3)), np.repeat(np.arange(12), 5)
    parts = {"id": forecast(crps, sites)}
    first = score_interval(parts, seed=5)
    assert first == score_interval(parts, seed=5)
    assert first != score_interval(parts, seed=6)
    low, high = first["score/id"]
    assert low < np.sqrt(np.mean(crps.mean(axis=0) ** 2)) < high


def test_sites_with_more_events_weigh_more_as_they_do_in_the_score() -> None:
    part = forecast([[1.0] * 3] * 9 + [[3.0] * 3], ["a"] * 9 + ["b"])
    assert score_interval({"id": part}, seed=0, level=0.4)["score/id"] == pytest.approx((1.2, 1.2))


def test_one_site_falls_back_to_its_events_and_a_bad_level_is_refused() -> None:
    part = forecast(np.random.default_rng(0).gamma(2.0, size=(20, 3)), ["only"] * 20)
    low, high = score_interval({"ood": part}, seed=0)["score/ood"]
    assert low < high
    with pytest.raises(ValueError, match="level"):
        score_interval({"ood": part}, seed=0, level=1.0)


def test_bootstrap_interval_covers_the_mean_at_the_stated_level() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    hits = 0
    for seed in range(200):
        values = rng.normal(size=40)[groups] + 0.1 * rng.normal(size=200)
        low, high = bootstrap_interval(values, groups, seed=seed, level=0.9, n=400)
        hits += low <= 0.0 <= high
    assert 0.83 <= hits / 200 <= 0.95


def test_bootstrap_interval_is_wider_by_site_than_by_event_when_events_of_a_site_are_alike() -> None:
    groups = np.repeat(np.arange(10), 20)
    values = np.random.default_rng(0).normal(size=10)[groups]
    by_site = np.ptp(bootstrap_interval(values, groups, seed=0))
    by_event = np.ptp(bootstrap_interval(values, np.arange(200), seed=0))
    assert by_site > 2 * by_event


def test_bootstrap_interval_repeats_with_its_seed_and_takes_columns_and_a_single_group() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    interval = bootstrap_interval(values, ["one"] * 30, seed=3)
    np.testing.assert_array_equal(interval, bootstrap_interval(values, ["one"] * 30, seed=3))
    assert interval.shape == (2, 2)
    assert (interval[0] < interval[1]).all()
