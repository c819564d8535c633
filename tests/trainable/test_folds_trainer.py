"""A trial that is trained once a fold and scored on the held-out events of all folds together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainable.test_trainer import DATA, EVERYTHING_ON, make_config, same_tensors, without_times
from trainable.data.splits import Split
from trainable.errors import UserError
from trainable.scoring.folds_scorer import FoldsScorer
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.checkpoint import load_latest, save_checkpoint
from trainable.training.folds_trainer import FoldsTrainer, make_trainer
from trainable.training.trainer import TailTrainer

IS_UNSEEN = DATA.domain_ids == 1
OTHER = Split(
    policy="domain", fold=1, train=np.flatnonzero(~IS_UNSEEN), id_=np.empty(0, dtype=np.int64),
    ood=np.flatnonzero(IS_UNSEEN), held_out_sites=(), held_out_domains=(1,), n_leaked_events=0,
)  # fmt: skip
TWO_FOLDS = replace(DATA, other_splits=(OTHER,))
ALONE = replace(DATA, split=OTHER)


def scorer_of(split: Split) -> HeldOutScorer:
    return HeldOutScorer(DATA.labels, DATA.event_ids, DATA.site_ids, split)


def drawn_predictions(split: Split, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(split.n_held_out, 3))


# Scoring


def test_one_fold_is_scored_as_it_is_alone():
    given = drawn_predictions(DATA.split)

    assert FoldsScorer([scorer_of(DATA.split)]).score([given]) == scorer_of(DATA.split).score(given)


def test_the_events_of_all_folds_are_scored_together_each_calibrated_on_its_own_fold():
    given = [drawn_predictions(split, seed=n) for n, split in enumerate((DATA.split, OTHER))]
    scorers = [scorer_of(DATA.split), scorer_of(OTHER)]
    found = FoldsScorer(scorers).score(given)

    forecasts = [scorer.forecasts(values) for scorer, values in zip(scorers, given, strict=True)]
    id_means = forecasts[0]["id"].crps.mean(axis=0)
    ood = np.concatenate([of_fold["ood"].crps for of_fold in forecasts])
    assert found["score/id"] == scorers[0].score(given[0])["score/id"]  # the other fold holds out domains alone
    np.testing.assert_allclose(
        found["score/all"], np.sqrt(np.mean(np.concatenate([id_means, ood.mean(axis=0)]) ** 2)), rtol=1e-12
    )
    assert len(ood) == 24  # twelve events of either domain
    assert found["crps_ood/SPEI_1y"] == pytest.approx(ood[:, 1].mean(), rel=1e-12)


def test_a_prediction_that_is_not_finite_on_any_fold_leaves_no_score():
    given = [drawn_predictions(DATA.split), drawn_predictions(OTHER)]
    given[1][0, 0] = np.nan
    scorer = FoldsScorer([scorer_of(DATA.split), scorer_of(OTHER)])

    found = scorer.score(given)
    assert list(found) == scorer.metric_names()
    assert all(np.isnan(value) for value in found.values())


# Training


def test_data_of_one_fold_are_trained_as_ever():
    assert isinstance(make_trainer(make_config(), DATA, seed=0), TailTrainer)
    assert isinstance(make_trainer(make_config(), TWO_FOLDS, seed=0), FoldsTrainer)


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "dora"])
def test_each_fold_trains_as_it_would_alone_to_the_bit(kind):
    config = make_config(3, kind=kind, **EVERYTHING_ON)
    together = make_trainer(config, TWO_FOLDS, seed=3)
    alone = [TailTrainer(config, data, seed=3) for data in (DATA, ALONE)]
    for _ in range(3):
        metrics = together.train_epoch()
        own = [trainer.train_epoch() for trainer in alone]

    for trainer, other in zip(together.trainers, alone, strict=True):
        assert np.array_equal(trainer.predict_held_out(), other.predict_held_out())
    sizes = [len(DATA.split.train), len(OTHER.train)]
    mean_loss = (sizes[0] * own[0]["train/loss"] + sizes[1] * own[1]["train/loss"]) / sum(sizes)
    assert metrics["train/loss"] == pytest.approx(mean_loss, rel=1e-12)
    assert metrics["train/lr"] == own[0]["train/lr"]
    assert metrics.keys() == own[0].keys()


@pytest.mark.seconds
def test_the_best_epoch_is_that_of_all_folds_and_each_keeps_its_weights_of_it():
    config = make_config(6, **{"optim.lr": 0.05})
    together = make_trainer(config, TWO_FOLDS, seed=0)
    predicted = []
    for _ in range(6):
        together.train_epoch()
        predicted.append([trainer.predict_held_out() for trainer in together.trainers])
    scores = [metrics["score/all"] for metrics in together.history]

    assert together.best_epoch == int(np.argmin(scores)) + 1
    assert together.best_score == min(scores)
    own_best = [
        int(np.argmin([scorer.score(epoch[fold])["score/all"] for epoch in predicted])) + 1
        for fold, scorer in enumerate((scorer_of(DATA.split), scorer_of(OTHER)))
    ]
    assert own_best != [together.best_epoch] * 2  # else this proves nothing
    together.load_best()
    for fold, trainer in enumerate(together.trainers):
        assert np.array_equal(trainer.predict_held_out(), predicted[together.best_epoch - 1][fold])


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(kind, tmp_path):
    config = make_config(4, kind=kind, **EVERYTHING_ON)
    whole = make_trainer(config, TWO_FOLDS, seed=3)
    for _ in range(4):
        whole.train_epoch()

    trainer = make_trainer(config, TWO_FOLDS, seed=3)
    while trainer.epoch < 4:
        trainer.train_epoch()
        save_checkpoint(tmp_path, trainer.state_dict())
        torch.manual_seed(trainer.epoch)  # another process has other global generators
        trainer = make_trainer(config, TWO_FOLDS, seed=3)
        trainer.load_state_dict(load_latest(tmp_path)[0])

    assert all(same_tensors(a, b) for a, b in zip(trainer.trainers, whole.trainers, strict=True))
    assert [without_times(m) for m in trainer.history] == [without_times(m) for m in whole.history]
    assert (trainer.best_epoch, trainer.best_score) == (whole.best_epoch, whole.best_score)


def test_a_checkpoint_of_other_folds_is_refused_in_a_line():
    one, two = TailTrainer(make_config(), DATA, seed=0), make_trainer(make_config(), TWO_FOLDS, seed=0)

    with pytest.raises(UserError, match="`folds` of a checkpoint must be 2, but it holds 1"):
        two.load_state_dict(one.state_dict())
    others = make_trainer(make_config(), replace(DATA, other_splits=(replace(OTHER, fold=2),)), seed=0)
    with pytest.raises(UserError, match="split"):
        two.load_state_dict(others.state_dict())
