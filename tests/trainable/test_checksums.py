"""Content that carries its checksum: every flipped bit is found, and what was written before there were any is read."""

import io
import json

import numpy as np
import pytest

from trainable.checksums import AlteredContent, from_json, to_json, with_checksum, without_checksum


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("content", [b"", b"x", np.arange(6.0).tobytes()])
def test_every_flipped_bit_is_found_or_leaves_the_content_as_it_was(content: bytes) -> None:
    written = with_checksum(content)
    assert without_checksum(written) == content
    n_found = 0
    for bit in range(8 * len(written)):
        try:
            read = without_checksum(flipped(written, bit))
        except AlteredContent:
            n_found += 1
        else:
            assert read.startswith(content)  # the line is no longer one: numpy passes over it
            assert bit >= 8 * len(content)
    assert n_found >= 8 * (len(content) + 64)


def test_every_flipped_bit_of_a_json_object_is_found_or_changes_no_value() -> None:
    values = {"scores": {"1": 0.25, "2": float("nan")}, "names": ["größe", "b"], "n": 12_345}
    written = to_json(values).encode()
    plain = json.dumps(from_json(written))
    assert plain == json.dumps(values)
    for bit in range(8 * len(written)):
        try:
            read = from_json(flipped(written, bit))
        except ValueError:
            continue
        assert json.dumps({name: read[name] for name in values}) == plain


def test_what_has_no_checksum_is_read_as_it_is() -> None:
    assert without_checksum(b"as before") == b"as before"
    assert from_json('{"n": 1}') == {"n": 1}


def test_numpy_reads_a_file_with_a_checksum_as_one_without() -> None:
    values, single, several = np.arange(12.0).reshape(3, 4), io.BytesIO(), io.BytesIO()
    np.save(single, values)
    np.savez(several, values=values)
    assert np.array_equal(np.load(io.BytesIO(with_checksum(single.getvalue()))), values)
    assert np.array_equal(np.load(io.BytesIO(with_checksum(several.getvalue())))["values"], values)


def test_an_altered_object_is_told_with_both_digests() -> None:
    with pytest.raises(AlteredContent, match=r"its sha256 must be [0-9a-f]{64}, but is [0-9a-f]{64}"):
        from_json(to_json({"n": 1}).replace('"n": 1', '"n": 2'))
    with pytest.raises(ValueError, match="must be a JSON object, but is a list"):
        from_json("[1]")
