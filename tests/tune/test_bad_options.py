"""Options and files of options that cannot be: status 2 and a line each, before anything is done or left behind."""

import itertools
import os
from pathlib import Path

import pytest

from tune.cli import main

BIG = "1" + "0" * 30
DIGITS = "9" * 5000
SEARCH = ("search", "--local", "--data", "nowhere", "--space", "smoke")
STUDY = {"status": (), "trials": (), "replay": (), "sync": (), "confirm": (), "retrain": ()}

WHOLE = {
    "search": (
        *("trials", "epochs", "grace-epochs", "reduction-factor", "max-concurrent", "plateau", "confirm-top"),
        *("confirm-folds", "confirm-seeds", "fold", "seed", "workers"),
    ),
    "retrain": ("epochs", "seeds", "workers"),
    "confirm": ("confirm-top", "confirm-seeds", "max-concurrent"),
    "predict": ("domain",),
    "slurm": ("nodes", "cpus-per-node", "max-requeues"),
}
NUMBERS = {
    "search": ("cpus-per-trial", "gpus-per-trial", "target-score", "confirm-share"),
    "confirm": ("cpus-per-trial", "gpus-per-trial"),
}
DURATIONS = {
    "search": ("time-budget", "wait-for-nodes"), "confirm": ("time-budget",), "slurm": ("time", "warn-before"),
    "submit": ("stop-wait",),
}  # fmt: skip
TEXTS = {
    "search": ("study", "resume", "warm-start", "cache", "experiment", "tracking-uri", "address", "features", "space"),
    "train": ("out", "variant", "backbone", "cache", "data"),
    "retrain": ("out", "trial", "config", "name", "tracking-uri"),
    "evaluate": ("out", "experiment"),
    "export": ("out", "submission"),
    "predict": ("csv", "cache"),
    "sync": ("experiment", "tracking-uri"),
    "slurm": ("partition", "account", "job-name", "out", "log-dir", "python", "mail-user"),
    "submit": ("address", "job-id", "working-dir", "env"),
}
WORDS = {
    "retrain": ("nowhere",), "confirm": ("nowhere",), "sync": ("nowhere",), "evaluate": ("nowhere",),
    "export": ("nowhere",), "predict": ("nowhere", "nowhere.png"),
}  # fmt: skip
AFTER = {
    "search": ("--space", "smoke"),
    "slurm": ("--", "search", "--local"),
    "submit": ("--", "search", "--study", "/shared/study"),
}


def rows():
    for options, values in (
        (WHOLE, ("1e30", "nan", "inf", "1.5", BIG, f"-{BIG}", DIGITS, "")),
        (NUMBERS, ("nan", "inf", "-inf", "1e400", "x", "")),
        (DURATIONS, ("-5", "nan", "inf", "1e30", DIGITS, f"{BIG}h", "")),
        (TEXTS, ("", " ", "a\nb", "a\x1b[2Jb", "a\0b", "a\x7f", "\udce9")),
    ):
        for verb, names in options.items():
            for name, value in itertools.product(names, values):
                if name == "csv" and "\0" not in value and value.strip() and value != "\udce9":
                    continue  # a file may be named so
                if (name, value) not in {("csv", "\udce9"), ("data", "\udce9")}:
                    after = () if name == "space" else AFTER.get(verb, ())
                    yield (verb, *WORDS.get(verb, ()), f"--{name}={value}", *after)


ODD = [
    (*SEARCH, "--study", "/"),
    (*SEARCH, "--study", "//"),
    (*SEARCH, "--study", ".."),
    (*SEARCH, "--study", "a" * 5000),
    (*SEARCH, "--study", "s3://"),
    (*SEARCH, "--experiment", "e" * 501),
    (*SEARCH, "--space", "/dev/zero"),
    (*SEARCH, "--space", "."),
    (*SEARCH, "--space", "n" * 300),
    (*SEARCH, "--space", "~nobody-of-this-name/space.yaml"),
    (*SEARCH, "--config", ""),
    (*SEARCH, "--config", "/dev/zero"),
    (*SEARCH, "--config", "."),
    (*SEARCH, "--config", "n" * 300),
    (*SEARCH, "--trial-resources", "a=nan"),
    (*SEARCH, "--trial-resources", "a=inf"),
    (*SEARCH, f"--{'x' * 9000}", "1"),
    *((*SEARCH, "--tracking-uri", uri) for uri in (
        "postgresql+nosuch://host/db", "postgresql+asyncpg://host/db", "postgresql://host:port/db", "sqlite+aiosqlite:///a.db",
        "mysql+../x://h", "sqlite://", "sqlite:///", "sqlite:///no/folder/a.db", f"sqlite:///{'n' * 300}/a.db", "ftp://host",
        "http://", "http://host:port", "oracle://host/db", "./mlruns", "file:///tmp",
    )),
    ("train", "--out", "/"),
    ("train", "--variant", "/dev/zero"),
    ("retrain", "nowhere", "--config", "/dev/zero"),
    ("retrain", "nowhere", "--name", "a/b"),
    ("retrain", "nowhere", "--name", "a'b"),
    ("export", "nowhere", "--submission", "/"),
    ("demo-data", "", "--specimens", "100"),
    ("demo-data", "new", "--specimens", BIG),
    ("demo-data", "new", "--specimens", DIGITS),
    ("demo-data", "new", "--specimens", "-1"),
    ("demo-data", "new", "--seed", "-1", "--specimens", "100"),
    ("demo-data", "new", "--seed", str(2**63), "--specimens", "100"),
    ("demo-data", "n" * 300, "--specimens", "100"),
    ("demo-data", "a\0b", "--specimens", "100"),
    ("search", "--local", "--data", f"demo:{BIG}"),
    ("search", "--local", "--data", "demo:"),
    ("search", "--local", "--data", f"demo:120:{BIG}"),
    ("spaces", "a\0b"),
    ("spaces", ""),
    ("variants", "n" * 9000),
    *((verb, study) for verb in STUDY for study in ("", "a\0b", "a\nb", "n" * 300, "/", "/dev/null")),
    ("",),
    ("x" * 9000,),
    (),
]  # fmt: skip


def ended(capsys, argv):
    capsys.readouterr()
    status = main(argv)
    return status, capsys.readouterr()


def fault(status, captured, *, most=2):
    lines = captured.err.splitlines()
    if status != 2 or captured.out or not lines:
        return f"status {status}, {captured}"
    odd = [line for line in lines if not line.startswith("error: ") or len(line) > 2100 or not line.isprintable()]
    return f"{odd}" if odd or len(lines) > most else None


def faults_of(capsys, argvs):
    found = {argv: fault(*ended(capsys, argv)) for argv in argvs}
    return "\n".join(f"{argv}: {what}"[:900] for argv, what in found.items() if what is not None)


@pytest.mark.seconds
def test_no_option_takes_what_it_cannot_mean(tmp_path, monkeypatch, capsys):
    """Nothing but an option is wrong with most of them."""
    monkeypatch.chdir(tmp_path)
    argvs = [*rows(), *ODD]
    assert len(argvs) > 500
    assert faults_of(capsys, argvs) == ""
    assert not list(tmp_path.iterdir())


def bomb(first, second):
    """Ten lists of ten of the one before: a billion values from half a page."""
    lines = [f"{first}: &a [{', '.join(['x'] * 10)}]"]
    for before, name in itertools.pairwise("abcdefghi"):
        key = second if name == "b" else name
        lines.append(f"{key}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    return "\n".join(lines).encode()


FILES = {
    "bomb": bomb("about", "epochs"),
    "bomb as a key": bomb("about", "epochs") + b"\n? *i\n: 1",
    "in itself": b"about: &a [*a]",
    "merge": b"x: &a {epochs: 1}\n<<: *a",
    "latin-1": b"about: caf\xe9",
    "windows-1252": b"about: \x93quoted\x94",
    "utf-16": "about: x".encode("utf-16"),
    "utf-16 without mark": "about: x".encode("utf-16-le") + b"\xff\xff",
    "utf-32": "about: x".encode("utf-32"),
    "nul": b"about: a\0b",
    "image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "control": b"about: a\x1b[2Jb",
    "deep list": b"about: " + b"[" * 20_000,
    "deep mapping": b"about: " + b"{a: " * 20_000,
    "deep blocks": b"".join(b" " * n + b"a:\n" for n in range(300)),
    "deep sequence": b"- " * 3000,
    "digits": b"epochs: " + b"9" * 10_000,
    "hexadecimal": b"epochs: 0x" + b"f" * 10_000,
    "binary": b"epochs: 0b" + b"1" * 10_000,
    "sixties": b"epochs: 1" + b":59" * 2000,
    "large": b"epochs: 1" + b"0" * 30,
    "twice": b"epochs: 1\nepochs: 99",
    "thousands twice": b"epochs: 1\n" * 1000,
    "too long": b"# long\n" * 100_000,
    "long key": b"k" * 900 + b": 1",
    "long value": b"epochs: " + b"v" * 200_000,
    "many keys": b"\n".join(b"k%d: 1" % n for n in range(2000)),
    "empty": b"",
    "comment": b"# nothing",
    "text": b"epochs",
    "list": b"- epochs",
    "number": b"1",
    "unclosed": b"epochs: [1, 2",
    "tab": b"epochs:\n\t- 1",
    "two documents": b"epochs: 1\n---\nepochs: 2",
    "json with a tail": b'{"epochs": 1}}',
    "object": b"epochs: !!python/object/apply:os.system [echo]",
    "unknown tag": b"epochs: !thing 1",
    "odd tags": b"epochs: !!timestamp x\nabout: !!bool maybe\nx: !!int ''",
    "no character": b'about: "\\U99999999"',
    "half a pair": b'about: "\\ud800"\nepochs: x',
    "directive": b"%YAML 9.9\n---\nepochs: 1",
    "bad date": b"epochs: 2026-99-99",
    "date": b"epochs: 2026-11-29",
    "nan": b"epochs: .nan",
    "infinity": b"epochs: .inf",
    "list as a key": b"? [a, b]\n: 1",
    "number as a key": b"1: 2",
    "null as a key": b"~: 2",
    "yes": b"epochs: yes",
    "negative": b"epochs: -1\nabout: x\nconfig: {}",
    "nothing": b"epochs:",
}  # fmt: skip


@pytest.mark.seconds
@pytest.mark.parametrize("option", ["search --config", "search --space", "train --variant"])
def test_no_file_of_options_is_taken_for_what_it_is_not(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    verb, flag = option.split()
    for name, content in FILES.items():
        Path(f"{name}.yaml").write_bytes(content)
    Path("loop.yaml").symlink_to("loop.yaml")
    os.mkfifo("pipe.yaml")
    Path("folder.yaml").mkdir()
    argvs = [(verb, "--data", "nowhere", flag, f"{name}.yaml") for name in (*FILES, "loop", "pipe", "folder")]
    found = {argv: ended(capsys, argv) for argv in argvs}
    wrong = {argv[-1]: what for argv, got in found.items() if (what := fault(*got, most=101)) is not None}
    wrong |= {argv[-1]: got for argv, got in found.items() if argv[-1].partition(".")[0] not in got[1].err}
    assert not wrong, "\n".join(f"{name}: {what}"[:900] for name, what in wrong.items())


def test_files_of_options_may_begin_with_the_mark_of_utf_8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_bytes(b"\xef\xbb\xbf" + "experiment: käfer\ntrials: 0\n".encode())

    _, captured = ended(capsys, ("search", "--config", "own.yaml"))

    assert captured.err == "error: own.yaml:2: `--trials >= 1` must hold, but got 0\n"
