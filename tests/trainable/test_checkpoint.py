import json
import os
from pathlib import Path

import pytest
import torch

from trainable.training.checkpoint import CheckpointPace, load_checkpoint, load_latest, save_checkpoint


def make_state(epoch: int) -> dict:
    generator = torch.Generator().manual_seed(epoch)
    return {
        "tensors": {
            "trained/a": torch.randn(3, 4, generator=generator),
            "optimizer/a/step": torch.tensor(float(epoch)),
            "best/é": torch.randn(2, generator=generator).half(),
            "empty": torch.zeros(0),
        },
        "values": {"epoch": epoch, "history": [{"score/all": 0.1 + 0.2, "r2_id/SPEI_1y": float("-inf")}]},
    }


def same(a: dict, b: dict) -> bool:
    tensors = a["tensors"].keys() == b["tensors"].keys() and all(
        torch.equal(a["tensors"][name], b["tensors"][name]) and a["tensors"][name].dtype == b["tensors"][name].dtype
        for name in a["tensors"]
    )
    return tensors and a["values"] == b["values"]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_is_saved_comes_back_to_the_bit(tmp_path):
    file = save_checkpoint(tmp_path / "new", make_state(12))

    loaded, skipped = load_latest(tmp_path / "new")

    assert file.name == "epoch-000012.safetensors"
    assert skipped == []
    assert same(loaded, make_state(12))


def test_the_newest_are_kept(tmp_path):
    for epoch in (1, 2, 3, 9, 10):
        save_checkpoint(tmp_path, make_state(epoch), keep=2)

    assert names(tmp_path) == ["epoch-000009.safetensors", "epoch-000010.safetensors"]
    assert load_latest(tmp_path)[0]["values"]["epoch"] == 10


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path):
    assert load_latest(tmp_path) == (None, [])
    assert load_latest(tmp_path / "missing") == (None, [])


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def damage_flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def damage_values(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'\\"epoch\\": 2', b'\\"epoch\\": 7'))


def damage_empty(file: Path) -> None:
    file.write_bytes(b"")


def damage_foreign(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, file)


def damage_newer(file: Path) -> None:
    from safetensors.torch import save_file

    values = json.dumps({"epoch": 2})
    save_file({"a": torch.zeros(2)}, file, metadata={"format_version": "2", "values": values, "sha256": "0"})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_truncate, "not a whole safetensors file"),
        (damage_flip, "checksum"),
        (damage_values, "checksum"),
        (damage_empty, "not a whole safetensors file"),
        (damage_foreign, "not a checkpoint of a trial"),
        (damage_newer, "format version 2 is newer than 1"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_reported(damage, reason, tmp_path):
    save_checkpoint(tmp_path, make_state(1))
    newest = save_checkpoint(tmp_path, make_state(2))
    before = newest.read_bytes()
    damage(newest)
    assert newest.read_bytes() != before

    loaded, skipped = load_latest(tmp_path)

    assert same(loaded, make_state(1))
    assert len(skipped) == 1
    assert str(newest) in skipped[0]
    assert reason in skipped[0]
    with pytest.raises(ValueError, match=reason):
        load_checkpoint(newest)


def test_a_half_written_file_is_never_taken_and_is_cleared_later(tmp_path):
    save_checkpoint(tmp_path, make_state(1))
    (tmp_path / ".epoch-000002.safetensors.999.partial").write_bytes(b"half")

    assert load_latest(tmp_path)[0]["values"]["epoch"] == 1
    save_checkpoint(tmp_path, make_state(2))
    assert names(tmp_path) == ["epoch-000001.safetensors", "epoch-000002.safetensors"]


def test_saving_the_same_epoch_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, make_state(3))
    other = make_state(3)
    other["tensors"]["trained/a"] += 1
    save_checkpoint(tmp_path, other)

    assert same(load_latest(tmp_path)[0], other)


def test_checkpoints_take_a_twentieth_of_the_time():
    now = 100.0
    pace = CheckpointPace(clock=lambda: now)
    written = []
    for epoch in range(1, 2001):
        now += 0.125
        if pace.is_due():
            with pace.writing():
                now += 0.0625
            written.append(epoch)

    assert written[:3] == [1, 11, 21]  # the first one costs what it costs, the 1.25 s after it pay for the next
    assert len(written) * 0.0625 <= 0.05 * (now - 100.0)
