"""Altered copies of images in the feature store: what they are, that they are made once, and who reads them when."""

import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainable.demo_data import TAPS, demo_data
from trainable.config import TrialConfig
from trainable.data.decoding import decode
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.extract import extract
from trainable.frozen.features import FeatureStore, identity_key, store_identity
from trainable.frozen.image_copies import JITTER, altered
from trainable.training.augment import EpochAugmentation
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

N = 40
ROOT = Path(__file__).parents[2]
KEY_OF_BEFORE = "addf2f28f1e3494e8a56962f44a98450c05b1b8e71c75c4c9ce83663d8e44667"
"""Of the features of `tiny:random` and data `dd...`, recorded before there were copies."""


class EncodedImages:
    """Drawn images, held in memory."""

    def __len__(self) -> int:
        return N

    def read(self, indices: Sequence[int]) -> list[bytes]:
        return [self._draw(row) for row in indices]

    @staticmethod
    def _draw(row: int) -> bytes:
        coarse = np.random.default_rng(row).integers(0, 256, (7, 9, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((80, 70)).save(buffer, "PNG")
        return buffer.getvalue()


IMAGES = EncodedImages()


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny:random")


def run_extract(backbone: Backbone, cache: Path, **options) -> FeatureStore:
    options = {"taps": TAPS, "n_processes": 0, "batch_size": 3} | options
    return extract(backbone, IMAGES, data_fingerprint="d" * 64, cache_dir=cache, **options)


def decoded(backbone: Backbone) -> torch.Tensor:
    size = backbone.transform.image_size
    return torch.from_numpy(np.stack([decode(image, size) for image in IMAGES.read(range(N))]))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def grey(images: torch.Tensor) -> torch.Tensor:
    return images.float() @ torch.tensor([0.299, 0.587, 0.114])


def test_copy_1_is_the_image_flipped_left_to_right(tiny):
    images = decoded(tiny)

    assert torch.equal(altered(images, range(N), 1), images.flip(2))


def test_further_copies_are_flipped_by_chance_and_of_other_colours(tiny):
    images = decoded(tiny)
    flat = images // 2 + 64  # far from black and white, where nothing is cut off
    second, third = (altered(flat, range(N), number) for number in (2, 3))

    assert second.dtype == torch.uint8
    assert second.shape == flat.shape
    assert not any(torch.equal(a, b) for a, b in zip(second, third, strict=True))
    near = [(grey(copy) - grey(flat)).abs().mean((1, 2)) for copy in (second, second.flip(2))]
    n_flipped = int((near[1] < near[0]).sum())
    assert 10 <= n_flipped <= 30
    brightness = grey(second).mean((1, 2)) / grey(flat).mean((1, 2))
    assert JITTER[0] - 0.01 < brightness.min() < 0.85
    assert 1.15 < brightness.max() < JITTER[1] + 0.01


def test_a_copy_is_the_same_whatever_it_is_made_together_with(tiny):
    images = decoded(tiny)
    at_once = altered(images, range(N), 2)

    assert torch.equal(
        at_once, torch.cat([altered(images[i : i + 7], range(i, min(i + 7, N)), 2) for i in range(0, N, 7)])
    )
    assert not torch.equal(at_once[:5], altered(images[:5], range(5, 10), 2))  # by row, not by place in a batch


def test_the_features_of_a_copy_are_those_of_the_altered_images(tiny, tmp_path):
    store = run_extract(tiny, tmp_path, copy=2)
    pixels = tiny.transform.normalize(altered(decoded(tiny), range(N), 2))

    fresh = tiny.forward_taps(pixels, [5])[5]

    assert torch.allclose(store.gather(5, np.arange(N)).float(), fresh, atol=1e-3 * float(fresh.abs().max()))


def test_the_images_own_features_have_the_identity_that_they_had_before_there_were_copies(tiny):
    keys = [identity_key(store_identity(tiny, "d" * 64, copy=copy)) for copy in range(4)]

    assert keys[0] == identity_key(store_identity(tiny, "d" * 64)) == KEY_OF_BEFORE
    assert len(set(keys)) == 4


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
import test_image_copies as t
def progress(done, total):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)
t.run_extract(t.load_backbone("tiny:random"), Path({folder!r}), copy=2, progress=progress)
"""


@pytest.mark.slow
def test_a_copy_whose_extraction_was_killed_goes_on_and_equals_an_uninterrupted_one(tiny, tmp_path):
    code = KILLED.format(tests=str(ROOT / "tests" / "trainable"), root=str(ROOT), folder=str(tmp_path / "killed"))
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ}, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    calls: list[tuple[int, int]] = []

    resumed = run_extract(tiny, tmp_path / "killed", copy=2, progress=lambda *call: calls.append(call))

    assert 0 < calls[0][0] <= 20  # whole shards were kept
    assert contents(resumed.path) == contents(run_extract(tiny, tmp_path / "whole", copy=2).path)


def draws(seed: int = 0, epoch: int = 0, *, n: int = 4000, **config) -> np.ndarray:
    from trainable.training.assembly import strengths_of

    whole = TrialConfig(epochs=10).with_values({"augment.image_copies": 3, **config})
    augmentation = EpochAugmentation(
        strengths_of(whole, epoch=epoch), channel_std=torch.ones(4), unknown_domain=0, seed=seed, epoch=epoch
    )
    return augmentation.versions(n)


def test_an_epoch_draws_the_image_and_its_copies_alike():
    found = Counter(draws().tolist())

    assert set(found) == {0, 1, 2, 3}
    assert all(abs(count - 1000) < 5 * 1000**0.5 for count in found.values())


def test_draws_depend_on_seed_and_epoch_alone_and_are_none_without_copies():
    assert np.array_equal(draws(), draws())
    assert not np.array_equal(draws(), draws(seed=1))
    assert not np.array_equal(draws(), draws(epoch=1))
    assert draws(**{"augment.image_copies": 0}) is None


def test_copies_come_little_by_little_over_the_ramp():
    shares = [(draws(epoch=epoch, **{"augment.ramp_fraction": 0.5}) > 0).mean() for epoch in (0, 2, 5)]

    assert shares == pytest.approx([0, 0.75 * 0.4, 0.75], abs=0.03)


@pytest.fixture(scope="module")
def demo(demo_cache) -> TrialData:
    return demo_data(demo_cache, n_copies=2)


def config_of(**values) -> TrialConfig:
    config = {"tail.n_blocks": 1, "optim.lr": 3e-3, "augment.domain_dropout": 0.2, **values}
    return TrialConfig(epochs=3).with_values(config)


def history(trainer: TailTrainer) -> list[tuple[float, float]]:
    while trainer.epoch < trainer.config.epochs:
        trainer.train_epoch()
    return [(metrics["train/loss"], metrics["score/all"]) for metrics in trainer.history]


def test_a_trial_that_asks_for_none_is_the_same_to_the_bit_where_copies_are_stored(demo):
    without = history(TailTrainer(config_of(), replace(demo, copies=()), seed=0))

    assert history(TailTrainer(config_of(), demo, seed=0)) == without
    assert history(TailTrainer(config_of(**{"augment.image_copies": 2}), demo, seed=0)) != without


def test_a_trial_reads_the_copies_that_it_drew(demo):
    trainer = TailTrainer(config_of(**{"augment.image_copies": 1}), demo, seed=0)
    rows = demo.split.train[:20]

    (flipped,) = trainer._rows.batches([rows], trainer._feed, np.ones(len(demo.labels), dtype=np.int64))

    assert torch.equal(flipped.tokens, demo.copies[0].gather(trainer.tap, rows))
    (own,) = trainer._rows.batches([rows], trainer._feed)
    assert torch.equal(own.tokens, demo.store.gather(trainer.tap, rows))
    assert torch.equal(own.targets, trainer._rows.labels[torch.from_numpy(rows)])


@pytest.mark.parametrize("flips", [False, True])
def test_resumed_with_copies_equals_uninterrupted_to_the_bit(demo, flips):
    config = config_of(**{"augment.image_copies": 2, "augment.test_flips": flips})
    whole, first, second = (TailTrainer(config, demo, seed=1) for _ in range(3))
    first.train_epoch()
    second.load_state_dict(first.state_dict())

    assert history(second) == history(whole)
    assert np.array_equal(second.held_out_predictions, whole.held_out_predictions)


def test_a_batch_in_parts_reads_the_same_copies(demo):
    config = config_of(**{"augment.image_copies": 2})
    whole, parts = (TailTrainer(config.with_values({"optim.accumulation_steps": n}), demo, seed=0) for n in (1, 4))

    assert history(parts) == pytest.approx(np.array(history(whole)), rel=1e-4)


def test_a_checkpoint_of_other_copies_is_refused(demo):
    one, two = (TailTrainer(config_of(**{"augment.image_copies": n}), demo, seed=0) for n in (1, 2))

    with pytest.raises(UserError, match="store_key"):
        two.load_state_dict(one.state_dict())


def test_more_copies_than_are_stored_are_refused_in_one_line(demo):
    with pytest.raises(UserError, match="features of 3 copies of each image must be stored") as error:
        TailTrainer(config_of(**{"augment.image_copies": 3}), demo, seed=0)
    assert len(error.value.problems) == 1


def test_trial_data_keep_their_copies_and_those_without_are_written_as_before(demo, tmp_path):
    demo.save(tmp_path / "with")
    replace(demo, copies=()).save(tmp_path / "without")

    assert [copy.key for copy in TrialData.load(tmp_path / "with").copies] == [copy.key for copy in demo.copies]
    assert TrialData.load(tmp_path / "without").copies == ()
    assert b"copies" not in (tmp_path / "without" / "data.npz").read_bytes()


def test_forecasts_with_test_flips_are_the_mean_of_both_views(demo):
    plain, flips = (TailTrainer(config_of(**{"augment.test_flips": on}), demo, seed=0) for on in (False, True))
    swapped = replace(demo, store=demo.copies[0], copies=(demo.store,))
    rows = demo.split.id_
    for trainer in (plain, flips):
        trainer.train_epoch()
    mirrored = TailTrainer(config_of(**{"augment.test_flips": False}), swapped, seed=0)
    mirrored.tail.load_state_dict(plain.tail.state_dict())

    assert all(torch.equal(a, b) for a, b in zip(plain.tail.parameters(), flips.tail.parameters(), strict=True))
    wanted = (plain.predict(rows) + mirrored.predict(rows)) / 2
    assert np.allclose(flips.predict(rows), wanted, atol=1e-6)
    assert not np.allclose(flips.predict(rows), plain.predict(rows), atol=1e-4)
