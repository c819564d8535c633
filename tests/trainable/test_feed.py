"""Both feeds give what the store holds, whatever the batches; one from files, one from device memory."""

import numpy as np
import pytest
import torch

from benchmarks.backbones import random_backbone
from benchmarks.inputs import random_trial_data
from trainable.config import TrialConfig
from trainable.frozen.features import FeatureStore
from trainable.training import resident_feed
from trainable.training.feed import FeatureFeed
from trainable.training.resident_feed import ResidentFeed, fits_beside_trial, resident_bytes
from trainable.training.trainer import TailTrainer

TAP = 5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    with random_trial_data(random_backbone("tiny", "cpu"), tap=TAP, n=60) as data:
        yield data


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(resident_feed, "_kept", {})


@pytest.mark.parametrize("kind", [FeatureFeed, ResidentFeed])
def test_batches_are_the_stores_rows_in_the_order_asked(kind, data):
    feed = kind(data.store, tap=TAP, max_rows=9, device=CPU)
    asked = [np.array(rows) for rows in ([59, 0, 31], [7], list(range(9)), [2, 2])]

    for wanted, tokens in zip(asked, feed.batches(asked), strict=True):
        assert torch.equal(tokens, data.store.gather(TAP, wanted))


def test_a_batch_may_be_written_into_without_harm_to_the_next(data):
    feed = ResidentFeed(data.store, tap=TAP, max_rows=4, device=CPU)
    for tokens in feed.batches([np.arange(4), np.arange(4)]):
        assert torch.equal(tokens, data.store.gather(TAP, np.arange(4)))
        tokens.add_(1.0)


def test_a_trial_learns_the_same_from_either_feed(data, monkeypatch):
    config = TrialConfig.from_dict({"epochs": 2, "tail": {"n_blocks": 1}, "augment": {"feature_noise": 0.1}})
    streamed = TailTrainer(config, data, seed=0)
    monkeypatch.setattr("trainable.training.resident_feed.FeatureFeed", ResidentFeed)
    resident = TailTrainer(config, data, seed=0)
    assert isinstance(resident._feed, ResidentFeed)

    for _ in range(2):
        assert streamed.train_epoch()["train/loss"] == resident.train_epoch()["train/loss"]
    assert np.array_equal(streamed.predict_held_out(), resident.predict_held_out())


def test_the_next_trial_finds_the_tap_where_it_was_and_another_tap_takes_its_place(data):
    first, second = (ResidentFeed(data.store, tap=TAP, max_rows=4, device=CPU) for _ in range(2))
    assert first._tap is second._tap
    assert first._tap.nbytes == resident_bytes(data.store, TAP)
    with random_trial_data(random_backbone("tiny", "cpu"), tap=4, n=8) as other:
        ResidentFeed(FeatureStore.open(other.store.path), tap=4, max_rows=4, device=CPU)

    assert [tap for _, tap, _ in resident_feed._kept] == [4]


@pytest.mark.parametrize(
    ("free_taps", "gpu_share", "fits"),
    [(2.9, 1.0, False), (3.1, 1.0, True), (3.1, 0.25, False), (11.0, 0.25, False), (15.0, 0.25, True)],
)
def test_a_tap_stays_on_the_device_when_it_takes_a_third_of_the_trials_room(
    free_taps, gpu_share, fits, data, monkeypatch
):
    """The device's own answers are set, for there may be none here."""
    tap_bytes = resident_bytes(data.store, TAP)
    free = int(free_taps * tap_bytes)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, max(free, int(11.9 * tap_bytes))))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 1024)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1024)

    assert fits_beside_trial(data.store, TAP, torch.device("cuda"), gpu_share=gpu_share) == fits


@pytest.mark.gpu
def test_on_a_gpu_a_small_tap_is_resident_and_gives_the_same_batches(data):
    trainer = TailTrainer(TrialConfig.from_dict({"epochs": 1, "tail": {"n_blocks": 1}}), data, seed=0, device="cuda")
    assert isinstance(trainer._feed, ResidentFeed)

    wanted = np.array([5, 0, 59])
    (tokens,) = trainer._feed.batches([wanted])
    assert torch.equal(tokens.cpu(), data.store.gather(TAP, wanted))
