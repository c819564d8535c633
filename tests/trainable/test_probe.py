"""Regressor and domain code are fitted to frozen features before anything else moves."""

import numpy as np
import pytest
import torch

from tests.trainable.test_trainer import DATA, make_config, same_tensors
from trainable.training.probe import ProbeRows, fit_probe, set_aside
from trainable.training.trainer import TailTrainer

PROBE = {"tail.probe_first": True, "tail.n_blocks": 1}
STILL = {"optim.lr": 1e-12}
"""So that after an epoch all is where the probe left it, but for rounding."""


def noisy_rows(n: int, width: int, noise: float) -> ProbeRows:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, width, generator=generator)
    targets = features[:, :3] + noise * torch.randn(n, 3, generator=generator)
    return ProbeRows(features, torch.zeros(n, dtype=torch.int64), targets, torch.ones(n))


def fitted(rows: ProbeRows, aside: np.ndarray) -> torch.Tensor:
    weight = torch.zeros(rows.features.shape[1], 3, requires_grad=True)
    fit_probe([weight], lambda of: (of.features @ weight - of.targets).square().mean(), rows, aside)
    return weight.detach()


def test_without_rows_set_aside_a_linear_probe_ends_at_the_least_squares():
    rows = noisy_rows(60, 8, 0.5)

    found = fitted(rows, np.ones(60, dtype=bool))

    assert torch.allclose(found, torch.linalg.lstsq(rows.features, rows.targets).solution, atol=1e-3)


def test_a_probe_ends_where_rows_set_aside_gain_no_more():
    rows, aside = noisy_rows(80, 40, 2.0), np.arange(80) < 30
    judged, rest = rows.of(torch.from_numpy(aside)), rows.of(torch.from_numpy(~aside))

    def loss(weight: torch.Tensor) -> float:
        return (judged.features @ weight - judged.targets).square().mean().item()

    to_its_end = torch.linalg.lstsq(rest.features, rest.targets).solution  # 40 numbers from 50 rows
    assert loss(fitted(rows, aside)) < min(loss(torch.zeros(40, 3)), loss(to_its_end))


def test_whole_events_are_set_aside_by_the_seed_alone():
    events = np.repeat(np.arange(50), 4)
    found = set_aside(events, seed=1)

    assert len(set(events[found])) == 10
    assert not set(events[found]) & set(events[~found])
    assert np.array_equal(found, set_aside(events, seed=1))
    assert not np.array_equal(found, set_aside(events, seed=2))
    assert set_aside(events[:4], seed=1).all()


@pytest.mark.seconds
@pytest.mark.parametrize("loss", ["mse", "crps"])
@pytest.mark.parametrize("head", ["mlp", "narrow", "linear"])
def test_a_trial_begins_from_a_fitted_regressor_and_pretrained_blocks(head, loss):
    values = {**PROBE, **STILL, "tail.head": head, "loss.kind": loss}
    fresh, probed = (
        TailTrainer(make_config(**(values | {"tail.probe_first": on})), DATA, seed=0) for on in (False, True)
    )
    before = {name: value.clone() for name, value in probed.tail.state_dict().items()}
    scores = [trainer.train_epoch()["score/all"] for trainer in (fresh, probed)]
    moved = {
        name.split(".")[0]
        for name, value in probed.tail.state_dict().items()
        if not torch.allclose(value, before[name], atol=1e-6)
    }

    assert scores[1] < 0.75 * scores[0]
    assert moved == {"head", "domain_code"}


@pytest.mark.seconds
def test_a_probe_leaves_alone_what_has_no_rate_and_repeats_itself():
    config = make_config(**PROBE, **{"optim.domain_multiplier": 0.0})
    first, second = (TailTrainer(config, DATA, seed=0) for _ in range(2))
    before = {name: value.clone() for name, value in first.tail.domain_code.state_dict().items()}
    for trainer in (first, second):
        trainer.train_epoch()

    assert all(torch.equal(value, before[name]) for name, value in first.tail.domain_code.state_dict().items())
    assert same_tensors(first, second)


@pytest.mark.seconds
def test_domains_that_are_dropped_are_fitted_as_unknown():
    def unknown_code(dropout: float) -> torch.Tensor:
        trainer = TailTrainer(make_config(**PROBE, **STILL, **{"augment.domain_dropout": dropout}), DATA, seed=0)
        before = trainer.tail.domain_code.embedding.weight[-1].clone()
        trainer.train_epoch()
        return (trainer.tail.domain_code.embedding.weight[-1] - before).abs().max()

    assert unknown_code(0.0) < 1e-6 < 1e-3 < unknown_code(0.3)
