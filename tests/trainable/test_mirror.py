"""Feature stores on object storage and their copies on a node's disk, against a real S3 server."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from trainable.data.specimens import load_specimens
from trainable.data.splits import make_split
from trainable.errors import UserError
from trainable.frozen.features import FeatureStore
from trainable.frozen.mirror import mirror_store, put_store
from trainable.storage.remote_folder import RemoteFolder
from trainable.training.trial_data import TrialData
from tune.cli import main
from tune.command_line.options import DataOptions
from tune.execution.session import request_for
from tune.extraction.extraction import make_features
from tune.study.study_data import StudyData, write_trial_data

DEMO = "demo:120"


@pytest.fixture(scope="module")
def store(own_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """With taps 4 and 5, and of this module alone: elsewhere a store may gain more."""
    assert own_environment.is_dir()
    cache = tmp_path_factory.mktemp("own-cache")
    assert (
        main(["extract", "--local", "--data", DEMO, "--space", "smoke", "--workers", "1", "--cache", str(cache)]) == 0
    )
    (manifest,) = (cache / "features").glob("*/manifest.json")
    return FeatureStore.open(manifest.parent)


def put(store: FeatureStore, remote: RemoteFolder) -> list[str]:
    told: list[str] = []
    put_store(store, remote, say=told.append)
    return told


def quiet(_: str) -> None: ...


def rows(store: FeatureStore, tap: int) -> bytes:
    return store.gather(tap, np.arange(store.n)).numpy().tobytes()


@pytest.mark.seconds
def test_a_copy_has_the_wanted_taps_byte_for_byte_and_is_made_once(store, remote, tmp_path):
    assert mirror_store(remote, tmp_path / "copy", taps=(5,), say=quiet) is None
    assert len(put(store, remote)) == 1
    assert put(store, remote) == []  # nothing is sent twice
    told: list[str] = []
    threads = [
        threading.Thread(
            target=mirror_store, args=(remote, tmp_path / "copy"), kwargs={"taps": (5,), "say": told.append}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    copy = FeatureStore.open(tmp_path / "copy", key=store.key)
    assert copy.taps == (5,)
    assert not (copy.path / "tap-04").exists()
    assert rows(copy, 5) == rows(store, 5)
    assert copy.channel_std(5).equal(store.channel_std(5))
    assert sum(line.startswith("copying") for line in told) == 1

    more = mirror_store(remote, tmp_path / "copy", taps=(4,), say=quiet)
    assert more is not None
    assert more.taps == (4, 5)  # who reads the first one finds it still
    assert mirror_store(remote, tmp_path / "other", taps=(3, 5), say=quiet) is None


@pytest.mark.seconds
def test_an_interrupted_putting_is_no_store_and_goes_on_where_it_stopped(store, remote, tmp_path):
    put(store, remote)
    remote.delete("manifest.json")
    (name, *kept) = sorted((remote / "files").sizes())
    (remote / "files").delete(name)
    assert mirror_store(remote, tmp_path / "copy", taps=store.taps, say=quiet) is None
    assert put(store, remote) == [f"putting the features on {remote}: 1 file"]
    assert sorted((remote / "files").sizes()) == [name, *kept]
    assert mirror_store(remote, tmp_path / "copy", taps=store.taps, say=quiet) is not None


def test_damaged_and_missing_files_are_refused_and_leave_no_store(store, remote, tmp_path):
    put(store, remote)
    name, size = next((name, size) for name, size in (remote / "files").sizes().items())
    (remote / "files").write(name, b"\0" * size)
    for words in ("must have its name's checksum", "must hold files/"):
        with pytest.raises(UserError, match=words):
            mirror_store(remote, tmp_path / "copy", taps=store.taps, say=quiet)
        assert not (tmp_path / "copy" / "manifest.json").exists()
        (remote / "files").delete(name)

    remote.write("manifest.json", remote.read("manifest.json").replace(b'"n": ', b'"n": 1'))
    with pytest.raises(UserError, match=f"{remote}/manifest.json must match its checksum"):
        mirror_store(remote, tmp_path / "copy", taps=store.taps, say=quiet)

    shutil.copytree(store.path, tmp_path / "damaged")
    damaged = FeatureStore.open(tmp_path / "damaged")
    shard = next(damaged.path.glob("tap-*/*.npy"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UserError, match="must have the checksum it was written with"):
        put(damaged, remote / "another")
    assert "manifest.json" not in (remote / "another").sizes()


@pytest.mark.seconds
def test_a_node_that_has_nothing_copies_the_features_of_altered_copies_of_images_too(remote, tmp_path):
    specimens = load_specimens(DEMO, cache_dir=tmp_path / "cache", n_processes=1)
    options = DataOptions(data=DEMO, cache=tmp_path / "cache", workers=1, features=remote)
    request = request_for(options, specimens, n_blocks=(1,), n_copies=1, device="cpu")
    features = make_features(request, on_ray=False, tell=lambda _: None)
    frame = specimens.frame
    data = StudyData(specimens=specimens, split=make_split(frame, holdout="both", fold=0, seed=0), floors={})
    write_trial_data(data, features, tmp_path / "data")
    shutil.rmtree(tmp_path / "cache" / "features")

    found = TrialData.load(tmp_path / "data", copy_features=True)

    assert features.n_extracted == 2 * found.store.n
    assert [store.n for store in found.copies] == [found.store.n]
    assert rows(found.copies[0], 5) != rows(found.store, 5)
    assert found.copies[0].path == features.copies[0].path
