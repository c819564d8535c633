"""Entries that cannot follow on what came before are left out by every reader, refused by `replay`, never written."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.tune.plain_entries import entries_of, make_entry, read_plain
from tune.decisions.differences import differences
from tune.journal.entries import JournalEntry, study_of
from tune.journal.journal import FILE_NAME, Journal, read_contents
from tune.journal.lifecycle import contents_of
from tune.journal.lines import encode_entry, kind_of
from tune.verbs.replay import FOLLOWS

ASK = {"event": "ask", "number": 0, "origin": "sampler", "exempt": False, "values": {}, "config": {"epochs": 4}}
TELL = {"event": "tell", "state": "completed", "value": 0.5, "epoch": 1, "reason": "done"}
PAUSE = {"event": "pause", "epoch": 1, "reason": "interrupted"}


def report(epoch: Any) -> dict[str, Any]:
    return {"event": "report", "epoch": epoch, "metrics": {"score/all": 0.5}}


def reasons(*lines: dict[str, Any], confirm: bool = False) -> list[str]:
    """Why entries about one trial are left out of a study that has them."""
    entries: list[dict[str, Any]] = [{"event": "study", "header": {}}]
    for line in lines:
        of = {"trial": "t0000", **line}
        entries.append({"event": "confirm", "of": of} if confirm else of)
    numbered = [{"v": 1, "seq": seq, "time": 0.0, **entry} for seq, entry in enumerate(entries)]
    return [str(left_out) for left_out in contents_of(entries_of(numbered)).left_out]


@pytest.mark.parametrize("confirm", [False, True])
def test_a_trial_is_asked_for_once_then_heard_of_then_told(confirm):
    for told, expected in (
        ([ASK, report(1), PAUSE, report(2), TELL], []),
        ([ASK, TELL, PAUSE], ["3, pause of t0000: t0000 was told by entry 2"]),
        ([ASK, TELL, TELL, report(1)], ["3, tell of t0000: t0000 was told", "4, report of t0000: t0000 was told"]),
        ([ASK, ASK], ["2, ask of t0000: t0000 was asked for by entry 1"]),
        ([report(1)], ["1, report of t0000: t0000 was not asked for before"]),
        ([ASK, report(2), report(2), report(3)], ["3, report of t0000: epoch 2 was reported before"]),
        ([ASK, report("2")], ["2, report of t0000: it has no epoch and metrics"]),
        ([ASK, {"event": "pause"}], ["2, pause of t0000: it lacks epoch, reason"]),
        ([ASK, {**TELL, "state": "paused"}], ["2, tell of t0000: 'paused' is none of completed, pruned, failed"]),
        ([{"event": "news"}], []),
    ):
        found = reasons(*told, confirm=confirm)
        assert len(found) == len(expected)
        for line, part in zip(found, expected, strict=True):
            assert line.replace("confirm ", "").startswith(f"entry {part}")


def test_an_entry_that_could_not_follow_is_never_written(tmp_path):
    with Journal.create(tmp_path, {}, study_id="s") as journal:
        journal.append(*entries_of([{"trial": "t0000", "seq": 0, "time": 0.0, **ASK}]))
        journal.append(*entries_of([{"trial": "t0000", "seq": 0, "time": 0.0, **TELL}]))
        with pytest.raises(RuntimeError, match="t0000 was told by entry 2"):
            journal.append(*entries_of([{"trial": "t0000", "seq": 0, "time": 0.0, **PAUSE}]))
        journal.append(make_entry("note"))
    contents = read_contents(tmp_path)
    assert ([kind_of(e) for e in contents.entries], contents.left_out) == (["study", "ask", "tell", "note"], ())


@pytest.fixture
def poisoned(finished_study: Path, tmp_path: Path) -> Path:
    """A study with a `pause` after the first `tell`, as a failed projection left it behind."""
    study = Path(shutil.copytree(finished_study, tmp_path / "beetles"))
    entries = read_plain(study)
    at = next(number for number, entry in enumerate(entries) if entry["event"] == "tell") + 1
    pause = {**entries[at - 1], "event": "pause", "epoch": 3, "reason": "stopped by an error: 't0000'"}
    lines = map(encode_entry, entries_of({**entry, "seq": seq} for seq, entry in enumerate([*entries[:at], pause])))
    (study / FILE_NAME).write_bytes(b"".join(lines))
    return study


def test_replay_refuses_what_cannot_follow_and_names_it(cli, poisoned):
    ended, result = cli("replay", poisoned), cli("replay", poisoned, "--json").result
    last = len((poisoned / FILE_NAME).read_bytes().splitlines()) - 1

    assert ended.status == 1
    assert f"entry {last}, pause of t0000: t0000 was told by entry {last - 1}" in ended.stdout
    assert FOLLOWS not in ended.stdout
    assert (result["follows"], len(result["refused"]), result["differences"]) == (False, 1, [])
    assert result["n_events"] == last + 1


@pytest.mark.seconds
def test_a_poisoned_study_is_resumed_with_a_message_to_the_result_of_one_that_is_not(cli, poisoned, finished_study):
    assert cli("status", poisoned).status == 0
    ended = cli("search", "--resume", poisoned, "--local")

    assert ended.status == 0, ended.stderr
    assert "left out 1 entry that cannot follow on what came before (entry " in ended.stderr
    assert scores(read_plain(poisoned)) == scores(read_plain(finished_study))
    contents = read_contents(poisoned)
    assert len(contents.left_out) == 1
    assert differences_of(contents.entries) == []


def scores(entries: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    return [(e["trial"], e["epoch"], e["metrics"]["score/all"]) for e in entries if e["event"] == "report"]


def differences_of(found: list[JournalEntry]) -> list[str]:
    from search_spaces.space import SearchSpace

    return differences(SearchSpace.from_dict(study_of(found).header["space"]), found)
