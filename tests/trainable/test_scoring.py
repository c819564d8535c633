"""The score against independent references: numerical integration, scikit-learn, brute-force search."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.metrics import mean_absolute_error, r2_score

from tests.beetles import LABEL_RANGE, TARGETS
from trainable.scoring.crps import SIGMA_RANGE, crps_normal, fit_sigma
from trainable.scoring.folds_scorer import floors
from trainable.scoring.scoring import HeldOutScorer


@dataclass(frozen=True)
class Rows:
    """The fields of a split that scoring reads."""

    train: NDArray[np.int64]
    id_: NDArray[np.int64]
    ood: NDArray[np.int64]


@dataclass
class World:
    labels: NDArray[np.float64]
    events: NDArray[np.int64]
    sites: NDArray[np.str_]
    domains: NDArray[np.int64]
    species: NDArray[np.str_]
    split: Rows

    def scorer(self) -> HeldOutScorer:
        return HeldOutScorer(self.labels, self.events, self.sites, self.split)  # type: ignore[arg-type]

    def floors(self) -> dict[str, dict[str, float]]:
        return floors(self.labels, self.events, self.sites, self.domains, self.species, [self.split])  # type: ignore[arg-type]

    @property
    def held_out(self) -> NDArray[np.int64]:
        return np.concatenate([self.split.id_, self.split.ood])


def make_world(
    *, n_events: int = 150, n_sites: int = 12, n_domains: int = 6, n_images: int = 1500, seed: int = 0
) -> World:
    """Events with 1 to 40 images, shuffled rows; sites 0, 1, 2 are ID, the last two domains OOD."""
    rng = np.random.default_rng(seed)
    event_site = np.arange(n_events) % n_sites
    event_of_image = np.concatenate([np.arange(n_events), rng.integers(n_events, size=n_images - n_events)])
    rng.shuffle(event_of_image)
    event_labels = np.clip(
        rng.normal(0.3, 1.0, (n_events, 3)) + 0.3 * rng.normal(size=(n_sites, 3))[event_site], *LABEL_RANGE
    )
    site = event_site[event_of_image]
    domain = site % n_domains
    ood = np.flatnonzero(domain >= n_domains - 2)
    id_ = np.flatnonzero((site < 3) & (domain < n_domains - 2))
    train = np.setdiff1d(np.arange(n_images), np.concatenate([id_, ood]))
    return World(
        labels=event_labels[event_of_image],
        events=event_of_image + 1000,
        sites=np.array([f"S{s:02d}" for s in site]),
        domains=domain,
        species=np.array([f"sp{s}" for s in rng.integers(20, size=n_images)]),
        split=Rows(train, rng.permutation(id_), rng.permutation(ood)),
    )


def noisy_predictions(world: World, *, noise: float = 0.8, seed: int = 1) -> NDArray[np.float64]:
    truth = world.labels[world.held_out]
    return truth * 0.5 + np.random.default_rng(seed).normal(scale=noise, size=truth.shape)


@pytest.mark.seconds
@settings(deadline=None)
@given(
    y=st.floats(-3, 3), mu=st.floats(LABEL_RANGE[0], LABEL_RANGE[1]), sigma=st.floats(0.05, 3),
)  # fmt: skip
def test_crps_equals_the_integral_of_the_squared_difference_of_distribution_functions(
    y: float, mu: float, sigma: float
) -> None:
    below = quad(lambda x: norm.cdf(x, mu, sigma) ** 2, min(mu - 12 * sigma, y - 1), y, limit=200)[0]
    above = quad(lambda x: norm.sf(x, mu, sigma) ** 2, y, max(mu + 12 * sigma, y + 1), limit=200)[0]
    assert crps_normal(y, mu, sigma) == pytest.approx(below + above, abs=1e-6)


def test_constant_gaussian_scores_the_published_0_600_on_labels_of_the_published_spread() -> None:
    means, spreads = np.array([0.095, 0.319, 0.459]), np.array([1.026, 1.067, 1.098])
    labels = norm.ppf((np.arange(20_000)[:, None] + 0.5) / 20_000, means, spreads)
    crps = crps_normal(labels, means, spreads).mean(axis=0)
    assert np.sqrt((crps**2).mean()) == pytest.approx(0.600, abs=0.001)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.03, 2.0))
def test_fitted_sigma_has_the_least_mean_crps(seed: int, scale: float) -> None:
    errors = np.clip(np.random.default_rng(seed).standard_t(4, size=40) * scale, -4.18, 4.18)
    best = minimize_scalar(lambda s: crps_normal(errors, 0.0, s).mean(), bounds=SIGMA_RANGE, options={"xatol": 1e-9})
    fitted = fit_sigma(errors)[0]
    assert fitted == pytest.approx(best.x, rel=1e-3)
    assert crps_normal(errors, 0.0, fitted).mean() == pytest.approx(best.fun, rel=1e-7)


def test_sigma_stays_in_its_range_for_perfect_and_for_the_worst_possible_predictions() -> None:
    assert fit_sigma(np.zeros(10))[0] == pytest.approx(SIGMA_RANGE[0])
    assert fit_sigma(np.full(10, 4.18))[0] == pytest.approx(4.18 / np.sqrt(np.log(2)), rel=1e-3)
    assert fit_sigma(np.full(10, 4.18))[0] < SIGMA_RANGE[1]


def test_r2_and_mae_equal_scikit_learn_on_event_means_and_images() -> None:
    world = make_world()
    predictions = noisy_predictions(world)
    clipped = np.clip(predictions, *LABEL_RANGE)
    metrics = world.scorer().score(predictions)
    n_id = len(world.split.id_)
    for part, rows, images in (("id", world.split.id_, clipped[:n_id]), ("ood", world.split.ood, clipped[n_id:])):
        events = np.unique(world.events[rows])
        means = np.array([images[world.events[rows] == e].mean(axis=0) for e in events])
        truth = np.array([world.labels[world.events == e][0] for e in events])
        for t, target in enumerate(TARGETS):
            assert metrics[f"r2_{part}/{target}"] == pytest.approx(r2_score(truth[:, t], means[:, t]), abs=1e-12)
            expected = mean_absolute_error(world.labels[rows, t], images[:, t])
            assert metrics[f"mae_{part}/{target}"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("met", [True, False])
def test_r2_of_constant_labels_equals_scikit_learn(met: bool) -> None:
    world = make_world()
    world.labels[:] = 0.5
    predictions = np.full((len(world.held_out), 3), 0.5 if met else 0.25)
    metrics = world.scorer().score(predictions)
    assert metrics["r2_id/SPEI_1y"] == r2_score([0.5] * 9, [0.5 if met else 0.25] * 9)


def test_scores_equal_a_plain_loop_over_events_with_sigma_from_the_other_sites() -> None:
    world = make_world()
    predictions = noisy_predictions(world)
    metrics = world.scorer().score(predictions)
    clipped = np.clip(predictions, *LABEL_RANGE)
    n_id = len(world.split.id_)
    all_crps = []
    for part, rows, images in (("id", world.split.id_, clipped[:n_id]), ("ood", world.split.ood, clipped[n_id:])):
        events = np.unique(world.events[rows])
        mu = np.array([images[world.events[rows] == e].mean(axis=0) for e in events])
        truth = np.array([world.labels[world.events == e][0] for e in events])
        sites = np.array([world.sites[world.events == e][0] for e in events])
        for t, target in enumerate(TARGETS):
            values = []
            for i, site in enumerate(sites):
                others = (truth - mu)[sites != site, t]
                sigma = minimize_scalar(
                    lambda s, err=others: crps_normal(err, 0.0, s).mean(), bounds=SIGMA_RANGE, options={"xatol": 1e-9}
                ).x
                values.append(crps_normal(truth[i, t], mu[i, t], sigma))
            all_crps.append(np.mean(values))
            assert metrics[f"crps_{part}/{target}"] == pytest.approx(all_crps[-1], rel=1e-5)
    rms = np.sqrt(np.mean(np.square([all_crps[:3], all_crps[3:]]), axis=1))
    assert metrics["score/id"] == pytest.approx(rms[0], rel=1e-5)
    assert metrics["score/ood"] == pytest.approx(rms[1], rel=1e-5)
    assert metrics["score/all"] == pytest.approx(np.sqrt(np.mean(np.square(all_crps))), rel=1e-5)


def test_changing_the_labels_of_a_site_never_changes_the_sigma_its_events_are_scored_with() -> None:
    world = make_world()
    predictions = noisy_predictions(world)
    before = world.scorer()
    site = world.sites[world.split.id_[0]]
    held_out_event = world.events[world.split.id_[0]]
    for changed_rows in (world.sites == site, world.events == held_out_event):
        other = make_world()
        other.labels[changed_rows] = -2.0
        old = before.forecasts(predictions)["id"]
        new = other.scorer().forecasts(predictions)["id"]
        own = old.sites == site
        assert own.any()
        np.testing.assert_array_equal(new.sigma[own], old.sigma[own])  # to the bit
        assert (new.sigma[~own] != old.sigma[~own]).any()
        assert (new.crps[own] != old.crps[own]).any()


def test_a_part_with_one_site_fits_sigma_on_other_events() -> None:
    world = make_world(n_events=300)
    id_ = np.flatnonzero(world.sites == "S00")
    world.split = Rows(world.split.train, id_, np.array([], dtype=np.int64))
    predictions = noisy_predictions(world)
    scorer = world.scorer()
    event = world.events[id_[0]]
    old = scorer.forecasts(predictions)["id"]
    world.labels[world.events == event] = -2.0
    new = world.scorer().forecasts(predictions)["id"]
    mine = np.flatnonzero(np.unique(world.events[id_]) == event)[0]
    np.testing.assert_array_equal(new.sigma[mine], old.sigma[mine])
    assert (new.sigma != old.sigma).any()


def test_a_part_with_one_event_uses_the_spread_of_the_training_events_and_says_so() -> None:
    world = make_world()
    world.split = Rows(world.split.train, world.split.id_, np.flatnonzero(world.events == 1005))
    scorer = world.scorer()
    forecast = scorer.forecasts(noisy_predictions(world))["ood"]
    train_events = np.unique(world.events[world.split.train])
    spread = np.array([world.labels[world.events == e][0] for e in train_events]).std(axis=0)
    np.testing.assert_allclose(forecast.sigma[0], spread)
    metrics = scorer.score(noisy_predictions(world))
    assert np.isfinite(metrics["score/ood"])
    assert np.isnan(metrics["r2_ood/SPEI_30d"])  # R2 of one event is not defined


def test_predictions_count_as_clipped_to_the_label_range() -> None:
    world = make_world()
    predictions = noisy_predictions(world) * 5
    assert world.scorer().score(predictions) == world.scorer().score(np.clip(predictions, -2.09, 2.09))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_one_prediction_that_is_not_finite_makes_every_metric_nan(poison: float) -> None:
    world = make_world()
    predictions = noisy_predictions(world).astype(np.float32)
    predictions[-1, 2] = poison
    metrics = world.scorer().score(predictions)
    assert set(metrics) == set(world.scorer().metric_names())
    assert np.isnan(list(metrics.values())).all()


def test_metric_names_are_those_of_the_metrics_and_hold_one_slash() -> None:
    world = make_world()
    names = world.scorer().metric_names()
    assert list(world.scorer().score(noisy_predictions(world))) == names
    assert all(name.count("/") == 1 for name in names)
    assert len(names) == 1 + 2 * (1 + 4 * 3)


def test_an_absent_part_has_no_metrics() -> None:
    world = make_world()
    world.split = Rows(world.split.train, world.split.id_, np.array([], dtype=np.int64))
    metrics = world.scorer().score(noisy_predictions(world))
    assert not [name for name in metrics if "ood" in name]
    assert metrics["score/all"] == metrics["score/id"]


def test_predictions_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predictions must be \[\d+, 3\]"):
        make_world().scorer().score(np.zeros((3, 3)))


def test_floors_predict_training_means_of_all_events_of_the_domain_and_of_the_species() -> None:
    world = make_world()
    found = world.floors()
    assert list(found) == ["constant", "domain_mean", "species_mean"]

    def event_mean(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows = world.split.train[mask[world.split.train]]
        events = np.unique(world.events[rows])
        return np.array([world.labels[world.events == e][0] for e in events]).mean(axis=0)

    everything = np.ones(len(world.labels), dtype=bool)
    scorer = world.scorer()
    for name, groups in (("domain_mean", world.domains), ("species_mean", world.species)):
        known = set(groups[world.split.train])
        predictions = np.array(
            [event_mean(groups == groups[i] if groups[i] in known else everything) for i in world.held_out]
        )
        assert found[name] == pytest.approx(scorer.score(predictions))
    constant = np.tile(event_mean(everything), (len(world.held_out), 1))
    assert found["constant"] == pytest.approx(scorer.score(constant))


def test_domain_mean_equals_the_constant_on_unseen_domains() -> None:
    found = make_world().floors()
    assert found["domain_mean"]["score/ood"] == found["constant"]["score/ood"]
    assert found["domain_mean"]["score/id"] != found["constant"]["score/id"]


def test_a_floor_never_sees_held_out_labels() -> None:
    world = make_world()
    before = world.floors()["constant"]["crps_ood/SPEI_1y"]
    world.labels[world.split.id_] = 0.0
    assert world.floors()["constant"]["crps_ood/SPEI_1y"] == before
