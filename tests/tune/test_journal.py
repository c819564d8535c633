import json
import math
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tune.plain_entries import make_entry, plain, read_plain
from trainable.errors import UserError
from tune.journal.journal import FILE_NAME, Journal
from tune.journal.local_journal import taken_problem

ROOT = Path(__file__).parents[2]


def begin(folder: Path, n_events: int = 0) -> Journal:
    journal = Journal.create(folder, {"seed": 1}, study_id="study-1")
    for number in range(n_events):
        journal.append(make_entry("note", number=number))
    return journal


def quiet(_: str) -> None: ...


def start_script(code: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_events_come_back_as_written_with_version_sequence_and_time(tmp_path):
    before = time.time()
    with begin(tmp_path) as journal:
        journal.append(make_entry("note", trial="t0000", values={"optim.lr": 0.1}))
    study, note = read_plain(tmp_path)
    assert study["event"] == "study"
    assert study["study_id"] == "study-1"
    assert study["header"] == {"seed": 1}
    assert (note["v"], note["seq"], note["event"], note["values"]) == (1, 1, "note", {"optim.lr": 0.1})
    assert before <= study["time"] <= note["time"] <= time.time()


def test_floats_round_trip_bit_equal_with_nan_and_infinities(tmp_path):
    numbers = [0.1 + 0.2, 1e-323, -0.0, 1.7976931348623157e308, math.nan, math.inf, -math.inf]
    with begin(tmp_path) as journal:
        returned = journal.append(
            make_entry("report", metrics={f"m{i}": x for i, x in enumerate(numbers)}, deep=[[math.nan]])
        )
    read = read_plain(tmp_path)[-1]
    assert [float(x).hex() for x in read["metrics"].values()] == [x.hex() for x in numbers]
    assert math.isnan(read["deep"][0][0])
    assert repr(read) == repr(plain(returned))
    for line in (tmp_path / FILE_NAME).read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # plain JSON: no bare NaN


def test_every_event_is_readable_before_append_returns(tmp_path):
    journal = begin(tmp_path)
    for number in range(3):
        journal.append(make_entry("note", number=number))
        assert read_plain(tmp_path)[-1]["number"] == number
    journal.close()


@pytest.mark.parametrize("torn", [b'{"v":1,"seq":3,"ti', b"\0\0\0\0", b'{"v":1,"seq":3}', b'{"v":1,"se\n'])
def test_a_torn_last_line_is_passed_over_by_readers_and_cut_off_by_the_next_writer(tmp_path, torn):
    begin(tmp_path, n_events=2).close()
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert len(read_plain(tmp_path)) == 3
    notices: list[str] = []
    with Journal.open(tmp_path, say=notices.append) as journal:
        assert path.read_bytes() == whole
        journal.append(make_entry("note", number=2))
    assert [entry["seq"] for entry in read_plain(tmp_path)] == [0, 1, 2, 3]
    assert len(notices) == 1
    assert f"{len(torn)} bytes" in notices[0]


def test_a_damaged_line_in_the_middle_is_refused_with_its_number(tmp_path):
    begin(tmp_path, n_events=3).close()
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[2:]))
    for read in (lambda: read_plain(tmp_path), lambda: Journal.open(tmp_path, say=quiet)):
        with pytest.raises(UserError, match="line 2"):
            read()


def test_missing_lines_are_refused(tmp_path):
    begin(tmp_path, n_events=3).close()
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"".join(lines[2:]))
    with pytest.raises(UserError, match="line 2 has the number 2 where 1 belongs"):
        read_plain(tmp_path)


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / FILE_NAME
    content = b'{"v":3,"seq":0,"time":1.0,"event":"study","new":"things"}\n'
    path.write_bytes(content)
    for read in (lambda: read_plain(tmp_path), lambda: Journal.open(tmp_path, say=quiet)):
        with pytest.raises(UserError, match="newer sentinel-tune"):
            read()
    assert path.read_bytes() == content


def test_no_study_and_a_second_study_in_one_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match=FILE_NAME):
        read_plain(tmp_path / "none")
    begin(tmp_path, n_events=1).close()
    with pytest.raises(UserError, match="--resume"):
        begin(tmp_path)
    assert len(read_plain(tmp_path)) == 2


SESSION = {"n_trials": 1, "device": "cpu", "precision": "float32", "host": "here", "pid": 1, "versions": {}}


@pytest.mark.parametrize(("executor", "option"), [("local", " --local"), ("ray", "")])
def test_a_study_that_is_there_is_gone_on_with_as_its_last_session_was(executor, option, tmp_path):
    with begin(tmp_path) as journal:
        for of_session in ("ray", "local", executor):
            journal.append(make_entry("session", executor=of_session, **SESSION))

    wanted = f"continue it with `sentinel-tune search --resume {tmp_path}{option}`, or"
    with pytest.raises(UserError, match=re.escape(wanted)):
        begin(tmp_path)
    assert wanted in taken_problem(tmp_path)


def test_a_damaged_study_that_is_there_is_told_to_be_there_all_the_same(tmp_path):
    begin(tmp_path, n_events=2).close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"number":0', b'"number":7'))

    with pytest.raises(UserError, match=f"`sentinel-tune search --resume {tmp_path}`"):
        begin(tmp_path)


def test_a_study_whose_first_line_was_torn_can_be_begun_anew(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b'{"v":1,"se')
    with pytest.raises(UserError, match="start the study anew"):
        Journal.open(tmp_path, say=quiet)
    begin(tmp_path).close()
    assert len(read_plain(tmp_path)) == 1


HOLDER = """
import sys, time
from pathlib import Path
from tune.journal.journal import Journal
journal = Journal.open(Path(sys.argv[1]), say=print)
print("open", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_with_owner_and_time_and_a_killed_owner_holds_nothing(tmp_path):
    begin(tmp_path, n_events=1).close()
    owner = start_script(HOLDER, tmp_path)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=rf"process {owner.pid} on .* since \d{{4}}-\d\d-\d\d"):
            Journal.open(tmp_path, say=quiet)
        with pytest.raises(UserError, match="one process at a time"):
            begin(tmp_path)
        assert len(read_plain(tmp_path)) == 2  # readers need no lock
        owner.send_signal(signal.SIGKILL)
    finally:
        owner.kill()
        owner.communicate()
    with Journal.open(tmp_path, say=quiet) as journal:
        journal.append(make_entry("note", number=1))


WRITER = """
import sys
from pathlib import Path
from tune.journal.entries import OtherEntry
from tune.journal.journal import Journal
journal = Journal.open(Path(sys.argv[1]), say=lambda line: None)
while True:
    fields = {f"m{n}": n / 3 for n in range(100)}
    print(journal.append(OtherEntry(kind="note", fields=fields)).seq, flush=True)
"""


@pytest.mark.parametrize("n_lines", [1, 7, 40])
def test_a_writer_killed_at_any_moment_loses_no_event_that_append_returned(tmp_path, n_lines):
    begin(tmp_path).close()
    for _ in range(2):  # the second one resumes what the first one left
        writer = start_script(WRITER, tmp_path)
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(n_lines)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate()
        acknowledged = [*lines, *rest.splitlines(keepends=True)]
        last = int(next(line for line in reversed(acknowledged) if line.endswith("\n")))
        assert read_plain(tmp_path)[-1]["seq"] in (last, last + 1)


def test_closing_gives_the_study_free_and_a_closed_journal_cannot_append(tmp_path):
    journal = begin(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(RuntimeError, match="closed"):
        journal.append(make_entry("note"))
    Journal.open(tmp_path, say=quiet).close()


FILLER = """
import resource, sys
from pathlib import Path
from tests.tune.plain_entries import make_entry
from tune.journal.journal import FILE_NAME, Journal, StudyWriteError
folder = Path(sys.argv[1])
journal = Journal.open(folder, say=print)
heard = []
journal.subscribe(heard.append)
size = (folder / FILE_NAME).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 150, resource.RLIM_INFINITY))
journal.append(make_entry("note", text="fits"))
try:
    journal.append(make_entry("note", text="x" * 500))
except StudyWriteError as error:
    print(error)
assert len(heard) == 1
assert (folder / FILE_NAME).read_bytes().endswith(b"fits\\"}\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(make_entry("note", text="room again"))
"""


def test_a_full_disk_cuts_the_partial_line_away_says_so_and_goes_on_when_there_is_room(tmp_path):
    begin(tmp_path).close()
    filler = start_script(FILLER, tmp_path)
    output, _ = filler.communicate(timeout=60)
    assert filler.returncode == 0
    assert "make room, then resume the study\n" in output
    assert [entry.get("text") for entry in read_plain(tmp_path)] == [None, "fits", "room again"]


def test_listeners_hear_each_event_once_it_is_on_the_disk(tmp_path):
    heard = []

    def listen(written):
        entry = plain(written)
        assert read_plain(tmp_path)[-1] == entry
        heard.append(entry["event"])

    with begin(tmp_path) as journal:
        journal.subscribe(listen)
        journal.append(make_entry("note", trial="t0000"))
        journal.append(make_entry("end", reason="done"))
    assert heard == ["note", "end"]


def test_a_pickled_journal_holds_no_file_lock_or_listener(tmp_path):
    with begin(tmp_path) as journal:
        journal.subscribe(lambda _: None)
        copy = pickle.loads(pickle.dumps(journal))  # noqa: S301 - our own bytes
        with pytest.raises(RuntimeError, match="copy"):
            copy.append(make_entry("note"))
        copy.close()
        journal.append(make_entry("note", still="writable"))
    assert len(read_plain(tmp_path)) == 2
