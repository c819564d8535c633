"""Classes are learnt: soft labels, weights, a probe first, and a resume that changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.leaves import draw_leaves, leaf_data, leaf_table, read_leaves
from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.scoring.folds_scorer import floors
from trainable.training.losses import class_losses, class_shares, class_weights
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

TASK = Task.from_dict(
    {
        "columns": {"image": "file_name", "event": "plot", "site": "place", "domain": "region"},
        "targets": {"shade": {"classes": "auto"}},
    }
)
PLAIN = {"epochs": 3, "tail": {"n_blocks": 0, "probe_first": True, "head": "linear"}, "optim": {"batch_size": 16}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrialData:
    """Leaves that are dark, middling or bright, which their photographs show."""
    folder = tmp_path_factory.mktemp("leaves")
    draw_leaves(folder)
    rows = leaf_table()
    rows["shade"] = np.array(["dark", "middling", "bright"])[(rows["bright"] * 3).astype(int)]
    rows.to_csv(folder / "metadata.csv", index=False)
    return leaf_data(read_leaves(folder, TASK, folder / "cache"), folder / "cache", holdout="both")


def trained(data: TrialData, **changes: object) -> TailTrainer:
    trainer = TailTrainer(TrialConfig.from_dict(PLAIN).with_values(changes), data, seed=0)
    for _ in range(trainer.config.epochs):
        trainer.train_epoch()
    return trainer


def test_classes_that_photographs_show_are_learnt_and_forecast_better_than_by_their_frequencies(data):
    trainer = trained(data)
    constant = floors(
        data.labels, data.event_ids, data.site_ids, data.domain_ids, data.species, [data.split], targets=data.targets
    )["constant"]
    metrics = trainer.history[-1]

    assert data.targets.task.classes == ("bright", "dark", "middling")
    assert metrics["score/all"] < 0.7 * constant["score/all"]
    assert metrics["accuracy_id/shade"] > constant["accuracy_id/shade"]
    assert trainer.predict_held_out().shape == (data.split.n_held_out, 3)
    assert trainer.tail.head.log_sigma is None


def test_what_a_loss_of_real_targets_would_be_makes_no_difference(data):
    mse, crps = (trained(data, **{"loss.kind": kind, "tail.n_blocks": 1}) for kind in ("mse", "crps"))

    assert np.array_equal(mse.predict_held_out(), crps.predict_held_out())


@pytest.mark.seconds
@pytest.mark.parametrize(
    "changes",
    [
        {"loss.label_smoothing": 0.2},
        {"loss.class_exponent": 1.0},
        {"augment.mixup_alpha": 0.5},
    ],
)
def test_what_changes_the_loss_changes_what_is_learnt_and_stays_finite(data, changes):
    plain, other = trained(data), trained(data, **changes)

    assert not np.array_equal(plain.predict_held_out(), other.predict_held_out())
    assert np.isfinite(list(other.history[-1].values())).all()


def test_a_training_of_classes_that_was_interrupted_goes_on_as_if_it_was_not(data):
    changes = {"augment.mixup_alpha": 0.5, "loss.label_smoothing": 0.1, "tail.n_blocks": 1, "optim.average": "ema"}
    whole = trained(data, **changes)
    config = TrialConfig.from_dict(PLAIN).with_values(changes)
    first, second = (TailTrainer(config, data, seed=0) for _ in range(2))
    first.train_epoch()
    second.load_state_dict(first.state_dict())
    for _ in range(config.epochs - 1):
        second.train_epoch()

    assert np.array_equal(second.predict_held_out(), whole.predict_held_out())


def test_a_training_of_other_classes_is_not_gone_on_with(data):
    other = replace(
        data.targets, task=Task.from_dict({**TASK.to_dict(), "targets": {"shade": {"classes": ["a", "b", "c"]}}})
    )
    first = TailTrainer(TrialConfig.from_dict(PLAIN), data, seed=0)
    first.train_epoch()

    with pytest.raises(UserError, match="task"):
        TailTrainer(TrialConfig.from_dict(PLAIN), replace(data, targets=other), seed=0).load_state_dict(
            first.state_dict()
        )


def test_a_cross_entropy_of_mixed_labels_is_the_mixture_of_theirs():
    torch.manual_seed(0)
    logits = torch.randn(4, 5)
    one, other = torch.eye(5)[[0, 1, 2, 3]], torch.eye(5)[[4, 1, 0, 2]]
    wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3]), reduction="none")

    torch.testing.assert_close(class_losses(logits, one), wanted)
    mixed = class_losses(logits, torch.lerp(other, one, 0.3))
    torch.testing.assert_close(mixed, 0.3 * class_losses(logits, one) + 0.7 * class_losses(logits, other))


def test_smoothed_labels_are_those_of_torch():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), np.array([0, 1, 2, 3, 3, 0])
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none", label_smoothing=0.2)
    shares = class_shares(labels, n_classes=4, smoothing=0.2)

    torch.testing.assert_close(class_losses(logits, torch.from_numpy(shares)), wanted)


def test_class_weights_make_classes_count_alike_beside_what_events_weigh():
    labels, weights = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 1, 1, 0.5, 0.5], dtype=np.float32)
    found = class_weights(labels, weights, exponent=1.0)

    np.testing.assert_allclose(np.bincount(labels, weights=found), 2.0, rtol=1e-6)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(found[:3] / found[0], weights[:3] / weights[0], rtol=1e-6)
    assert class_weights(labels, weights, exponent=0.0) is weights
