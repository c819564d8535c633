"""TrialData on disk, with a real feature store of the tiny backbone, and what a worker loads to train on it."""

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from trainable.checksums import without_checksum
from trainable.config import TrialConfig
from trainable.data.splits import Split, whole
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.extract import extract
from trainable.frozen.features import FeatureStore
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

N = 30
ROOT = Path(__file__).parents[2]


class DrawnImages:
    """Encoded images in memory, without two alike."""

    def __len__(self) -> int:
        return N

    def read(self, indices: Sequence[int]) -> list[bytes]:
        return [self._draw(i) for i in indices]

    @staticmethod
    def _draw(row: int) -> bytes:
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64)).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module")
def store(tiny, tmp_path_factory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("cache")
    return extract(tiny, DrawnImages(), data_fingerprint="d" * 64, taps=(3, 5), cache_dir=folder, n_processes=0)


@pytest.fixture
def data(store) -> TrialData:
    rng = np.random.default_rng(0)
    events = np.arange(N) // 2
    return TrialData(
        store=store,
        labels=rng.uniform(-2, 2, (N // 2, 3))[events].astype(np.float32),
        domain_ids=events % 3,
        event_ids=events + 10**12,
        site_ids=np.array([f"SITE{e % 6}" for e in events]),
        species=np.array(["Carabus goryi", "Pterostichus größe"])[events % 2],
        split=Split(
            policy="both",
            fold=1,
            train=np.flatnonzero((events % 3 < 2) & (events % 6 < 3)),
            id_=np.flatnonzero((events % 3 < 2) & (events % 6 >= 3)),
            ood=np.flatnonzero(events % 3 == 2),
            held_out_sites=("SITE3", "SITE4"),
            held_out_domains=(2,),
            n_leaked_events=0,
        ),
    )


def test_what_is_saved_comes_back(data, tmp_path):
    file = data.save(tmp_path / "study" / "data")

    loaded = TrialData.load(tmp_path / "study" / "data")

    assert [p.name for p in file.parent.iterdir()] == ["data.npz"]
    assert loaded.store.key == data.store.key
    for name in ("labels", "domain_ids", "event_ids", "site_ids", "species"):
        found, expected = getattr(loaded, name), getattr(data, name)
        assert np.array_equal(found, expected)
        assert found.dtype == expected.dtype, name
    for name in ("train", "id_", "ood"):
        assert np.array_equal(getattr(loaded.split, name), getattr(data.split, name))
    for name in ("policy", "fold", "held_out_sites", "held_out_domains", "n_leaked_events"):
        assert getattr(loaded.split, name) == getattr(data.split, name)


def test_a_split_that_holds_out_nothing_comes_back(data, tmp_path):
    replace(data, split=whole(pd.DataFrame(index=range(N)))).save(tmp_path)

    split = TrialData.load(tmp_path).split

    assert (split.policy, len(split.train), split.n_held_out) == ("all", N, 0)


def test_several_splits_come_back_and_one_is_written_as_programs_of_before_read_it(data, tmp_path):
    other = replace(data.split, fold=2, policy="domain", held_out_sites=(), train=data.split.train[:5])
    replace(data, other_splits=(other,)).save(tmp_path / "two")
    data.save(tmp_path / "one")

    first, second = TrialData.load(tmp_path / "two").splits
    assert np.array_equal(first.train, data.split.train)
    assert np.array_equal(second.train, other.train)
    assert np.array_equal(second.ood, other.ood)
    assert (second.fold, second.policy, second.held_out_domains) == (2, "domain", other.held_out_domains)
    assert [fold.split.fold for fold in TrialData.load(tmp_path / "two").folds] == [1, 2]
    with np.load(tmp_path / "one" / "data.npz") as archive:
        assert json.loads(str(archive["meta"]))["format_version"] == 1


def test_columns_of_another_length_than_the_store_are_refused(data):
    values = {
        name: getattr(data, name) for name in ("store", "domain_ids", "event_ids", "site_ids", "species", "split")
    }

    with pytest.raises(ValueError, match=r"must have 30 rows as the feature store has, but got .*'labels': 29"):
        TrialData(labels=data.labels[:-1], **values)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"data\.npz must exist, but does not; start the command again"):
        TrialData.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not an archive", b"text"])
def test_a_damaged_file_is_one_clear_line(content, tmp_path):
    (tmp_path / "data.npz").write_bytes(content)

    with pytest.raises(UserError, match="must be a readable data file, but reading it failed"):
        TrialData.load(tmp_path)


def test_flipped_bits_are_one_clear_line_and_never_other_values(data, tmp_path):
    file = data.save(tmp_path)
    written = file.read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * (len(written) - 73), 40):
        altered = bytearray(written)
        altered[bit // 8] ^= 1 << bit % 8
        file.write_bytes(altered)
        with pytest.raises(UserError, match=r"data\.npz must be as it was written, but .* its sha256 must be"):
            TrialData.load(tmp_path)


def test_a_file_that_was_written_without_a_checksum_is_read(data, tmp_path):
    file = data.save(tmp_path)
    file.write_bytes(without_checksum(file.read_bytes()))

    assert np.array_equal(TrialData.load(tmp_path).labels, data.labels)


def rewrite(file: Path, **changes) -> None:
    """Save the file again with some values of its `meta` replaced, or with arrays left out (None)."""
    with np.load(file) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays.pop("meta")))
    meta |= {name: value for name, value in changes.items() if name in meta}
    arrays = {name: value for name, value in arrays.items() if name not in changes}
    np.savez(file, meta=np.array(json.dumps(meta)), **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "must have a format version <= 2, but has 3; update the program"),
        ({"store_key": "0" * 64}, "must have key 0000"),
        ({"store": "/nowhere"}, "/nowhere must be a finished feature store"),
        ({"labels": None}, "must hold labels, domain_ids"),
    ],
)
def test_an_unfit_file_is_one_clear_line(changes, message, data, tmp_path):
    rewrite(data.save(tmp_path), **changes)

    with pytest.raises(UserError, match=message):
        TrialData.load(tmp_path)


@pytest.mark.parametrize(("n_blocks", "tap"), [(0, 5), (1, 5), (2, 3), (3, 3)])
def test_the_trainer_on_stored_features_equals_the_whole_tower(n_blocks, tap, tiny, store, data):
    config = TrialConfig.from_dict({"epochs": 1, "tail": {"n_blocks": n_blocks}})
    trainer = TailTrainer(config, data, seed=0)
    images = np.stack([np.asarray(Image.open(io.BytesIO(b))) for b in DrawnImages().read(range(N))])
    transform = tiny.transform
    pixels = (torch.from_numpy(images).float() / 255 - torch.tensor(transform.mean)) / torch.tensor(transform.std)
    whole = torch.nn.functional.normalize(tiny.embed(pixels.permute(0, 3, 1, 2)), dim=-1)

    with torch.no_grad():
        found = trainer.tail.embed(store.gather(trainer.tap, np.arange(N)).float())

    assert trainer.tap == tap
    assert float((found - whole).abs().max()) < 1e-3  # features are stored in half precision


def test_blocks_below_the_lowest_tap_are_refused(data):
    config = TrialConfig.from_dict({"epochs": 1, "tail": {"n_blocks": 4}})

    with pytest.raises(UserError, match=r"tail\.n_blocks <= 3"):
        TailTrainer(config, data, seed=0)


@pytest.mark.slow
def test_a_worker_trains_without_the_libraries_it_does_not_need(data, tmp_path):
    data.save(tmp_path)
    program = f"""
import sys
from pathlib import Path
from trainable.config import TrialConfig
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
data = TrialData.load(Path({str(tmp_path)!r}))
trainer = TailTrainer(TrialConfig.from_dict({{"epochs": 1}}), data, seed=0)
print(trainer.train_epoch()["score/all"])
heavy = {{"open_clip", "peft", "transformers", "torchvision", "ray", "optuna", "mlflow", "datasets"}}
heavy |= {{"torch._dynamo", "scipy.stats"}}  # torch's compiler alone takes as long as the rest of torch
print(sorted(heavy & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stderr
    score, imported = done.stdout.splitlines()
    assert 0 < float(score) < 3
    assert imported == "[]"


@pytest.mark.slow
def test_the_same_trial_gives_the_same_weights_in_another_process(data, tmp_path):
    data.save(tmp_path)
    config = TrialConfig.from_dict({"epochs": 2, "augment": {"mixup_alpha": 0.2, "feature_noise": 0.1}})
    program = f"""
import torch
from pathlib import Path
from trainable.training.checkpoint import save_checkpoint
from trainable.config import TrialConfig
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
torch.set_num_threads(1)
data = TrialData.load(Path({str(tmp_path)!r}))
trainer = TailTrainer(TrialConfig.from_dict({config.to_dict()!r}), data, seed=5)
trainer.train_epoch()
save_checkpoint(Path({str(tmp_path)!r}), trainer.state_dict())
"""
    from trainable.training.checkpoint import load_latest

    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here, there = (TailTrainer(config, data, seed=5) for _ in range(2))
        there.load_state_dict(load_latest(tmp_path)[0])
        here.train_epoch()
        here.train_epoch()
        there.train_epoch()
    finally:
        torch.set_num_threads(n_threads)

    ours, theirs = here.state_dict()["tensors"], there.state_dict()["tensors"]
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
