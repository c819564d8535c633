"""Flipped bits in all that a search, its features and its models store: named, or without effect on anything used.

Some six hundred single bits, drawn from a fixed seed. Nearly all are read in this process, by what a command reads them
with; some by the command itself.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Cli
from tests.tune.plain_entries import read_plain
from trainable.checksums import from_json
from trainable.data.image_checks import check_images
from trainable.data.specimens import Specimens, load_specimens
from trainable.errors import UserError
from trainable.export.standalone import ExportedModel, ModelFolderError
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.extract import extract
from trainable.frozen.features import FeatureStore
from trainable.frozen.model_folder import CONFIG_NAME
from trainable.training.checkpoint import load_latest
from trainable.training.trial_data import TrialData
from tune.confirming.outcome import confirmed_of, out_of_fold_of
from tune.confirming.runs import Confirmation
from tune.confirming.verdict import judge
from tune.journal.entries import study_of
from tune.journal.journal import FILE_NAME, read_entries
from tune.models.champion import read_evidence
from tune.models.retrain_folder import check_folder
from tune.report.study_status import read_status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20_261_129
ENDS = 512
"""Bytes at a file's beginning and end, headers and checksums among them, that every third flip is drawn from."""


@contextmanager
def flipped(file: Path, rng: np.random.Generator) -> Iterator[str]:
    """Within the block one bit of the file is another one; yields which, for messages."""
    content = file.read_bytes()
    span = len(content)
    byte = int(rng.integers(span))
    if rng.random() < 1 / 3:
        byte = int(rng.integers(min(ENDS, span))) * int(rng.choice([1, -1])) % span
    bit = int(rng.integers(8))
    altered = bytearray(content)
    altered[byte] ^= 1 << bit
    file.write_bytes(altered)
    try:
        yield f"{file}, byte {byte} of {span}, bit {bit}"
    finally:
        file.write_bytes(content)


def outcome(read: Callable[[], Any], which: str) -> tuple[Any, tuple[str, ...]]:
    """What was read, or the lines in which a command would refuse it; anything else is a traceback."""
    try:
        return read(), ()
    except (UserError, ModelFolderError) as error:
        return None, error.problems
    except Exception as error:
        error.add_note(which)
        raise


def check_flips(files: Sequence[Path], n: int, read: Callable[[], Any], *, named: str = "") -> int:
    """Flip n bits of the files, one at a time, and read each time; returns how many were told.

    read: gives what is used of the files, the same from unharmed ones. named: what a refusal must name, if not the
    file.
    """
    rng, wanted, n_told = np.random.default_rng(SEED), read(), 0
    for _ in range(n):
        file = files[rng.integers(len(files))]
        with flipped(file, rng) as which:
            found, problems = outcome(read, which)
        n_told += bool(problems)
        assert problems or found == wanted, which
        assert all((named or file.name) in problem and len(problem.splitlines()) == 1 for problem in problems), problems
        assert file.exists()
    return n_told


def digest(*parts: Any) -> str:
    """Of arrays, tensors and plain values."""
    found = hashlib.sha256()
    for part in parts:
        array = part.numpy() if isinstance(part, torch.Tensor) else part
        found.update(array.tobytes() if isinstance(array, np.ndarray) else repr(array).encode())
    return found.hexdigest()


def own(folder: Path) -> list[Path]:
    """All files of a folder."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def specimens(demo_cache: Path) -> Specimens:
    return load_specimens("demo:120", cache_dir=demo_cache, n_processes=1)


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module")
def study(confirmed_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to be harmed and healed."""
    return Path(shutil.copytree(confirmed_study, tmp_path_factory.mktemp("flipped") / "ground beetles"))


@pytest.fixture
def stored(confirmed_study: Path, tmp_path: Path) -> Path:
    """A copy of the study's features, in a cache of its own."""
    path = TrialData.load(confirmed_study / "data").store.path
    return Path(shutil.copytree(path, tmp_path / "features" / path.name))


@pytest.fixture
def stored_again(stored: Path, tiny: Backbone, specimens: Specimens) -> Callable[[], str]:
    """Makes features as a search does, and gives a digest of all that trials read of them."""
    taps = FeatureStore.open(stored).taps

    def make() -> str:
        extract(
            tiny, specimens.images, data_fingerprint=specimens.fingerprint, taps=taps,
            cache_dir=stored.parents[1], n_processes=0,
        )  # fmt: skip
        store = FeatureStore.open(stored)
        rows, tail = np.arange(store.n), store.tail_state(store.architecture.n_blocks - store.taps[0])
        values = [(store.gather(tap, rows), store.channel_std(tap)) for tap in store.taps]
        return digest(*(value for pair in values for value in pair), *(tail[name] for name in sorted(tail)))

    return make


def test_in_finished_features(stored: Path, stored_again: Callable[[], str]) -> None:
    files = [*stored.glob("tap-*/*.npy"), *stored.glob("*.safetensors"), stored / "manifest.json"]
    assert check_flips(files, 70, stored_again) > 50


def test_in_unfinished_features(stored: Path, stored_again: Callable[[], str]) -> None:
    """Two shards are missing; what is read is what was stored of the others."""
    manifest = stored / "manifest.json"
    missing = sorted(stored.glob("tap-*/*.json"))[::5]
    contents = {file: file.read_bytes() for file in own(stored)}

    def make() -> str:
        for file in (manifest, *missing):
            file.unlink(missing_ok=True)
        try:
            return stored_again()
        finally:
            for file, content in contents.items():
                if not file.exists() or file in missing:
                    file.write_bytes(content)

    files = [stored / "plan.json", *(file for file in stored.glob("tap-*/*") if file not in missing)]
    check_flips(files, 30, make)


def test_in_a_journal(study: Path) -> None:
    """Also in the last line's newline: it was acknowledged, so it is no torn line."""
    assert check_flips([study / FILE_NAME], 60, lambda: repr(read_plain(study))) == 60


def test_in_a_studys_data(study: Path) -> None:
    folders = [study / "data", *study.glob("data/fold-*")]

    def read() -> list[str]:
        columns = ("labels", "domain_ids", "event_ids", "site_ids", "species")
        return [
            digest(*(getattr(data, name) for name in columns), data.split, data.store.key)
            for data in (TrialData.load(folder) for folder in folders)
        ]

    assert check_flips([folder / "data.npz" for folder in folders], 60, read) > 50


def test_in_a_confirmations_predictions(study: Path) -> None:
    entries = read_entries(study)
    confirmation, wanted = Confirmation.replay(entries), confirmed_of(entries)

    def read() -> str:
        judged = judge(study, confirmation, search_fold=0, header=study_of(entries).header)
        return json.dumps(judged.confirmed.to_dict())

    assert json.loads(read())["verdict"] == wanted.verdict
    n_told = check_flips(sorted(study.glob("checkpoints/c*/predictions-*.npy")), 60, read)
    assert n_told > 60 / 3 / 2  # one epoch in three is read


def test_in_a_confirmations_forecasts(study: Path) -> None:
    confirmed = confirmed_of(read_entries(study))

    def read() -> list[dict[str, Any]]:
        return [out_of_fold_of(study, confirmed, candidate).to_dict() for candidate in confirmed.candidates]

    assert check_flips(sorted(study.glob("confirmation/*.json")), 50, read) > 40


def test_in_checkpoints_a_trial_goes_on_from_one_that_is_whole(study: Path) -> None:
    rng, n_told = np.random.default_rng(SEED), 0
    files = sorted(study.glob("checkpoints/*/epoch-*.safetensors"))

    def read(folder: Path) -> tuple[str, list[str]]:
        state, skipped = load_latest(folder)
        if state is None:
            return "", skipped
        return digest(*(state["tensors"][name] for name in sorted(state["tensors"])), state["values"]), skipped

    @cache
    def unharmed(folder: Path, *, without: str) -> str:
        (folder / without).rename(folder / "aside") if without else None
        found, _ = read(folder)
        (folder / "aside").rename(folder / without) if without else None
        return found

    for _ in range(80):
        file = files[rng.integers(len(files))]
        with flipped(file, rng) as which:
            found, skipped = read(file.parent)
        n_told += len(skipped)
        assert found == unharmed(file.parent, without=file.name if skipped else ""), which
        assert all(str(file) in reason for reason in skipped), which
    assert n_told > 20


def test_in_the_journal(study: Path) -> None:
    assert check_flips([study / "journal.jsonl"], 80, lambda: read_plain(study)) == 80


def test_in_the_end_of_an_unfinished_journal(study: Path, tmp_path: Path) -> None:
    """Of one that was killed, where the last line may also be one that was never written in full."""
    lines = (study / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines[:7]))
    assert check_flips([tmp_path / "journal.jsonl"], 40, lambda: read_plain(tmp_path)) == 40


def test_in_what_people_alone_read_of_a_study(study: Path) -> None:
    """`study.yaml` is there to read; nothing that is shown or decided comes from it."""

    def read() -> Any:
        status = read_status(study)
        return status.interval, status.verdict, status.resume_command, status.standings.best()

    assert check_flips([study / "study.yaml"], 10, read) == 0


def test_in_an_exported_model(retrained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(retrained / "model", tmp_path / "model"))
    pixels = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))

    def read() -> str:
        model = ExportedModel.load(folder)
        predictions = model.predict_pixels(pixels, [None, model.known_domains[0]])
        evidence = read_evidence((folder / "confirmation.json").read_bytes(), of=str(folder))
        return digest(
            predictions, model.forecast(predictions, ["a", "b"], [None, None]), evidence, model.config["facts"]
        )

    assert check_flips(own(folder), 70, read, named=str(folder)) > 50


def test_in_what_a_retraining_says_of_itself(retrained: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(retrained / "retrain.json", tmp_path))
    identity = from_json(file.read_bytes())
    assert check_flips([file], 15, lambda: check_folder(tmp_path, identity), named=str(tmp_path)) > 10


def test_in_what_is_known_of_images(specimens: Specimens, tmp_path: Path) -> None:
    def read() -> Any:
        return check_images(specimens.images, n_threads=1, cache_dir=tmp_path)

    read()
    (file,) = own(tmp_path)
    assert check_flips([file], 15, read) == 0  # images are looked at anew


def test_in_the_weights_of_a_backbone_its_fingerprint_is_another_one(tiny: Backbone, tmp_path: Path) -> None:
    weights = tmp_path / "open_clip_model.safetensors"
    save_file({f"visual.{name}": value for name, value in tiny.visual.state_dict().items()}, weights)
    (tmp_path / CONFIG_NAME).write_text(json.dumps({"model_cfg": tiny.model_cfg, "preprocess_cfg": {}}))
    rng = np.random.default_rng(SEED)
    wanted = load_backbone(f"local-dir:{tmp_path}").fingerprint
    n_other = 0
    for _ in range(15):
        with flipped(weights, rng) as which:
            found, problems = outcome(lambda: load_backbone(f"local-dir:{tmp_path}").fingerprint, which)
        n_other += found != wanted
        assert all(weights.name in problem for problem in problems), which
    assert n_other > 10


def flip(file: Path, byte: int) -> None:
    altered = bytearray(file.read_bytes())
    altered[byte] ^= 4
    file.write_bytes(altered)


def test_a_search_on_damaged_features_ends_before_it_begins(cli: Cli, stored: Path, tmp_path: Path) -> None:
    file = sorted(stored.glob("tap-*/*.npy"))[1]
    flip(file, -100)
    ended = cli(
        "search", "--local", "--no-confirm", "--data", "demo:120", "--space", "smoke", "--trials", 1, "--epochs", 1,
        "--workers", 1, "--cache", tmp_path, "--study", tmp_path / "study",
    )  # fmt: skip
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]

    assert (ended.status, ended.stdout, (tmp_path / "study").exists()) == (2, "", False)
    assert re.search(rf"{file} must have the sha256 it was written with, [0-9a-f]{{64}}, but has [0-9a-f]{{64}}", line)
    file.unlink()  # as the line says
    mended = cli("extract", "--local", "--data", "demo:120", "--space", "smoke", "--workers", 1, "--cache", tmp_path)
    assert mended.status == 0, mended.stderr
    assert file.exists()


def test_an_unfinished_study_with_a_damaged_checkpoint_comes_to_the_same_end(
    cli: Cli, finished_study: Path, tracking_uri: str, tmp_path: Path
) -> None:
    """The journal is cut where a killed process would have left it, before the last epoch of the last trial."""
    study = Path(shutil.copytree(finished_study, tmp_path / "study"))
    entries = read_plain(study)
    *_, last = [i for i, entry in enumerate(entries) if entry["event"] == "report"]
    lines = (study / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (study / "journal.jsonl").write_bytes(b"".join(lines[:last]))
    trial = entries[last]["trial"]
    newest = max(study.glob(f"checkpoints/{trial}/*.safetensors"))
    flip(newest, newest.stat().st_size // 2)
    ended = cli("search", "--resume", study, "--local", "--workers", 1, "--tracking-uri", tracking_uri)

    assert ended.status == 0, ended.stderr
    assert f"{trial}: passed over a damaged checkpoint: {newest}: its checksum does not match" in ended.stderr
    assert scores(read_plain(study)) == scores(entries)


def scores(entries: list[dict[str, Any]]) -> dict[tuple[str, int], float]:
    return {(e["trial"], e["epoch"]): e["metrics"]["score/all"] for e in entries if e["event"] == "report"}


def test_commands_refuse_damaged_models_and_forecasts(cli: Cli, study: Path, retrained: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(retrained / "model", tmp_path / "model"))
    flip(model / "model.safetensors", -1000)
    for words in (["evaluate", model, "--data", "demo:120"], ["export", model, "--submission", tmp_path / "out"]):
        ended = cli(*words)
        assert (ended.status, ended.stdout) == (2, ""), ended.stderr
        assert f"{model / 'model.safetensors'} must be as it was exported" in ended.stderr
    damaged = tmp_path / "study"
    shutil.copytree(study, damaged, ignore=shutil.ignore_patterns("checkpoints"))
    for file in damaged.glob("confirmation/*.json"):
        flip(file, -200)
    ended = cli("retrain", damaged, "--workers", 1, "--out", tmp_path / "retrained", "--no-register")
    assert (ended.status, ended.stdout, (tmp_path / "retrained").exists()) == (2, "", False)
    assert "must hold the forecasts of" in ended.stderr
