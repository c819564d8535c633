"""The feature store: extracted once, whatever is killed, filled up, damaged or started twice; read back exactly."""

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save, save_file

from tests.trainable.rounding import (
    TINY_TERMS,
    assert_rounded,
    assert_stored_in_half,
    error,
    forward_terms,
    input_bound,
    rounding_bound,
    taps_in_float64,
)
from trainable.data.decoding import decode
from trainable.errors import UserError
from trainable.frozen import verification
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.extract import ExtractionPlan, extract, extract_shards, make_plan, seal, shards_missing
from trainable.frozen.features import FeatureStore, store_path
from trainable.frozen.shards import shard_path
from trainable.frozen.tail_weights import ALIGNMENT, read_tail_weights
from trainable.frozen.verification import DamagedFeatures

N = 40
TAPS = (2, 4, 5)
ROOT = Path(__file__).parents[2]


class EncodedImages:
    """Drawn images of several sizes, PNG and JPEG, held in memory."""

    def __init__(self, n: int, *, side: int = 70) -> None:
        self.encoded = [self._draw(row, side) for row in range(n)]

    def __len__(self) -> int:
        return len(self.encoded)

    def read(self, indices: Sequence[int]) -> list[bytes]:
        return [self.encoded[i] for i in indices]

    @staticmethod
    def _draw(row: int, side: int) -> bytes:
        rng = np.random.default_rng(row)
        coarse = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((side + row % 5, side)).save(buffer, "PNG" if row % 2 else "JPEG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module")
def images() -> EncodedImages:
    return EncodedImages(N)


def run_extract(backbone: Backbone, images: EncodedImages, cache_dir: Path, **options) -> FeatureStore:
    options = {"data_fingerprint": "d" * 64, "taps": TAPS, "n_processes": 0, "batch_size": 3} | options
    return extract(backbone, images, cache_dir=cache_dir, **options)


@pytest.fixture(scope="module")
def store(tiny: Backbone, images: EncodedImages, tmp_path_factory) -> FeatureStore:
    return run_extract(tiny, images, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def own_store(store: FeatureStore, tmp_path: Path) -> FeatureStore:
    """A copy to damage, where `run_extract(..., tmp_path)` looks for it."""
    path = tmp_path / "features" / store.path.name
    shutil.copytree(store.path, path)
    return FeatureStore.open(path)


def compute_fresh(backbone: Backbone, images: EncodedImages, rows: Sequence[int], tap: int) -> torch.Tensor:
    return backbone.forward_taps(pixels_of(backbone, images, rows), [tap])[tap]


def pixels_of(backbone: Backbone, images: EncodedImages, rows: Sequence[int]) -> torch.Tensor:
    decoded = np.stack([decode(encoded, backbone.transform.image_size) for encoded in images.read(rows)])
    return backbone.transform.normalize(torch.from_numpy(decoded))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.rounding
@pytest.mark.parametrize("tap", TAPS)
def test_cached_features_equal_fresh_ones_within_half_precision(store, tiny, images, tap: int) -> None:
    exact = taps_in_float64(tiny, pixels_of(tiny, images, range(N)), [tap])[tap]
    assert store.dtype(tap) == torch.float16
    assert_stored_in_half(store.gather(tap, np.arange(N)), exact, TINY_TERMS)


def test_the_store_cuts_its_data_into_several_shards(store) -> None:
    assert store.n == N
    assert store.taps == TAPS
    assert 4 <= -(-N // store.rows_per_shard) <= 40


def test_gather_gives_rows_in_the_order_asked(store) -> None:
    everything = store.gather(4, np.arange(N))
    for rows in ([], [3], [0, 1, 2], [39, 0, 39, 7, 7, 20], np.random.default_rng(0).permutation(N)):
        rows = np.array(rows, dtype=np.int64)
        assert torch.equal(store.gather(4, rows), everything[rows])


def test_gather_refuses_rows_and_taps_that_there_are_not(store) -> None:
    with pytest.raises(IndexError, match="0 <= index < 40"):
        store.gather(2, np.array([40]))
    with pytest.raises(IndexError, match="but got -1 to -1"):
        store.gather(2, np.array([-1]))
    with pytest.raises(UserError, match="it holds 2, 4, 5"):
        store.gather(3, np.array([0]))


@pytest.mark.rounding
def test_channel_std_is_that_of_all_stored_values(store) -> None:
    for tap in TAPS:
        values = store.gather(tap, np.arange(N)).double()
        n_terms = 2 * values[..., 0].numel()  # the mean, then the squares about it
        assert_rounded(store.channel_std(tap), values.std(dim=(0, 1), correction=0), n_terms)


def test_tail_state_equals_the_backbones(store, tiny) -> None:
    for n_blocks in range(5):
        expected, found = tiny.tail_state(n_blocks), store.tail_state(n_blocks)
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    with pytest.raises(UserError, match=r"tail\.n_blocks <= 4 must hold .* but got 5"):
        store.tail_state(5)


def test_tail_weights_round_alike_whichever_taps_lie_beside_them(own_store, tiny, images, tmp_path: Path) -> None:
    """A product of one row rounds by where its weights begin, which the names of further blocks move in a file."""
    grown = run_extract(tiny, images, tmp_path, taps=[1])
    as_safetensors_has_it = save(tiny.tail_state(5))
    file = tmp_path / "store of before" / "tail-from-01.safetensors"
    file.parent.mkdir()
    file.write_bytes(as_safetensors_has_it)
    begin = 8 + int.from_bytes(as_safetensors_has_it[:8], "little")
    states = [own_store.tail_state(4), grown.tail_state(4), read_tail_weights(file, 2)]
    row = torch.rand(1, tiny.architecture.width, generator=torch.Generator().manual_seed(0))

    assert begin % ALIGNMENT  # else nothing is shown
    assert all(value.data_ptr() % ALIGNMENT == 0 for state in states for value in state.values())
    products = [
        (row @ state["proj"], F.linear(row, state["transformer.resblocks.5.mlp.c_fc.weight"])) for state in states
    ]
    for found in products[1:]:
        assert all(torch.equal(*pair) for pair in zip(found, products[0], strict=True))


def test_best_tap_is_the_deepest_that_is_not_too_deep(store) -> None:
    assert [store.best_tap(n_frozen) for n_frozen in (2, 3, 4, 5, 6)] == [2, 2, 4, 5, 5]
    with pytest.raises(UserError, match=r"tail\.n_blocks <= 4"):
        store.best_tap(1)


def test_a_store_sent_to_another_process_is_its_path(store) -> None:
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert torch.equal(pickle.loads(sent).gather(4, np.array([1])), store.gather(4, np.array([1])))  # noqa: S301


def test_a_second_extraction_does_nothing(store, tiny, images) -> None:
    before = {f: f.stat().st_mtime_ns for f in store.path.rglob("*")}
    calls: list[tuple[int, int]] = []
    again = run_extract(tiny, images, store.path.parents[1], progress=lambda *call: calls.append(call), taps=[4])
    assert calls == []
    assert again.taps == TAPS
    assert {f: f.stat().st_mtime_ns for f in store.path.rglob("*")} == before


def test_progress_counts_specimens_to_the_end(tiny, images, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    run_extract(tiny, images, tmp_path, progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done[0] == 0
    assert done[-1] == N
    assert done == sorted(done)
    assert len(done) > 10
    assert {call[1] for call in calls} == {N}


def test_further_taps_are_added_without_touching_the_others(own_store, tiny, images, tmp_path: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in own_store.path.glob("tap-*/*")}
    grown = run_extract(tiny, images, tmp_path, taps=[1, 5, 6])
    assert grown.taps == (1, 2, 4, 5, 6)
    assert all(f.stat().st_mtime_ns == stamp for f, stamp in before.items())
    assert grown.tail_state(5).keys() == tiny.tail_state(5).keys()
    assert torch.equal(own_store.gather(4, np.arange(N)), grown.gather(4, np.arange(N)))
    own_store.tail_state(4)  # who had it open before still reads it
    at_once = run_extract(tiny, images, tmp_path / "at-once", taps=[1, 2, 4, 5, 6])
    for tap in at_once.taps:
        assert torch.equal(at_once.gather(tap, np.arange(N)), grown.gather(tap, np.arange(N)))


def test_several_workers_may_share_the_shards(store, tiny, images, tmp_path: Path) -> None:
    path = tmp_path / "features" / store.path.name
    plan = make_plan(path, backbone=tiny, data_fingerprint="d" * 64, n=N, taps=TAPS, batch_size=3)
    missing = shards_missing(plan)
    assert missing == list(range(plan.n_shards))
    with pytest.raises(UserError, match="lacks"):
        seal(plan, backbone=tiny)
    for share in (missing[1::2], missing[::2]):
        extract_shards(plan, share, backbone=tiny, images=images, n_processes=0, batch_size=3)
    seal(plan, backbone=tiny)
    assert contents(path) == contents(store.path)


NEIGHBOUR = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
import test_features as t
backbone, images = t.load_backbone("tiny"), t.EncodedImages(t.N)
for line in sys.stdin:
    folder, kill_at = line.split()
    def progress(done, total):
        if done == 0:
            print("locked", flush=True)
            sys.stdin.readline()
        if done >= int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
    t.run_extract(backbone, images, Path(folder), progress=progress)
    print("finished", flush=True)
"""


class Neighbour:
    """Another process that extracts what this one extracts."""

    def __init__(self) -> None:
        code = NEIGHBOUR.format(tests=str(ROOT / "tests" / "trainable"), root=str(ROOT))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)

    def start_extraction(self, folder: Path, *, kill_at: int = N + 1) -> None:
        """Returns when it holds the store's lock and waits; it will kill itself after `kill_at` specimens."""
        self.tell(f"{folder} {kill_at}")
        assert self.process.stdout.readline() == "locked\n"

    def tell(self, line: str = "go on") -> None:
        print(line, file=self.process.stdin, flush=True)


@pytest.fixture(scope="module")
def neighbour():
    """Started once, because it takes seconds; the test that kills it comes last."""
    neighbour = Neighbour()
    yield neighbour
    neighbour.process.kill()
    neighbour.process.communicate()


@pytest.mark.slow
def test_two_searches_at_once_extract_once(store, tiny, images, tmp_path: Path, neighbour: Neighbour) -> None:
    neighbour.start_extraction(tmp_path)
    with pytest.raises(UserError, match="must be a finished feature store"):
        FeatureStore.open(store_path(tmp_path, backbone=tiny, specimens_fingerprint="d" * 64))
    messages: list[str] = []
    calls: list[tuple[int, int]] = []

    def on_wait(message: str) -> None:
        messages.append(message)
        neighbour.tell()

    second = run_extract(tiny, images, tmp_path, progress=lambda *call: calls.append(call), on_wait=on_wait)
    assert neighbour.process.stdout.readline() == "finished\n"
    assert calls == []
    assert len(messages) == 1
    assert "another process is extracting" in messages[0]
    assert contents(second.path) == contents(store.path)


@pytest.mark.slow
def test_killed_while_another_waits_and_resumed_equals_uninterrupted(
    store, tiny, images, tmp_path: Path, neighbour: Neighbour
) -> None:
    neighbour.start_extraction(tmp_path, kill_at=20)
    calls: list[tuple[int, int]] = []
    resumed = run_extract(
        tiny, images, tmp_path, progress=lambda *call: calls.append(call), on_wait=lambda _: neighbour.tell()
    )
    assert neighbour.process.wait() == -signal.SIGKILL
    assert 0 < calls[0][0] <= 20  # whole shards of the killed one were kept
    assert contents(resumed.path) == contents(store.path)


@pytest.mark.seconds
def test_decoding_processes_give_the_same_store(store, tiny, images, tmp_path: Path, monkeypatch) -> None:
    # decoding processes import the images' class, so it must be in a module of its own
    (tmp_path / "image_files.py").write_text(
        "class ImageFiles:\n"
        "    def __init__(self, files): self.files = files\n"
        "    def __len__(self): return len(self.files)\n"
        "    def read(self, indices): return [self.files[i].read_bytes() for i in indices]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from image_files import ImageFiles

    files = [tmp_path / f"{row}.image" for row in range(N)]
    for file, encoded in zip(files, images.encoded, strict=True):
        file.write_bytes(encoded)
    assert contents(run_extract(tiny, ImageFiles(files), tmp_path, n_processes=2).path) == contents(store.path)
    files[25].write_bytes(b"no image")
    with pytest.raises(UserError, match="the image of specimen 25 must be readable"):
        run_extract(tiny, ImageFiles(files), tmp_path / "broken", n_processes=2)


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_damaged_shard_is_found_and_extracted_anew(own_store, store, tiny, images, tmp_path: Path) -> None:
    damaged = shard_path(own_store.path, 4, 3)
    flip_a_byte(damaged)
    with pytest.raises(DamagedFeatures, match=r"shard-00003\.npy must have the sha256 .* delete this file") as caught:
        FeatureStore.open(own_store.path)
    assert len(caught.value.problems) == 1
    with pytest.raises(DamagedFeatures):
        run_extract(tiny, images, tmp_path)
    calls: list[tuple[int, int]] = []
    mended = run_extract(tiny, images, tmp_path, verify=True, progress=lambda *call: calls.append(call))
    assert calls[0] == (N - mended.rows_per_shard, N)
    assert contents(FeatureStore.open(mended.path).path) == contents(store.path)


@pytest.mark.parametrize("harm", ["truncate", "delete"])
def test_a_cut_or_missing_shard_is_refused_and_extracted_anew(
    own_store, store, tiny, images, tmp_path: Path, harm: str
) -> None:
    file = shard_path(own_store.path, 5, 0)
    if harm == "delete":
        file.unlink()
    else:
        os.truncate(file, 1000)
    with pytest.raises(UserError, match=r"shard-00000.npy must .* but (is missing|has 1000)") as caught:
        FeatureStore.open(own_store.path)
    assert "run the same command again" in str(caught.value)
    assert contents(run_extract(tiny, images, tmp_path).path) == contents(store.path)


def test_damaged_tail_weights_are_found(own_store) -> None:
    flip_a_byte(own_store.path / "tail-from-02.safetensors")
    with pytest.raises(DamagedFeatures, match=r"tail-from-02\.safetensors must have the sha256"):
        FeatureStore.open(own_store.path)


def test_a_flipped_bit_is_found_whatever_the_files_times_say(own_store) -> None:
    file = shard_path(own_store.path, 2, 1)
    before = file.stat()
    flip_a_byte(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(DamagedFeatures, match=r"shard-00001\.npy must have the sha256"):
        FeatureStore.open(own_store.path)


def test_files_found_right_are_not_read_again_by_other_processes(own_store) -> None:
    mark = own_store.path.with_name(f"{own_store.path.name}.verified.json")
    right = json.loads(mark.read_bytes())
    assert len(right) == len(list(own_store.path.glob("tap-*/*.npy"))) + 1  # and the tail's weights

    def n_read() -> int:
        verification._sha256.cache_clear()  # as in another process
        FeatureStore.open(own_store.path)
        return verification._sha256.cache_info().misses

    assert n_read() == 0
    shard_path(own_store.path, 4, 0).touch()
    assert n_read() == 1
    assert n_read() == 0
    mark.write_bytes(b"damaged")
    assert n_read() == len(right)
    assert json.loads(mark.read_bytes()).keys() == right.keys()


def test_where_the_mark_cannot_be_written_each_process_reads_for_itself(own_store) -> None:
    mark = own_store.path.with_name(f"{own_store.path.name}.verified.json")
    mark.unlink()
    mark.mkdir()
    verification._sha256.cache_clear()
    for _ in range(2):
        FeatureStore.open(own_store.path)
    assert verification._sha256.cache_info().misses == len(list(own_store.path.glob("tap-*/*.npy"))) + 1


def test_a_shard_whose_record_is_damaged_is_extracted_anew(own_store, store, tiny, images, tmp_path: Path) -> None:
    (own_store.path / "manifest.json").unlink()
    record = shard_path(own_store.path, 4, 2).with_suffix(".json")
    record.write_bytes(record.read_bytes().replace(b'"count": ', b'"count": 1'))
    assert shards_missing(lay_out_again(tiny, own_store.path)) == [2]
    assert contents(run_extract(tiny, images, tmp_path).path) == contents(store.path)


def test_a_damaged_plan_is_refused_with_what_helps(own_store, tiny) -> None:
    plan = own_store.path / "plan.json"
    plan.write_bytes(plan.read_bytes().replace(b'"rows_per_shard": ', b'"rows_per_shard": 1'))
    with pytest.raises(UserError, match=r"plan\.json must be .* its sha256 must be .* delete the folder"):
        lay_out_again(tiny, own_store.path)


@pytest.mark.parametrize("altered", [{"n": "6"}, {"rows_per_shard": 0}, {"rows_per_shard": 2.5}, {"identity": []}])
def test_a_plan_with_a_value_that_cannot_be_is_refused(own_store, tiny, altered) -> None:
    plan = own_store.path / "plan.json"
    values = {name: value for name, value in json.loads(plan.read_bytes()).items() if name != "checksum"}
    plan.write_text(json.dumps(values | altered))  # as before there were checksums
    (name,) = altered
    with pytest.raises(UserError, match=rf"plan\.json must be .*`plan\.{name}` must be .* delete the folder"):
        lay_out_again(tiny, own_store.path)


def lay_out_again(backbone: Backbone, path: Path) -> ExtractionPlan:
    return make_plan(path, backbone=backbone, data_fingerprint="d" * 64, n=N, taps=TAPS, batch_size=3)


def test_a_damaged_manifest_is_refused_and_written_anew(own_store, store, tiny, images, tmp_path: Path) -> None:
    manifest = own_store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"n": 40', '"n": 41'))
    with pytest.raises(UserError, match="must match its checksum"):
        FeatureStore.open(own_store.path)
    assert contents(run_extract(tiny, images, tmp_path).path) == contents(store.path)


def test_a_store_of_something_else_is_refused_with_both_values(own_store, tiny, images, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"must have key abc, but has {own_store.key}"):
        FeatureStore.open(own_store.path, key="abc")
    (own_store.path / "manifest.json").unlink()
    other_place = store_path(tmp_path, backbone=tiny, specimens_fingerprint="e" * 64)
    own_store.path.rename(other_place)
    with pytest.raises(UserError, match=f"`data` of the feature store .* must be '{'e' * 64}', but is '{'d' * 64}'"):
        run_extract(tiny, images, tmp_path, data_fingerprint="e" * 64)


def test_the_key_tells_backbones_transforms_and_data_apart(tiny) -> None:
    def path(backbone: Backbone, data: str) -> Path:
        return store_path(Path("cache"), backbone=backbone, specimens_fingerprint=data)

    others = [
        path(tiny, "other"),
        path(replace(tiny, fingerprint="0"), "data"),
        path(replace(tiny, transform=replace(tiny.transform, interpolation="bilinear")), "data"),
        path(replace(tiny, architecture=replace(tiny.architecture, quick_gelu=True)), "data"),
    ]
    assert len({path(tiny, "data"), *others}) == 5


def test_too_little_disk_is_told_before_the_first_image(tiny, images, tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**19))
    calls: list[tuple[int, int]] = []
    with pytest.raises(UserError, match=r"must have 51\d\.\d KiB free .* but has 51\d\.\d KiB"):
        run_extract(tiny, images, tmp_path, progress=lambda *call: calls.append(call))
    assert calls == []


def test_no_specimens_is_an_error(tiny, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one specimen"):
        run_extract(tiny, EncodedImages(0), tmp_path)


def test_one_specimen_is_enough(tiny, images, tmp_path: Path) -> None:
    store = run_extract(tiny, EncodedImages(1), tmp_path)
    exact = taps_in_float64(tiny, pixels_of(tiny, images, [0]), [4])[4]
    assert_stored_in_half(store.gather(4, np.array([0])), exact, TINY_TERMS)


def test_an_image_that_cannot_be_decoded_is_named(tiny, tmp_path: Path) -> None:
    broken = EncodedImages(N)
    broken.encoded[17] = b"no image"
    with pytest.raises(UserError, match="the image of specimen 17 must be readable"):
        run_extract(tiny, broken, tmp_path)


def write_bright_sensitive_model(folder: Path) -> Backbone:
    """A tower without norms in its stem, whose first blocks overflow half precision on images that are not grey."""
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "no_ln_pre": True}
    text = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = open_clip.CLIP(**config).state_dict()
    weights["visual.conv1.weight"] *= 1e6
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "open_clip_model.safetensors")
    return load_backbone(f"local-dir:{folder}")


def test_a_shard_that_overflows_half_precision_is_kept_in_float32(tmp_path: Path) -> None:
    backbone = write_bright_sensitive_model(tmp_path)
    mean_grey = np.round(255 * np.array(backbone.transform.mean)).astype(np.uint8)
    images = EncodedImages(16)
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(mean_grey, (32, 32, 3)).copy()).save(buffer, "PNG")
    images.encoded[:8] = [buffer.getvalue()] * 8
    store = run_extract(backbone, images, tmp_path, taps=[0, 1], batch_size=2)
    assert store.rows_per_shard == 2
    FeatureStore.open(store.path)
    for tap in (0, 1):
        assert store.dtype(tap) == torch.float32
        assert store.gather(tap, np.array([0, 7])).dtype == torch.float32
        fresh = compute_fresh(backbone, images, [12, 13], tap)
        assert fresh.abs().max() > 65504
        assert torch.equal(store.gather(tap, np.array([12, 13])), fresh)  # a batch of the pass, computed as there
        values = store.gather(tap, np.arange(16)).double()
        assert_rounded(store.channel_std(tap), values.std(dim=(0, 1), correction=0), 2 * values[..., 0].numel())


def test_features_that_are_not_finite_at_all_are_an_error(tmp_path: Path) -> None:
    backbone = write_bright_sensitive_model(tmp_path)
    backbone.visual.transformer.resblocks[0].mlp.c_proj.bias.data[3] = float("nan")
    with pytest.raises(UserError, match="features must be finite, but those of specimen 0 at tap 1 are not"):
        run_extract(backbone, EncodedImages(4), tmp_path, taps=[0, 1])


@pytest.mark.slow
def test_vit_l_14_is_extracted_from_a_local_folder(tmp_path: Path) -> None:
    """BioCLIP 2's architecture with random weights: two images, the taps of one and two trainable blocks."""
    n = 2
    config = open_clip.get_model_config("ViT-L-14")
    text = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], text).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")

    backbone, images = load_backbone(f"local-dir:{tmp_path}"), EncodedImages(n, side=300)
    store = run_extract(backbone, images, tmp_path, taps=[22, 23], batch_size=None)
    FeatureStore.open(store.path)
    assert store.architecture.n_tokens == 257
    assert store.gather(23, np.arange(n)).nbytes == n * 526_336
    n_bytes = sum(f.stat().st_size for f in store.path.glob("tap-*/*"))
    assert n_bytes <= 1.05 * 2 * n * 526_336  # records weigh most when shards are as small as here
    exact = taps_in_float64(backbone, pixels_of(backbone, images, [1]), [22])[22]
    assert_stored_in_half(store.gather(22, np.array([1])), exact, forward_terms(backbone.architecture, 22))
    with torch.inference_mode():
        stream = store.gather(23, np.array([1])).float()
        last = model.visual.transformer.resblocks[23](stream)
        pooled = model.visual.ln_post(last)[:, 0] @ store.tail_state(1)["proj"]
        whole = model.visual.double()(pixels_of(backbone, images, [1]).double())
    assert error(pooled, whole) <= input_bound(torch.float16) + rounding_bound(forward_terms(backbone.architecture, 24))
