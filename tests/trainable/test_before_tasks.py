"""The name of the challenge's data has not moved since there was no other task: old stores, studies, models fit."""

import struct
from pathlib import Path

from trainable.data.specimens import load_specimens

FINGERPRINT = "3d40fd74520876a2387d2b3a7fa2a8b2183631ba48c9c86630d91630caa19a7b"
"""Of the data below, by the program as it was when all data were the challenge's."""

HEADER = "file_name,eventID,domainID,siteID,scientificName,collectDate,public_id,SPEI_30d,SPEI_1y,SPEI_2y"
SIDE = 8


def bitmap(shade: int) -> bytes:
    """A photograph whose bytes no library's encoder has a say in."""
    places = [(x, y) for y in range(SIDE) for x in range(SIDE)]
    pixels = b"".join(bytes([(shade + 7 * x) % 256, (3 * shade + x) % 256, (x * y) % 256]) for x, y in places)
    head = struct.pack("<IHHI", 54 + len(pixels), 0, 0, 54)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 2835, 2835, 0, 0) + pixels


def write_beetles(folder: Path) -> None:
    lines = [HEADER]
    for row in range(16):
        event, name = row // 2, ["Amara", "Carabus nemoralis", ""][row % 3]
        (folder / f"{row}.bmp").write_bytes(bitmap(row))
        labels = f"{0.25 * event - 1},{1.5 - 0.3 * event:.2f},{-0.1 * event}"
        groups = f"{100 + event},{event // 2},S{event // 2}"
        lines.append(f"{row}.bmp,{groups},{name},2019-06-{1 + event:02d},P{row},{labels}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_challenges_data_have_the_fingerprint_that_they_always_had(tmp_path):
    write_beetles(tmp_path)
    specimens = load_specimens(str(tmp_path), cache_dir=tmp_path / "cache", n_processes=1)

    assert specimens.task.is_beetles
    assert specimens.fingerprint == FINGERPRINT
    assert specimens.features_fingerprint == FINGERPRINT  # what features are kept under
