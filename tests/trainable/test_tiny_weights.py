"""The weights that ship for `tiny`: as they were released, or refused; and what `tiny` was called before."""

import shutil
from pathlib import Path

import pytest

from trainable.errors import UserError
from trainable.frozen.backbone import load_backbone
from trainable.frozen.model_folder import RANDOM_TINY, name_now
from trainable.frozen.tiny_weights import CHECKSUM_NAME, TINY_FOLDER, WEIGHTS_NAME, read_tiny_state


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_FOLDER, tmp_path / "tiny"))


def read(folder: Path) -> None:
    read_tiny_state(load_backbone("tiny:random").visual.state_dict(), folder)


def test_they_are_small_and_have_a_card() -> None:
    assert (TINY_FOLDER / WEIGHTS_NAME).stat().st_size < 3_000_000
    card = (TINY_FOLDER / "README.md").read_text(encoding="utf-8")
    assert "No label of drought (SPEI) was read" in " ".join(card.split())
    assert "n worlds" in card


def test_a_changed_bit_is_refused(copy: Path) -> None:
    read(copy)
    content = bytearray((copy / WEIGHTS_NAME).read_bytes())
    content[-1000] ^= 1
    (copy / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(
        UserError, match=r"must have the sha256 .* that it was released with, but has .*; install again"
    ):
        read(copy)


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CHECKSUM_NAME])
def test_a_file_that_is_missing_or_empty_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"")
    with pytest.raises(UserError, match="install again"):
        read(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match="install again"):
        read(copy)


def test_tiny_of_before_is_known_by_its_fingerprint() -> None:
    random = load_backbone("tiny:random")
    assert random.fingerprint == RANDOM_TINY
    assert name_now("tiny", RANDOM_TINY) == name_now("tiny:random", RANDOM_TINY) == "tiny:random"
    assert name_now("tiny", load_backbone("tiny").fingerprint) == "tiny"
    assert name_now("local-dir:a", RANDOM_TINY) == "local-dir:a"
