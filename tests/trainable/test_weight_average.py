"""Averaged weights predict; what is trained is what it would be without them."""

import numpy as np
import pytest
import torch

from tests.trainable.rounding import rounding_bound
from tests.trainable.test_trainer import DATA, all_data, make_config, same_tensors, without_times
from trainable.training.checkpoint import load_latest, save_checkpoint
from trainable.training.trainer import TailTrainer
from trainable.training.weight_average import WeightAverage, newest_share

AVERAGES = [("ema", 0.3), ("last", 0.5)]


def averaging(average: str, fraction: float) -> dict[str, object]:
    return {"optim.average": average, "optim.average_fraction": fraction}


def test_the_last_steps_weigh_alike_and_before_them_the_newest_counts_alone():
    shares = [newest_share(step, 10, average="last", fraction=0.3) for step in range(10)]

    assert shares == [1.0] * 8 + [1 / 2, 1 / 3]
    assert [newest_share(step, 3, average="last", fraction=1.0) for step in range(3)] == [1.0, 1 / 2, 1 / 3]


def test_an_exponential_average_begins_as_the_mean_of_all():
    shares = [newest_share(step, 20, average="ema", fraction=0.2) for step in range(7)]

    assert shares == [1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4]
    assert newest_share(1, 20, average="ema", fraction=1e-6) == 1.0  # an average over one step


@pytest.mark.rounding
def test_the_parameters_hold_the_mean_of_the_last_steps_between_epochs():
    parameters = [torch.zeros(50), torch.zeros(3, 4)]
    moves = torch.randn(8, 62, generator=torch.Generator().manual_seed(0))
    average = WeightAverage(parameters, average="last", fraction=0.5, n_steps=8)
    for epoch in range(2):
        with average.training():
            for step in range(4 * epoch, 4 * epoch + 4):
                for parameter, move in zip(parameters, moves[step].split([50, 12]), strict=True):
                    parameter.add_(move.view_as(parameter))
                average.take_in(step)

    walked = moves.double().cumsum(dim=0)
    for held, wanted in ((parameters, walked[4:].mean(dim=0)), (average.trained, walked[-1])):
        found = torch.cat([value.flatten() for value in held]).double()
        assert float((found - wanted).abs().max()) <= rounding_bound(16) * float(walked.abs().max())


@pytest.mark.seconds
@pytest.mark.parametrize(("average", "fraction"), AVERAGES)
def test_averaging_changes_what_predicts_and_not_what_is_trained(average, fraction):
    plain = TailTrainer(make_config(), DATA, seed=0)
    averaged = TailTrainer(make_config(**averaging(average, fraction)), DATA, seed=0)
    losses = [[trainer.train_epoch()["train/loss"] for _ in range(4)] for trainer in (plain, averaged)]
    theirs, ours = (trainer.state_dict()["tensors"] for trainer in (plain, averaged))

    assert losses[0] == losses[1]
    assert all(torch.equal(ours[name], value) for name, value in theirs.items() if not name.startswith("best/"))
    assert not np.array_equal(plain.predict_held_out(), averaged.predict_held_out())
    assert not [name for name in theirs if name.startswith("average/")]
    held = dict(averaged.tail.named_parameters())  # what an export takes
    assert all(torch.equal(ours[f"average/{name.removeprefix('trained/')}"], held[name.removeprefix("trained/")])
               for name in ours if name.startswith("trained/"))  # fmt: skip


@pytest.mark.seconds
@pytest.mark.parametrize("data", [DATA, all_data()], ids=["held out", "all"])
@pytest.mark.parametrize(("average", "fraction"), AVERAGES)
def test_averages_go_on_after_an_interruption_to_the_bit(average, fraction, data, tmp_path):
    config = make_config(3, **averaging(average, fraction), **{"tail.head_dropout": 0.1})
    whole = TailTrainer(config, data, seed=3)
    metrics = [whole.train_epoch() for _ in range(3)]
    trainer = TailTrainer(config, data, seed=3)
    for _ in range(3):
        trainer.train_epoch()
        save_checkpoint(tmp_path, trainer.state_dict())
        trainer = TailTrainer(config, data, seed=3)
        trainer.load_state_dict(load_latest(tmp_path)[0])

    assert same_tensors(trainer, whole)
    assert [without_times(m) for m in trainer.history] == [without_times(m) for m in metrics]
    assert np.array_equal(trainer.predict(data.split.train), whole.predict(data.split.train))


def test_the_best_epoch_keeps_its_average():
    trainer = TailTrainer(make_config(4, **averaging("ema", 0.3), **{"optim.lr": 3e-2}), DATA, seed=0)
    held_out = []
    for _ in range(4):
        trainer.train_epoch()
        held_out.append(trainer.predict_held_out())
    trainer.load_best()

    assert np.array_equal(trainer.predict_held_out(), held_out[trainer.best_epoch - 1])
