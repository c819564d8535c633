import numpy as np
import pytest
import torch

from tests.trainable.rounding import assert_same_in_float64, rounding_bound
from trainable.scoring.crps import crps_normal as reference_crps
from trainable.training.losses import crps_normal, event_weights, specimen_losses


def test_crps_equals_the_scorers():
    rng = np.random.default_rng(0)
    mu, y = rng.normal(size=(2, 50, 3))
    sigma = np.array([0.1, 1.0, 3.0])

    found = crps_normal(*(torch.from_numpy(values) for values in (mu, sigma, y)))

    assert_same_in_float64(found, reference_crps(y, mu, sigma), n_terms=10)  # its operations


def test_crps_gradients_are_right():
    mu, sigma, y = (torch.tensor(v, dtype=torch.float64) for v in ([0.3, -2.0], [0.4, 1.5], [0.3, 1.0]))

    assert torch.autograd.gradcheck(crps_normal, (mu.requires_grad_(), sigma.requires_grad_(), y))


def test_mse_is_the_mean_over_targets():
    losses = specimen_losses(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 3.0]]), None)

    assert losses.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_event_weights_have_mean_one_and_the_asked_exponent(exponent):
    events = np.array([7, 7, 7, 7, 9, 3, 3])

    weights, rounding = event_weights(events, exponent=exponent), rounding_bound(len(events))

    assert weights.mean() == pytest.approx(1.0, rel=rounding)
    assert weights[4] / weights[0] == pytest.approx(4**exponent, rel=rounding)
    totals = [weights[events == event].sum() for event in (7, 9, 3)]
    if exponent == 1.0:
        assert totals == pytest.approx([totals[0]] * 3, rel=rounding)
    if exponent == 0.0:
        assert set(weights) == {1.0}
