"""Outputs that cannot be written are found before there is anything to write."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tune.command_line.outputs import file_problem, folder_problem, weights_folder_problem


def test_a_place_that_can_be_written_is_no_problem_and_nothing_is_left_there(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("far")
    for path in (tmp_path / "a", tmp_path / "pipe", tmp_path / "link"):
        assert file_problem(path, "--csv") is None
    assert folder_problem(tmp_path / "new" / "c", "--out") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_a_file_in_a_folder_that_is_not_there_is_refused_and_no_folder_made(cli, tmp_path):
    place, problem = tmp_path / "new" / "f.csv", f"must be in a folder that is there, but {tmp_path / 'new'} is not"
    assert file_problem(place, "--csv") == f"`--csv` {problem}; make it, or give another place"
    for words in (
        ("trials", tmp_path, "--csv", place),
        ("report", tmp_path, "--output", place),
        ("predict", tmp_path, tmp_path, "--csv", place),
        ("slurm", "--out", place, "--", "search"),
    ):
        ended = cli(*words)
        assert (ended.status, problem in ended.stderr) == (2, True), words
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_begins_otherwise_than_ours_is_not_replaced(tmp_path):
    for name, text in (("ours", "level,event\nx"), ("empty", ""), ("other", "level"), ("journal", '{"seq": 0}')):
        (tmp_path / name).write_text(text)
    (tmp_path / "link").symlink_to("journal")
    os.mkfifo(tmp_path / "pipe")

    def problem(name: str) -> str | None:
        return file_problem(tmp_path / name, "--csv", begins="level,event")

    assert [problem(name) for name in ("ours", "empty", "new", "pipe")] == [None] * 4
    for name in ("other", "journal", "link"):
        assert problem(name) == (
            f"`--csv` must be a new file, or one that this command wrote, but {tmp_path / name} is another; remove it, "
            "or give another place"
        )


def test_what_cannot_be_written_is_told_with_option_place_and_reason(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as bound:
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        bound.bind("socket")
        for name, fault in (
            ("file/a", f"{tmp_path / 'file'} is a file"),
            ("loop", "it is a link to itself"),
            ("socket", "it is a socket"),
            ("n" * 256, "file name too long"),
            (f"new/{'n' * 256}", "file name too long"),
            ("nul\0", "embedded null byte"),
        ):
            path = tmp_path / name
            assert file_problem(path, "--csv") == (
                f"`--csv` must be writable, but {path} is not: {fault}; free it, or give another place"
            )
    assert file_problem(tmp_path, "--csv") == f"`--csv` must be a file, but {tmp_path} is a folder"
    assert "is a file" in str(folder_problem(tmp_path / "file", "--out"))


def test_a_model_is_refused_in_a_folder_whose_path_is_no_utf8_also_by_a_relative_path(tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"K\xe4fer")
    folder.mkdir()
    monkeypatch.chdir(folder)

    assert "its whole path is no text in UTF-8" in str(weights_folder_problem(Path("m"), "--out"))
    assert folder_problem(Path("evaluation"), "--out") is None  # which holds no weights
    assert file_problem(Path("m.csv"), "--csv") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_permissions_are_looked_at_as_the_system_will(tmp_path):
    for name in ("closed", "file"):
        (tmp_path / name).mkdir() if name == "closed" else (tmp_path / name).touch()
        os.chown(tmp_path / name, 1000, 1000)
        (tmp_path / name).chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from tune.command_line.outputs import file_problem, folder_problem\n"
        "for path in sys.argv[1:]: print(file_problem(Path(path), '--csv'), folder_problem(Path(path), '--out'))"
    )
    words = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-c", code]
    places = [str(tmp_path / name) for name in ("closed/a", "closed/new/b")]
    said = subprocess.run([*words, *places], capture_output=True, text=True, check=True).stdout
    assert said.count(f"there is no permission to write to {tmp_path / 'closed'}; ") == 4
    said = subprocess.run([*words, str(tmp_path / "file")], capture_output=True, text=True, check=True).stdout
    assert "is not: there is no permission to write to it; " in said
