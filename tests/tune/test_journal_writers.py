"""One writer at a time, also when lock files, names or other programs say otherwise; listeners are not the journal."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tune.plain_entries import make_entry, plain, read_plain
from trainable.errors import UserError
from tune.journal.errors import StudyMovedError
from tune.journal.journal import FILE_NAME, Journal, StudyWriteError, owner_of


@pytest.fixture
def study(tmp_path: Path) -> Path:
    Journal.create(tmp_path / "study", {}, study_id="s").close()
    return tmp_path / "study"


def test_removing_every_other_file_lets_no_second_writer_in(study):
    with Journal.open(study, say=pytest.fail) as journal:
        for path in study.iterdir():
            if path.name != FILE_NAME:
                path.unlink()
        with pytest.raises(UserError, match="one process at a time"):
            Journal.open(study, say=pytest.fail)
        assert owner_of(study) is not None
        journal.append(make_entry("note"))
    assert owner_of(study) is None


OLD_WRITER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_writer_of_an_older_version_is_seen_by_its_own_lock(study):
    arguments = [sys.executable, "-c", OLD_WRITER, str(study / "journal.lock")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="one process at a time"):
            Journal.open(study, say=pytest.fail)
        assert owner_of(study) is not None
        old.communicate()
    assert owner_of(study) is None
    Journal.open(study, say=pytest.fail).close()


def test_a_pipe_in_the_journals_place_is_refused_by_who_reads_and_who_writes_and_waited_for_by_neither(study):
    (study / FILE_NAME).unlink()
    os.mkfifo(study / FILE_NAME)

    assert owner_of(study) is None
    for look in (read_plain, lambda folder: Journal.open(folder, say=pytest.fail)):
        with pytest.raises(UserError, match=r"must hold journal\.jsonl"):
            look(study)


def test_bytes_of_another_program_are_noticed_before_the_next_event_and_left_as_they_are(study):
    path = study / FILE_NAME
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(make_entry("note", number=1))
        with path.open("ab") as file:
            file.write(b'{"v":1,"seq":2,"time":0.0,"event":"note","number":"foreign"}\n')
        written = path.read_bytes()
        for _ in range(2):
            with pytest.raises(StudyWriteError, match=r"another program wrote to it.*resume the study"):
                journal.append(make_entry("note", number=2))
        assert path.read_bytes() == written
        assert [entry.get("number") for entry in map(plain, journal.entries())] == [None, 1]
    assert [entry.get("number") for entry in read_plain(study)] == [None, 1, "foreign"]
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(make_entry("note", number=3))
    assert [entry["seq"] for entry in read_plain(study)] == [0, 1, 2, 3]


def test_a_journal_that_another_program_cut_is_noticed_too(study):
    with Journal.open(study, say=pytest.fail) as journal:
        size = (study / FILE_NAME).stat().st_size
        journal.append(make_entry("note", number=1))
        os.truncate(study / FILE_NAME, size)
        with pytest.raises(StudyWriteError, match="another program"):
            journal.append(make_entry("note", number=2))
    assert (study / FILE_NAME).stat().st_size == size


@pytest.mark.parametrize("what", ["moved", "removed", "replaced"])
def test_a_study_moved_removed_or_replaced_under_its_writer_stops_it_in_words_and_stays_whole(study, what):
    elsewhere = study.with_name("elsewhere")
    journal = Journal.open(study, say=pytest.fail)
    journal.append(make_entry("note", number=1))
    if what == "replaced":  # as an editor or a copy does it
        shutil.copytree(study, elsewhere)
        os.replace(elsewhere / FILE_NAME, study / FILE_NAME)
    elif what == "moved":
        study.rename(elsewhere)
    else:
        shutil.rmtree(study)
    with pytest.raises(StudyMovedError, match=f"must stay where it is.* was {what}") as stopped:
        journal.append(make_entry("note", number=2))
    assert stopped.value.now == {"moved": elsewhere, "removed": None, "replaced": study}[what]
    assert [entry.get("number") for entry in map(plain, journal.entries())] == [None, 1]
    journal.close()
    if what == "removed":
        assert not study.exists()
        return
    place = elsewhere if what == "moved" else study
    with Journal.open(place, say=pytest.fail) as again:
        again.append(make_entry("note", number=3))
    assert [entry.get("number") for entry in read_plain(place)] == [None, 1, 3]


def test_a_second_writers_name_is_not_removed_by_the_first_one(study):
    first = Journal.open(study, say=pytest.fail)
    study.rename(study.with_name("elsewhere"))
    shutil.copytree(study.with_name("elsewhere"), study)
    with Journal.open(study, say=pytest.fail):
        owner = owner_of(study)
        first.close()
        assert owner is not None
        assert owner.pid == os.getpid()
        assert owner_of(study) == owner


def test_a_listener_that_raises_is_told_once_and_hears_no_more_while_the_others_and_the_journal_go_on(study, caplog):
    heard: list[int] = []
    asked: list[int] = []

    def broken(entry):
        asked.append(plain(entry)["number"])
        raise KeyError("study-1")

    with caplog.at_level(logging.WARNING), Journal.open(study, say=pytest.fail) as journal:
        journal.subscribe(broken, name="optuna.log")
        journal.subscribe(lambda entry: heard.append(plain(entry)["number"]))
        for number in range(3):
            journal.append(make_entry("note", number=number))
    assert (asked, heard) == ([0], [0, 1, 2])
    assert [record.getMessage() for record in caplog.records] == [
        "optuna.log follows the study no more (KeyError: 'study-1'); the study goes on without"
    ]
    assert len(read_plain(study)) == 4


def test_the_state_that_an_event_changes_hears_of_it_before_any_listener(study):
    order: list[str] = []
    with Journal.open(study, say=pytest.fail) as journal:
        journal.subscribe(lambda _: order.append("listener"))
        journal.append(make_entry("note"), apply=lambda _: order.append("state"))
    assert order == ["state", "listener"]
