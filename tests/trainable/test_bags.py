"""Bags: specimens of one event, whose mean forecast is what the loss sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainable.test_trainer import DATA, DROPOUT, EVERYTHING_ON, make_config, without_times
from trainable.training.augment import Batch, EpochAugmentation, Strengths
from trainable.training.bags import bags_of, borders, over_bags, partners_in, places_of
from trainable.training.trainer import TailTrainer


def test_a_bag_holds_specimens_of_one_event_in_the_order_drawn():
    events = np.array(["b", "a", "b", "a", "b", "c", "b", "b"])

    assert bags_of(events, size=2).tolist() == [0, 1, 0, 1, 2, 3, 2, 4]
    assert bags_of(events, size=16).tolist() == [0, 1, 0, 1, 0, 2, 0, 0]
    assert bags_of(events, size=1).tolist() == list(range(8))
    assert bags_of(events[:0], size=4).tolist() == []


def test_a_batch_is_cut_between_bags():
    bags = torch.tensor([3, 3, 3, 4, 5, 5, 5, 5, 9])
    batch = Batch(torch.zeros(9, 1, 1), torch.zeros(9).long(), torch.arange(9.0)[:, None], torch.ones(9), bags=bags)

    assert borders(bags, 2) == [4]
    assert [part.bags.tolist() for part in batch.split(3)] == [[3, 3, 3], [4], [5, 5, 5, 5, 9]]
    assert torch.cat([part.targets for part in batch.split(3)]).ravel().tolist() == list(range(9))
    assert len(batch.split(9)) == 4
    assert [len(part) for part in replace(batch, bags=torch.zeros(9).long()).split(3)] == [9]


def test_means_and_sums_are_the_bags_own_and_so_are_gradients():
    values = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    bags = torch.tensor([0, 0, 4, 5, 5, 5])
    means = over_bags(values, bags, "mean")

    wanted = torch.stack([values[:2].mean(0), values[2], values[3:].mean(0)])
    assert torch.allclose(means, wanted, rtol=1e-14)
    assert over_bags(torch.ones(6), bags, "sum").tolist() == [2, 1, 3]
    assert torch.autograd.gradcheck(lambda v: over_bags(v, bags, "mean"), values)


def test_mixup_gives_a_bag_one_partner_and_one_proportion():
    bags = torch.tensor([2, 2, 2, 5, 6, 6])
    assert partners_in(places_of(bags), torch.tensor([2, 0, 1])).tolist() == [4, 5, 4, 0, 3, 3]

    targets = torch.tensor([1.0, 1, 1, 2, 4, 4])[:, None]
    batch = Batch(torch.zeros(6, 1, 8), torch.arange(6), targets, torch.ones(6), bags=bags)
    std = torch.ones(8)
    for seed in range(20):
        augmentation = EpochAugmentation(
            Strengths(mixup_alpha=1.0), channel_std=std, unknown_domain=9, seed=seed, epoch=0
        )
        mixed = augmentation.apply(batch)
        assert mixed.bags is bags
        for own in ([0, 1, 2], [3], [4, 5]):
            assert len(mixed.shares[own].unique()) == 1
            assert len(mixed.targets[own].unique()) == 1  # so the mean's target is that of the two events
            assert len(targets[mixed.partner_domains[own]].unique()) == 1


@pytest.mark.seconds
def test_a_bag_of_one_specimen_is_the_specimen():
    """Where each image is its own event, bags change no bit."""
    data = replace(DATA, event_ids=np.arange(len(DATA.event_ids)))
    histories = []
    for size in (1, 16):
        trainer = TailTrainer(make_config(2, kind="lora", **{**EVERYTHING_ON, "loss.bag_size": size}), data, seed=0)
        histories.append([without_times(trainer.train_epoch()) for _ in range(2)])

    assert histories[0] == histories[1]


def test_what_is_trained_is_the_loss_of_the_mean_forecast():
    """The gradient of a step over all events, in float64, is that of the events' mean outputs."""
    off = {"augment.specimen_dropout": 0.0, "tail.probe_first": False, "optim.average": "none"}
    values = {**EVERYTHING_ON, **off, "optim.max_grad_norm": 0.0, "optim.accumulation_steps": 1, "loss.kind": "mse"}
    values |= {name: 0.0 for name in values if name.startswith("augment.")} | dict.fromkeys(DROPOUT, 0.0)
    train = DATA.split.train
    values |= {"optim.batch_size": len(train), "loss.bag_size": 1024}
    config = make_config(1, kind="full", **values)
    trainer, own = (TailTrainer(config, DATA, seed=0) for _ in range(2))
    for one in (trainer, own):
        one.tail.double()
    trainer.train_epoch()

    (batch,) = own._rows.batches([train], own._feed)
    outputs = own.tail(batch.tokens, batch.domains, species=batch.species)
    events = torch.from_numpy(DATA.event_ids[train])
    loss = torch.zeros((), dtype=torch.float64)
    for event in events.unique():
        rows = events == event
        error = outputs[rows].mean(0) - batch.targets[rows].double().mean(0)
        loss = loss + batch.weights[rows].sum() * error.square().mean()
    (loss / len(train)).backward()

    gradients = [(p.grad, o.grad) for p, o in zip(trainer.tail.parameters(), own.tail.parameters(), strict=True)]
    assert any(found is not None and found.abs().max() > 0 for found, _ in gradients)
    for found, wanted in gradients:
        assert (found is None) == (wanted is None)
        assert found is None or torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)
