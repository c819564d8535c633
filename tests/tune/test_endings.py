"""What ends a command that went wrong: one line for what the system refused, a file for a mistake of ours."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tune.cli import main
from tune.command_line.endings import LONGEST_LINE, MOST_LINES, end_of, say_problems, system_problem

FAR = "n" * 256
"""A name of one byte more than a system takes."""


def test_a_mistake_of_ours_is_one_line_that_names_a_private_file_with_the_traceback(cli, tmp_path, monkeypatch):
    def fail(_):
        raise KeyError("a\nkey of http://ada:geheim@host")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tune.verbs.spaces.run", fail)
    ended = cli("spaces")

    assert ended.status == 1
    (line,) = ended.stderr.splitlines()
    (name,) = re.findall(r"KeyError: .*; the traceback, to be reported, is in (.*)", line)
    kept = Path(name)
    assert kept.parent == tmp_path
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in kept.read_text()
    assert "geheim" not in line + kept.read_text()


def test_lines_are_lines_whatever_they_quote_and_however_many_there_are(capsys):
    say_problems([f"got {'x' * 10_000} and\nmore\x1b[2J; do this", *("again" for _ in range(500))])

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MOST_LINES + 1
    assert len(lines[0]) <= LONGEST_LINE + len("error: ")
    assert lines[0].endswith("and\\nmore\\x1b[2J; do this")
    assert lines[-1] == "error: and 401 more of this kind"


def refused(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), names[0], None, *names[1:])


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (refused(errno.EACCES, "/a/cache/x/y"), "`--cache` .* but /a/cache/x/y was not: permission denied; get per", 2),
        (refused(errno.EROFS, "/e"), "`--study` .* but /e was not: read-only file system; name a place", 2),
        (refused(errno.ENOSPC, "/a/data/from", "/b/.m.12.partial/f"), "`--out` .*/b/.m.12.partial/f .*; make room", 1),
        (refused(errno.EDQUOT, "/c/d"), "every place .* but /c/d was not: disk quota exceeded; make room in your", 1),
        (OSError(errno.EMFILE, "x"), "the system must do .*: too many open files; raise the limit .*ulimit -n", 1),
    ],
)
def test_what_the_system_refused_is_told_with_option_place_and_remedy(error, line, status, capsys):
    places = {"/a/cache": "--cache", "/a/data": "--data", "/b/m": "--out", "/e/s": "--study"}

    assert end_of(error, places) == status
    assert re.search(line, capsys.readouterr().err)


def test_errors_of_networks_and_of_files_that_no_option_names_are_no_affair_of_the_user():
    for error in (ConnectionRefusedError(111, "refused"), refused(errno.ENOENT, "/x"), OSError("no number")):
        assert system_problem(error, {"/a": "--cache"}) is None


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("words", "option", "reason"),
    [
        (("extract", "--local", "--data", FAR), "--data", "file name too long"),
        (("search", "--local", "--space", "smoke", "--data", FAR, "--study", "file/x"), "--study", "file is a file"),
        (("search", "--local", "--space", "smoke", "--data", FAR, "--study", FAR), "--study", "file name too long"),
        (("plan", "--local", "--space", "smoke", "--data", "demo:1", "--study", "file"), "--study", "file is a file"),
        (("train", "--data", FAR, "--out", "file"), "--out", "file is a file"),
        (("status", FAR), "STUDY", "file name too long"),
        (("confirm", FAR), "STUDY", "file name too long"),
        (("predict", "nowhere", FAR), "IMAGES", "file name too long"),
        (("export", FAR, "--out", "m"), "MODEL", "file name too long"),
        (("export", "nowhere", "--submission", "file/m"), "--submission", "file is a file"),
        (("evaluate", FAR, "--no-track"), "MODELS", "file name too long"),
        (("slurm", "--log-dir", "file/x", "--", "search", "--local"), "--log-dir", "file is a file"),
        (("demo-data", "file/x", "--specimens", "80"), "PATH", "Not a directory"),
    ],
)
def test_names_in_the_way_and_names_too_long_are_told_before_anything_is_done(
    words, option, reason, cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    ended = cli(*words)

    problems = [line for line in ended.stderr.splitlines() if line.startswith("error: ") and option in line]
    assert ended.status == 2
    assert len(problems) == 1, ended.stderr
    assert reason.lower() in problems[0].lower()
    assert os.listdir() == ["file"]


def test_a_working_folder_that_was_removed_is_told(cli, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    for words in (("search", "--local"), ("spaces",), ("train", "--out", "x")):
        ended = cli(*words)
        assert ended.status == 2
        assert ended.stderr.startswith("error: the working folder must be there, but is not")


def test_a_user_without_a_home_is_asked_for_a_cache(cli, tmp_path, monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "SENTINEL_TUNE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    ended = cli("extract", "--local", "--space", "smoke", "--data", "demo:80")

    assert ended.status == 2
    assert ended.stderr.startswith("error: `--cache` must name a folder that can be found")


def in_its_own_process(code: str, *words: str, inside: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*inside, sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


@pytest.mark.seconds
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_what_is_closed_to_a_user_is_told_with_its_option(tmp_path):
    for name, mode in (("closed", 0o700), ("ro", 0o755)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, 1000, 1000)
        (tmp_path / name).chmod(mode)
    commands = {
        "--data": f"extract --local --space smoke --data {tmp_path}/closed",
        "--cache": f"extract --local --space smoke --data demo:80 --cache {tmp_path}/ro/c",
        "--study": f"search --local --space smoke --study {tmp_path}/ro/s",
        "--out": f"train --out {tmp_path}/ro/m",
        "STUDY": f"status {tmp_path}/closed/s",
        "--log-dir": f"slurm --log-dir {tmp_path}/closed --out {tmp_path}/job.sh -- search --local",
        "MODEL": f"export {tmp_path}/closed/m --out {tmp_path}/m",
    }
    code = "import sys; from tune.cli import main\nfor line in sys.argv[1:]: print(main(line.split()))"
    powerless = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
    ended = in_its_own_process(code, *commands.values(), inside=powerless)

    assert ended.stdout.split() == ["2"] * len(commands)
    lines = ended.stderr.splitlines()
    assert len(lines) == len(commands)
    for option, line in zip(commands, lines, strict=True):
        assert option in line
        assert "ermission" in line


FULL = """
import resource, sys
from tune.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for line in sys.argv[1:]:
    print(main(line.split()), file=sys.stderr)
"""
"""Commands on a disk that takes no file of more than 100 kB; the signal for it is ignored by Python."""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing_half_written(trained_model, tmp_path):
    commands = {
        f"export {trained_model} --out {tmp_path}/a": 1,
        f"export {trained_model} --submission {tmp_path}/b": 1,
        f"export {trained_model} --format torch-export --out {tmp_path}/c.pt2": 1,
        f"evaluate {trained_model} --data demo:120 --no-track --workers 1 --out {tmp_path}/d": 1,
        f"train --data demo:120 --epochs 1 --workers 1 --out {tmp_path}/e": 1,
        f"demo-data {tmp_path}/f --specimens 300": 2,
    }
    ended = in_its_own_process(FULL, *commands)

    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ") or line.isdecimal()]
    assert [int(line) for line in lines[1::2]] == list(commands.values()), ended.stderr
    for line in lines[::2]:
        assert "ile too large" in line
        assert str(tmp_path) in line
    assert "Traceback" not in ended.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["data.npz"]  # of the training


def test_main_ends_with_a_status_and_never_with_an_error_of_its_own(capsys):
    assert main(["status", "\0"]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
