"""The journal on object storage: what `append` returned is there, one writer, nothing lost when segments overlap."""

import json
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune.plain_entries import make_entry, plain, read_plain
from tests.tune.test_steering import Driver
from trainable.errors import UserError
from trainable.storage.remote_folder import RemoteFolder
from tune.execution.steering import REMOTE_SECONDS
from tune.journal.journal import FILE_NAME, Journal, StudyWriteError, has_study, owner_of, read_entries
from tune.journal.lease import LeaseTimes
from tune.journal.remote_journal import RemoteWriter
from tune.journal.requests import waiting_requests
from tune.journal.segments import BLOCK_ENTRIES, SegmentWriter, read_log, segment_name

ROOT = Path(__file__).parents[2]
FAST = LeaseTimes(renew_seconds=0.2, safe_seconds=0.8, stale_seconds=2.0, settle_seconds=0.02)
PATIENT = replace(FAST, stale_seconds=60.0)
"""For a writer that lives: a busy machine may keep it from renewing for longer than `FAST` waits."""
WARY = replace(FAST, renew_seconds=60.0, safe_seconds=0.0)
"""For a writer that asks before each entry, and at no other time: not while a test takes its lease over."""


def quiet(_: str) -> None: ...


def begin(folder: RemoteFolder, n_events: int = 0, times: LeaseTimes = FAST) -> Journal:
    journal = Journal.begin(RemoteWriter.create(folder, times=times), {"seed": 1}, study_id="study-1")
    for number in range(n_events):
        journal.append(make_entry("note", number=number))
    return journal


def go_on(folder: RemoteFolder, times: LeaseTimes = FAST) -> Journal:
    return Journal(RemoteWriter.open(folder, say=quiet, times=times))


def journal_names(folder: RemoteFolder) -> list[str]:
    return sorted((folder / "journal").sizes())


def test_events_read_from_the_storage_equal_those_of_a_local_journal(remote, tmp_path):
    values = [float("nan"), float("inf"), 0.1 + 0.2, -0.0]
    with Journal.create(tmp_path, {"seed": 1}, study_id="s") as local, begin(remote) as far:
        for journal in (local, far):
            returned = [journal.append(make_entry("report", metrics={"x": x})) for x in values]
            assert repr(returned) == repr(journal.entries()[1:])
    there, here = ([e | {"time": 0} for e in read_plain(place)][1:] for place in (remote, tmp_path))
    assert repr(there) == repr(here)


def test_every_event_is_on_the_storage_before_append_returns_and_before_listeners_hear_it(remote):
    heard = []

    def listen(written):
        entry = plain(written)
        assert read_plain(remote)[-1] == entry
        heard.append(entry["number"])

    with begin(remote) as journal:
        journal.subscribe(listen)
        for number in range(3):
            journal.append(make_entry("note", number=number))
            assert read_plain(remote)[-1]["number"] == number
    assert heard == [0, 1, 2]


@pytest.mark.seconds
def test_what_users_ask_waits_on_the_storage_and_is_looked_for_now_and_then(remote):
    driver = Driver(remote)
    driver.start()
    driver.enqueue()
    driver.start()
    driver.now += REMOTE_SECONDS
    driver.start()

    assert [trial.origin for trial in driver.study.decisions.trials()] == ["sampler", "sampler", "enqueued"]
    assert waiting_requests(remote) == []
    driver.journal.close()


@pytest.mark.slow
def test_a_session_begins_with_everything_so_far_and_blocks_are_put_together(remote):
    begin(remote, n_events=3).close()
    with go_on(remote) as journal:
        assert journal_names(remote) == [segment_name(2, 0, 3)]
        for number in range(BLOCK_ENTRIES + 2):
            journal.append(make_entry("note", number=number))
        deadline = time.monotonic() + 5
        while len(journal_names(remote)) > 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        last = 3 + BLOCK_ENTRIES
        assert journal_names(remote) == sorted(
            [segment_name(2, 0, 3), segment_name(2, 4, last)]
            + [segment_name(2, seq, seq, block=last + 1) for seq in (last + 1, last + 2)]
        )
    assert [entry["seq"] for entry in read_plain(remote)] == list(range(last + 3))
    go_on(remote).close()
    assert journal_names(remote) == [segment_name(3, 0, last + 2)]


def line(seq: int, word: str = "") -> bytes:
    entry = "note" if seq else "study"
    return json.dumps({"v": 1, "seq": seq, "time": 0.0, "event": entry, "study_id": word}).encode() + b"\n"


def put(folder: RemoteFolder, session: int, first: int, last: int, word: str = "", cut: int = 0) -> None:
    content = b"".join(line(seq, word) for seq in range(first, last + 1))
    (folder / "journal").write(segment_name(session, first, last), content[: len(content) - cut])


def test_overlapping_segments_count_once_the_longest_and_older_sessions_not_at_all(remote):
    put(remote, 1, 0, 5, "old")
    put(remote, 1, 6, 9, "zombie")
    put(remote, 2, 0, 3, "new")
    for seq in (4, 5, 6):
        put(remote, 2, seq, seq, "part")
    put(remote, 2, 4, 5, "block")
    (remote / "journal").write("000002/something-else.txt", b"not ours")

    words = [entry["study_id"] for entry in read_plain(remote)]
    assert words == ["new"] * 4 + ["block"] * 2 + ["part"]


def test_a_torn_last_segment_is_passed_over_a_torn_or_missing_one_before_others_is_refused(remote):
    put(remote, 1, 0, 3)
    put(remote, 1, 4, 4, cut=5)
    assert len(read_plain(remote)) == 4
    put(remote, 1, 5, 5)
    for look in (read_entries, go_on):
        with pytest.raises(UserError, match="entry 4 is in none that is whole"):
            look(remote)
    put(remote, 1, 4, 4)
    assert len(read_plain(remote)) == 6


def test_a_torn_block_does_not_hide_its_parts(remote):
    put(remote, 1, 0, 0)
    for seq in (1, 2, 3):
        put(remote, 1, seq, seq, "part")
    put(remote, 1, 1, 3, "block", cut=3)
    assert [entry["study_id"] for entry in read_plain(remote)] == ["", "part", "part", "part"]


def test_a_damaged_event_a_newer_version_and_no_study_are_refused(remote):
    with pytest.raises(UserError, match="journal/"):
        read_plain(remote)
    with pytest.raises(UserError, match="check the URI"):
        go_on(remote)
    put(remote, 1, 0, 1)
    (remote / "journal").write(segment_name(1, 2, 2), b"garbage\n")
    with pytest.raises(UserError, match="entry 2"):
        read_plain(remote)
    (remote / "journal").write(segment_name(1, 2, 2), line(2).replace(b'"v": 1', b'"v": 3'))
    with pytest.raises(UserError, match="newer sentinel-tune"):
        go_on(remote)
    assert owner_of(remote) is None  # nothing stays taken


@pytest.mark.seconds
def test_a_second_study_in_one_place_and_a_second_writer_are_refused(remote):
    with begin(remote, n_events=1, times=PATIENT):
        assert owner_of(remote) is not None
        for attempt in (go_on, begin):
            with pytest.raises(UserError, match=r"one process at a time.*process \d+ on .* since \d{4}-"):
                attempt(remote, times=PATIENT)
    assert owner_of(remote) is None
    with pytest.raises(UserError, match=f"continue it with `sentinel-tune search --resume {remote}`"):
        begin(remote)
    with go_on(remote) as journal:
        journal.append(make_entry("session", executor="local"))
    with pytest.raises(UserError, match=f"continue it with `sentinel-tune search --resume {remote} --local`"):
        begin(remote)
    assert len(read_plain(remote)) == 3


@pytest.mark.seconds
def test_each_renewal_is_as_long_as_the_others_so_that_no_reader_sees_the_half_of_one(remote):
    lengths = set()
    for number in range(20):
        with begin(remote / str(number), times=WARY) as journal:
            journal.append(make_entry("note"))
            lengths.add(len((remote / str(number)).read("journal.owner.json")))
    assert len(lengths) == 1


def test_a_writer_whose_lease_was_taken_over_stops_and_what_it_wrote_late_is_read_by_nobody(remote):
    old = begin(remote, n_events=1, times=WARY)
    put_late = SegmentWriter(remote, 1, [line(0), line(1)])
    facts = json.loads(remote.read("journal.owner.json"))
    remote.write("journal.owner.json", json.dumps(facts | {"session_id": "another", "host": "elsewhere"}).encode())
    with pytest.raises(StudyWriteError, match=r"taken over by process .* on elsewhere"):
        old.append(make_entry("note", number=1))
    old.close()
    assert json.loads(remote.read("journal.owner.json"))["session_id"] == "another"  # not given back by a stranger

    remote.delete("journal.owner.json")
    with go_on(remote) as new:
        put_late.put(line(2, "late"))
        new.append(make_entry("note", number=2))
    assert [entry.get("number") for entry in read_plain(remote)] == [None, 0, 2]


WRITER = """
import sys
from dataclasses import replace
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.lease import LeaseTimes
from tune.journal.entries import OtherEntry
from tune.journal.journal import Journal
from tune.journal.remote_journal import RemoteWriter
from tune.journal.requests import waiting_requests
times = LeaseTimes(renew_seconds=0.2, safe_seconds=0.8, stale_seconds=2.0, settle_seconds=0.02)
journal = Journal(RemoteWriter.open(RemoteFolder.parse(sys.argv[1]), say=lambda line: None, times=times))
while True:
    fields = {f"m{n}": n / 3 for n in range(50)}
    print(journal.append(OtherEntry(kind="note", fields=fields)).seq, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_no_event_that_append_returned_and_its_lease_ends_with_it(remote):
    begin(remote).close()
    for n_lines in (3, BLOCK_ENTRIES + 20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(remote)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(n_lines)]
        assert owner_of(remote) is not None
        writer.kill()
        rest, _ = writer.communicate()
        acknowledged = [*lines, *rest.splitlines(keepends=True)]
        last = int(next(line for line in reversed(acknowledged) if line.endswith("\n")))
        assert read_plain(remote)[-1]["seq"] in (last, last + 1)
        assert owner_of(remote) is None


@pytest.mark.seconds
def test_a_silent_lease_of_another_machine_is_watched_then_taken_over(remote):
    begin(remote, n_events=1).close()
    holder = {"session_id": "x", "machine": "other", "host": "elsewhere", "pid": 1, "since": 0, "renewed": time.time()}
    remote.write("journal.owner.json", json.dumps(holder).encode())
    told: list[str] = []
    assert owner_of(remote) is not None
    with Journal(RemoteWriter.open(remote, say=told.append, times=FAST)) as journal:
        journal.append(make_entry("note", number=1))
    assert len(told) == 1
    assert "process 1 on elsewhere" in told[0]
    assert len(read_plain(remote)) == 3


@pytest.mark.parametrize("altered", [{"renewed": "now"}, {"pid": 1.5}, {"since": None}, {"host": []}])
def test_a_lease_of_which_a_value_is_of_another_type_is_none(remote, altered):
    begin(remote, n_events=1).close()
    holder = {"session_id": "x", "machine": "other", "host": "elsewhere", "pid": 1, "since": 0, "renewed": time.time()}
    remote.write("journal.owner.json", json.dumps(holder | altered).encode())

    assert owner_of(remote) is None


@pytest.mark.slow
def test_a_storage_that_is_down_stops_the_writer_in_words_and_it_goes_on_when_it_is_back(remote, storage_server):
    with begin(replace(remote, patience_seconds=0.3), n_events=1) as journal:
        storage_server.shut_gate()
        try:
            for _ in range(2):
                with pytest.raises(StudyWriteError) as failed:
                    journal.append(make_entry("note", number=1))
        finally:
            storage_server.open_gate()
        assert str(failed.value).endswith("takes objects, then resume the study")
        assert "make room" not in str(failed.value)
        journal.append(make_entry("note", number=2))
    assert [entry.get("number") for entry in read_plain(remote)] == [None, 0, 2]


@pytest.mark.slow
@pytest.mark.parametrize("read", [read_entries, owner_of, has_study])
def test_who_reads_a_study_of_a_silent_storage_is_told_what_is_waited_for(remote, storage_server, read, caplog):
    begin(remote, n_events=1).close()
    read(remote)
    assert not caplog.messages

    def open_once_told() -> None:
        deadline = time.monotonic() + 20
        while not caplog.messages and time.monotonic() < deadline:
            time.sleep(0.05)
        storage_server.open_gate()

    storage_server.shut_gate()
    opener = threading.Thread(target=open_once_told)
    opener.start()
    read(replace(remote, patience_seconds=60.0))
    opener.join()
    assert caplog.messages == [f"still reading {remote}; a storage that does not answer is asked again for 60 s"]


def test_a_closed_journal_and_a_pickled_copy_cannot_append(remote):
    with begin(remote) as journal:
        copy = pickle.loads(pickle.dumps(journal))  # noqa: S301 - our own bytes
        with pytest.raises(RuntimeError, match="copy"):
            copy.append(make_entry("note"))
        copy.close()
        journal.append(make_entry("note"))
    journal.close()
    with pytest.raises(RuntimeError, match="closed"):
        journal.append(make_entry("note"))
    assert len(read_plain(remote)) == 2


@pytest.mark.slow
def test_the_place_decides_which_journal_it_is(remote, tmp_path):
    with Journal.create(remote, {}, study_id="s"), Journal.create(tmp_path, {}, study_id="s"):
        assert (tmp_path / FILE_NAME).exists()
    Journal.open(remote, say=quiet).close()
    assert read_log(remote).session == 2
