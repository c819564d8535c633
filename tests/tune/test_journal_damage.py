"""A changed bit of a journal is named with its line and never used, in a folder and on object storage."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tune.plain_entries import make_entry, read_plain
from trainable.errors import UserError
from tune.journal.journal import FILE_NAME, Journal
from tune.journal.lines import encode_entry
from tune.journal.segments import read_log, segment_name

OLD = Path(__file__).parent / "journal_without_digests.jsonl"


def flips(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(number of the line that it is in, the content with one bit changed), for every bit."""
    line = 1
    for at, byte in enumerate(content):
        for bit in range(8):
            yield line, content[:at] + bytes([byte ^ 1 << bit]) + content[at + 1 :]
        line += byte == ord("\n")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    with Journal.create(tmp_path / "study", {}, study_id="s") as journal:
        journal.append(make_entry("note", text="x y", score=0.1 + 0.2))
        journal.append(make_entry("end", reason="", state="completed"))
    return tmp_path / "study"


def test_every_changed_bit_of_a_local_journal_is_named_with_its_line_and_nothing_is_cut_off(study):
    path = study / FILE_NAME
    with path.open("r+b", buffering=0) as file:
        for line, damaged in flips(path.read_bytes()):
            os.pwrite(file.fileno(), damaged, 0)
            with pytest.raises(UserError) as refused:
                read_plain(study)
            assert f"{path}, line {line} " in str(refused.value)
            assert "restore the journal from a copy" in str(refused.value)
            assert ("delete this line and all after it" in str(refused.value)) == (line > 1)  # it would be all of it
    with pytest.raises(UserError, match="line 3"):
        Journal.open(study, say=pytest.fail)
    assert path.read_bytes() == damaged


def test_a_line_that_was_cut_short_at_the_end_was_never_acknowledged_and_costs_nothing_else(study):
    path = study / FILE_NAME
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for n_lost in range(1, last + 1):
        path.write_bytes(whole[: len(whole) - n_lost])
        assert len(read_plain(study)) == 2


class Objects(dict[str, bytes]):
    """A folder of object storage in memory, as far as reading needs one."""

    def __truediv__(self, name: str) -> "Objects":
        return self

    def __str__(self) -> str:
        return "s3://bucket/study/journal"

    def sizes(self) -> dict[str, int]:
        return {name: len(content) for name, content in self.items()}

    def read(self, name: str) -> bytes:
        return self[name]

    def read_all(self, names: list[str]) -> list[bytes]:
        return [self[name] for name in names]


def lines(first: int, last: int) -> bytes:
    return b"".join(
        encode_entry(make_entry("note" if seq else "study", seq=seq, time=0.5)) for seq in range(first, last + 1)
    )


@pytest.mark.parametrize("damaged", [(0, 1), (2, 3), (4, 4)])
def test_every_changed_bit_of_a_segment_is_named_with_its_event(damaged):
    first, last = damaged
    whole = Objects({segment_name(1, *ends): lines(*ends) for ends in ((0, 1), (2, 3), (4, 4))})
    assert len(read_log(whole).entries("")) == 5
    for line, content in flips(lines(first, last)):
        changed = Objects(whole | {segment_name(1, first, last): content})
        with pytest.raises(UserError, match=f"entry {first + line - 1} "):
            read_log(changed)


def test_a_damaged_block_does_not_hide_its_parts():
    whole = {segment_name(1, seq, seq): lines(seq, seq) for seq in range(4)}
    for _, content in flips(lines(1, 3)):
        log = read_log(Objects(whole | {segment_name(1, 1, 3): content}))
        assert b"".join(log.lines) == lines(0, 3)


def test_a_journal_without_digests_is_read_as_before_and_gone_on_with(tmp_path):
    plain = [json.loads(line) for line in OLD.read_text().splitlines()]
    (tmp_path / FILE_NAME).write_bytes(OLD.read_bytes())
    assert read_plain(tmp_path) == plain
    with Journal.open(tmp_path, say=pytest.fail) as journal:
        journal.append(make_entry("note", text="new"))
    *before, last = (tmp_path / FILE_NAME).read_bytes().splitlines(keepends=True)
    assert b"".join(before) == OLD.read_bytes()
    assert last.startswith(b'{"crc":"')
    assert read_plain(tmp_path)[:-1] == plain


def test_a_line_changed_by_hand_is_said_to_be_changed(study):
    path = study / FILE_NAME
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries[1]["text"] = "another"
    for separators in (None, (",", ":")):
        path.write_text("".join(json.dumps(entry, separators=separators) + "\n" for entry in entries))
        with pytest.raises(UserError, match=r"line [12] was changed since it was written"):
            read_plain(study)


def test_a_line_that_is_gone_is_told_with_both_numbers_and_what_to_do_and_that_lets_the_study_go_on(study):
    path = study / FILE_NAME
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(make_entry("note", text="z"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(UserError, match=r"line 3 has the number 3 where 2 belongs.* delete this line and all after it"):
        read_plain(study)
    path.write_bytes(b"".join(lines[:2]))
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(make_entry("end", reason="", state="completed"))
    assert [entry["event"] for entry in read_plain(study)] == ["study", "note", "end"]


@pytest.mark.parametrize("verb", ["replay", "status", "sync", "search --local --resume"])
def test_verbs_name_a_damaged_line_with_the_remedy_and_leave_the_study_alone(cli, study, verb):
    path = study / FILE_NAME
    path.write_bytes(damaged := path.read_bytes().replace(b"x y", b"x z"))
    ended = cli(*verb.split(), study)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    said = "line 2 was changed since it was written, by hand or by a fault of the disk (its checksum differs): "
    assert f"{path}, {said}" in ended.stderr
    assert "restore the journal from a copy; without one, delete this line and all after it" in ended.stderr
    assert path.read_bytes() == damaged
