"""How far a score could have come out otherwise, when errors are common to domains and to folds."""

import math

import numpy as np
import pytest

from trainable.scoring.clustered_error import PartValues, clustered_error, score_of

N_DOMAINS, PER_DOMAIN = 8, 12


def part(crps, other=None, *, n_domains=N_DOMAINS, folds=1, offset=0) -> PartValues:
    n = len(crps)
    domains = offset + np.arange(n) % n_domains
    return PartValues(
        crps=np.asarray(crps, dtype=np.float64),
        other=None if other is None else np.asarray(other, dtype=np.float64),
        domains=domains,
        sites=np.array([f"S{d}-{i % 2}" for i, d in enumerate(domains)]),
        folds=np.arange(n) // -(-n // folds),
    )


def values(seed: int, *, domain_sd=0.0, event_sd=0.1, fold_sd=0.0, n_folds=1, n_targets=3):
    """CRPS of one configuration around 0.5: what is common to a domain, to a fold, and each event's own."""
    rng = np.random.default_rng(seed)
    n = N_DOMAINS * PER_DOMAIN
    domain = rng.normal(0, domain_sd, (N_DOMAINS, n_targets))[np.arange(n) % N_DOMAINS]
    fold = rng.normal(0, fold_sd, (n_folds, n_targets))[np.arange(n) // -(-n // n_folds)]
    return 0.5 + domain + fold + rng.normal(0, event_sd, (n, n_targets))


def misses(level: float, *, n: int = 300, **world) -> float:
    """Share of intervals that do not hold the truth, of differences between equally good configurations."""
    n_folds = world.get("n_folds", 1)
    outside = 0
    for seed in range(n):
        one, other = values(seed, **world), values(seed + 10_000, **world)
        pair = part(one, other, folds=n_folds)
        difference = score_of([one.mean(axis=0)]) - score_of([other.mean(axis=0)])
        outside += abs(difference) > clustered_error([pair]).half_width(level)
    return outside / n


@pytest.mark.seconds
@pytest.mark.parametrize(
    "world",
    [{}, {"domain_sd": 0.1}, {"fold_sd": 0.05, "n_folds": 5}],
    ids=["events alone", "domains", "folds"],
)
def test_an_interval_misses_the_truth_as_often_as_its_level_says(world):
    assert 0.02 <= misses(0.9, **world) <= 0.16  # 0.1 wanted; 300 draws scatter by 0.017, folds are few


def test_what_is_common_to_a_domain_counts_once_however_many_events_it_has():
    few = clustered_error([part(values(0, domain_sd=0.2, event_sd=0.0)[: 2 * N_DOMAINS])])
    many = clustered_error([part(values(0, domain_sd=0.2, event_sd=0.0))])
    assert many.error == pytest.approx(few.error, rel=1e-6)


def test_with_equal_domains_it_is_the_jackknifes_standard_error_of_their_mean():
    crps = values(3, domain_sd=0.1, n_targets=1)
    means = np.array([crps[np.arange(len(crps)) % N_DOMAINS == d].mean() for d in range(N_DOMAINS)])
    found = clustered_error([part(crps)])
    assert found.error == pytest.approx(means.std(ddof=1) / math.sqrt(N_DOMAINS), rel=1e-9)
    assert found.n_effective == N_DOMAINS - 1


def test_unequal_domains_count_as_fewer():
    crps = values(0)
    lopsided = PartValues(
        crps=crps, other=None, domains=np.where(np.arange(len(crps)) < 80, 0, np.arange(len(crps))),
        sites=np.zeros(len(crps)), folds=np.zeros(len(crps), dtype=np.int64),
    )  # fmt: skip
    assert clustered_error([lopsided]).n_effective < 2


def test_where_a_part_has_one_domain_its_sites_count_and_where_it_has_one_site_its_events():
    crps = values(0)
    alone = part(crps, n_domains=1)
    assert clustered_error([alone]).n_effective == pytest.approx(1.0)  # two sites
    single = PartValues(
        crps=crps, other=None, domains=np.zeros(len(crps)), sites=np.zeros(len(crps)), folds=np.zeros(len(crps), int)
    )
    assert clustered_error([single]).n_effective == len(crps) - 1


def test_equal_forecasts_differ_by_nothing_and_one_event_says_nothing_of_others():
    crps = values(0)
    assert clustered_error([part(crps, crps)]).half_width(0.9) == 0.0
    assert clustered_error([part(crps[:1])]).half_width(0.9) == math.inf
    with pytest.raises(ValueError, match="level"):
        clustered_error([part(crps)]).half_width(1.0)
