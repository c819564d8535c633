"""Names of metrics are written once a journal, and nothing else changes: what is read is what was written, to the bit.

`journal_of_version_1.jsonl` was written before that: a search of six trials that was interrupted in its fifth; one
completed, one raised, one had a score that is not a number.
"""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import make_entry, plain, read_plain
from trainable.errors import UserError
from tune.decisions.decisions import Decisions
from tune.decisions.differences import differences
from tune.decisions.trial_record import Ask
from tune.journal.entries import Confirming, EpochReported, JournalEntry, SessionBegun, TrialAsked, study_of
from tune.journal.journal import FILE_NAME, Journal, StudyWriteError, read_contents, read_entries
from tune.journal.lines import encode_entry
from tune.journal.local_journal import LocalWriter
from tune.journal.segments import read_log

OLD = Path(__file__).parent / "journal_of_version_1.jsonl"
KINDS = ("crps", "r2", "mae", "sigma")
NAMES = (
    "score/all",
    *(f"{kind}_{part}/SPEI_{n}" for kind in KINDS for part in ("id", "ood") for n in ("30d", "1y", "2y")),
)


def metrics(ask: Ask, epoch: int) -> dict[str, float]:
    return {name: (1 + ask.number) / (3 + epoch) / (7 + n) for n, name in enumerate(NAMES)}


def raw(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line, object_hook=untagged) for line in (folder / FILE_NAME).read_text().splitlines()]


def untagged(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def reported(trial: str, epoch: int, **values: float) -> EpochReported:
    return EpochReported(trial=trial, epoch=epoch, metrics=values)


def asked(trial: str) -> TrialAsked:
    return TrialAsked(trial=trial, number=0, origin="sampler", exempt=False, values={}, config={"epochs": 9})


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copy(OLD, folder / FILE_NAME)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Of five reports: two with the same names, one with others, one of a confirmation, one in another order."""
    with Journal.create(tmp_path / "study", {}, study_id="s") as journal:
        journal.append(asked("t0000"))
        journal.append(reported("t0000", 1, a=0.1 + 0.2, b=float("nan")))
        journal.append(reported("t0000", 2, a=1e-323, b=float("-inf")))
        journal.append(reported("t0000", 3, a=3.0))
        journal.append(Confirming(of=asked("c0000")))
        journal.append(Confirming(of=reported("c0000", 1, a=-0.0, b=2.0)))
        journal.append(reported("t0000", 4, b=5.0, a=4.0))
    return tmp_path / "study"


def test_only_the_first_of_reports_with_the_same_names_says_them_and_lines_that_need_it_say_the_newer_version(study):
    lines = raw(study)
    reports = [(line["seq"], line["v"], line.get("of", line)) for line in lines if "epoch" in line.get("of", line)]

    assert [(seq, v, of.get("like"), list(of.get("metrics", ()))) for seq, v, of in reports] == [
        (2, 1, None, ["a", "b"]), (3, 2, 2, []), (4, 1, None, ["a"]), (6, 2, 2, []), (7, 1, None, ["b", "a"]),
    ]  # fmt: skip
    assert {line["v"] for line in lines if "epoch" not in line.get("of", line)} == {1}


def test_reports_come_back_with_their_names_to_the_bit_wherever_they_are_read(study):
    found = [entry.of if isinstance(entry, Confirming) else entry for entry in read_entries(study)]
    values = [entry.metrics for entry in found if isinstance(entry, EpochReported)]

    assert repr(values) == repr([
        {"a": 0.1 + 0.2, "b": float("nan")}, {"a": 1e-323, "b": float("-inf")}, {"a": 3.0},
        {"a": -0.0, "b": 2.0}, {"b": 5.0, "a": 4.0},
    ])  # fmt: skip
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(reported("t0000", 5, a=6.0))
        assert repr(journal.entries()) == repr(read_entries(study))
    assert raw(study)[-1]["like"] == 4


def test_a_study_in_the_older_form_is_read_as_its_lines_say_it_and_every_decision_follows(old):
    entries = read_entries(old)

    lines = raw(old)
    for line in lines:
        del line["crc"]
    assert repr(read_plain(old)) == repr(lines)
    assert differences(SearchSpace.from_dict(study_of(entries).header["space"]), entries) == []
    found = Decisions.replay(SearchSpace.load("smoke"), entries)
    assert [trial.state for trial in found.trials()] == ["completed", "failed", "failed", "pruned", "paused"]
    assert found.standings.trials["t0000"].best_score == 0.5982917226670361


def test_a_study_in_the_older_form_is_gone_on_with_in_the_newer_one_to_the_end_that_a_replay_finds(old):
    before, space = (old / FILE_NAME).read_bytes(), SearchSpace.load("smoke")
    with Journal.open(old, say=pytest.fail) as journal:
        decisions = Decisions.replay(space, journal.entries(), on_entry=journal.append)
        decisions.begin_session(SessionBegun(n_trials=6))
        for ask in [*decisions.unfinished(), decisions.ask()]:
            epoch = ask.reported_epochs
            while not decisions.is_told(ask.trial_id):
                epoch += 1
                decisions.report(ask.trial_id, epoch, metrics(ask, epoch))
    entries = read_entries(old)

    assert (old / FILE_NAME).read_bytes().startswith(before)
    assert {line["v"] for line in raw(old)} == {1, 2}
    assert repr(Decisions.replay(space, entries).trials()) == repr(decisions.trials())
    assert differences(space, entries) == []


def test_results_of_a_search_take_less_than_half_the_bytes_that_they_took(old, tmp_path):
    space, header = SearchSpace.load("smoke"), study_of(read_entries(old)).header
    in_full = 0
    with Journal.create(tmp_path / "new", header, study_id="s") as journal:
        decisions = Decisions(space, header, on_entry=journal.append)
        while (ask := decisions.ask()) is not None:
            for epoch in range(1, 5):
                if decisions.is_told(ask.trial_id):
                    break
                decisions.report(ask.trial_id, epoch, metrics(ask, epoch))
                in_full += len(encode_entry(reported(ask.trial_id, epoch, **metrics(ask, epoch))))
    n_reports = sum(isinstance(entry, EpochReported) for entry in read_entries(tmp_path / "new"))
    lines = [line for line in (tmp_path / "new" / FILE_NAME).read_bytes().splitlines(keepends=True) if LIKE in line]

    assert len(lines) == n_reports - 1
    assert sum(map(len, lines)) < 0.5 * in_full


def test_scores_are_kept_as_they_are_and_other_measurements_with_the_digits_of_float32(old, tmp_path):
    space, header = SearchSpace.load("smoke"), study_of(read_entries(old)).header
    measured = {
        "score/all": 1 / 3,
        "score/id": 2 / 3,
        "r2_id/SPEI_1y": -1 / 3,
        "train/loss": math.nan,
        "train/lr": 1 / 7,
    }
    with Journal.create(tmp_path / "new", header, study_id="s") as journal:
        decisions = Decisions(space, header, on_entry=journal.append)
        ask = decisions.ask()
        assert ask is not None
        decisions.report(ask.trial_id, 1, measured)
    (found,) = [entry.metrics for entry in read_entries(tmp_path / "new") if isinstance(entry, EpochReported)]

    assert found.keys() == measured.keys()
    assert (found["score/all"], found["score/id"]) == (1 / 3, 2 / 3)
    assert (found["r2_id/SPEI_1y"], found["train/lr"]) == (-0.333333333, 0.142857143)
    assert all(np.float32(found[name]) == np.float32(value) for name, value in measured.items() if value == value)
    assert math.isnan(found["train/loss"])


def test_names_of_a_report_that_could_not_be_written_are_said_by_the_next_one(study):
    class Full(LocalWriter):
        """Of a disk without room for one line."""

        is_full = True

        def put(self, line: bytes) -> None:
            if self.is_full:
                self.is_full = False
                raise StudyWriteError("no room")
            super().put(line)

    with Journal(Full.open(study, say=pytest.fail)) as journal:
        with pytest.raises(StudyWriteError):
            journal.append(reported("t0000", 5, new=1.0))
        journal.append(make_entry("note"))  # has the number that the report would have had
        journal.append(reported("t0000", 5, new=1.0))
        journal.append(reported("t0000", 6, new=2.0))
        assert repr(journal.entries()) == repr(read_entries(study))
    assert [line.get("like") for line in raw(study)[-2:]] == [None, 9]


def test_a_journal_that_ends_anywhere_is_gone_on_with_to_what_it_was(study, tmp_path):
    whole = (study / FILE_NAME).read_bytes()
    entries, notices = read_entries(study), []
    cut = tmp_path / "cut"
    cut.mkdir()
    for size in range(whole.index(b"\n") + 1, len(whole), 7):
        (cut / FILE_NAME).write_bytes(whole[:size])
        with Journal.open(cut, say=notices.append) as journal:
            for entry in entries[len(journal.entries()) :]:
                journal.append(entry)
        assert repr([told(entry) for entry in read_entries(cut)]) == repr([told(entry) for entry in entries])
    assert notices


def test_every_changed_bit_of_a_line_that_refers_to_names_is_named_with_it(study):
    lines = (study / FILE_NAME).read_bytes().splitlines(keepends=True)
    for at, byte in enumerate(lines[3]):
        for bit in range(8):
            changed = lines[3][:at] + bytes([byte ^ 1 << bit]) + lines[3][at + 1 :]
            (study / FILE_NAME).write_bytes(b"".join([*lines[:3], changed, *lines[4:]]))
            with pytest.raises(UserError, match="line 4 "):
                read_plain(study)


def test_what_was_read_before_is_not_read_again_where_its_line_says_the_same(study):
    past = read_entries(study)
    with Journal.open(study, say=pytest.fail, known=past) as journal:
        assert all(taken is read for taken, read in zip(journal.entries(), past, strict=True))
        journal.append(reported("t0000", 5, a=6.0, b=7.0))
        assert repr(journal.entries()) == repr(read_entries(study))
    assert raw(study)[-1]["like"] == 2


def test_what_changed_since_it_was_read_is_read_again_and_refused_where_it_is_damaged(study):
    past, lines = read_entries(study), (study / FILE_NAME).read_bytes().splitlines(keepends=True)
    other = replace(past[3], time=past[3].time + 1, metrics={"a": 8.0, "b": 9.0})
    (study / FILE_NAME).write_bytes(b"".join([*lines[:3], encode_entry(other), *lines[4:6]]))
    with Journal.open(study, say=pytest.fail, known=past) as journal:
        assert repr(journal.entries()) == repr([*past[:3], other, *past[4:6]])

    for damaged in (lines[3].replace(b"values", b"valuez"), lines[4]):
        (study / FILE_NAME).write_bytes(b"".join([*lines[:3], damaged, *lines[4:]]))
        with pytest.raises(UserError, match="line 4 "):
            Journal.open(study, say=pytest.fail, known=past)


@pytest.mark.parametrize(
    "altered",
    [{"like": 1}, {"like": 3}, {"like": 99}, {"like": None}, {"like": [2]}, {"values": [1.0]}, {"values": {"a": 1.0}}],
)
def test_a_report_whose_names_are_not_there_is_left_out_and_the_others_stay(study, altered):
    lines = raw(study)
    lines[3] = {name: value for name, value in lines[3].items() if name != "crc"} | altered
    (study / FILE_NAME).write_text("".join(json.dumps(bare(line), separators=(",", ":")) + "\n" for line in lines))
    contents = read_contents(study)

    assert [str(entry) for entry in contents.left_out] == [
        f"entry 3, report of t0000: entry {altered.get('like', 2)} has no such metrics"
    ]
    assert [entry.seq for entry in contents.entries] == [0, 1, 2, 4, 5, 6, 7]


@pytest.mark.seconds
def test_on_object_storage_reports_refer_to_names_of_sessions_before(study, remote):
    with Journal.create(remote, {}, study_id="s") as journal:
        for entry in read_entries(study)[1:5]:
            journal.append(entry)
    with Journal.open(remote, say=pytest.fail, known=read_entries(remote)) as journal:
        journal.append(reported("t0000", 4, a=4.0, b=5.0))
        found = journal.entries()
    assert repr(read_entries(remote)) == repr(found)
    assert [line.get("like") for line in map(json.loads, read_log(remote).lines)] == [None, None, None, 2, None, 2]


LIKE = b'"like":'


def bare(line: dict[str, Any]) -> dict[str, Any]:
    """As older versions wrote it: without a digest."""
    return {name: value for name, value in line.items() if name != "crc"}


def told(entry: JournalEntry) -> dict[str, Any]:
    return plain(entry) | {"time": 0}
