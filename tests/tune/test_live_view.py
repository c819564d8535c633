"""What a search shows: on a terminal of 80 x 24 a few lines that are rewritten, in a pipe plain lines."""

import fcntl
import html
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from docs.site.terminal import terminal_picture
from tests.conftest import DEMO
from tests.tune.made_study import EPOCHS, made_study
from tests.tune.plain_entries import make_entry
from tune.journal.entries import EpochReported, JournalEntry, TrialAsked, TrialTold
from tune.report.live_view import LiveView, can_rewrite

COLUMNS, ROWS = 80, 24


class Screen:
    """A terminal, as far as what it is sent here: text, ends of lines, up, erase a line; colours are passed over.

    lines: all that stands or has been scrolled away. widest: columns of the longest line that ever stood there.
    colours: whether any were sent.
    """

    def __init__(self, sent: str) -> None:
        self.lines, self.widest, self.row, self.column = [""], 0, 0, 0
        self.highest_up = 0
        self.colours = re.search(r"\x1b\[[0-9;]*[1-9][0-9;]*m", sent) is not None
        for part in re.findall(r"\x1b\[[?0-9;]*[a-zA-Z]|\x1b.|\r|\n|[^\x1b\r\n]+", sent):
            self._take(part)

    def _take(self, part: str) -> None:
        if part == "\n":
            self.row, self.column = self.row + 1, 0
            self.lines += [""] * (self.row + 1 - len(self.lines))
        elif part == "\r":
            self.column = 0
        elif part.endswith("A") and part.startswith("\x1b["):
            up = int(part[2:-1] or 1)
            self.row, self.highest_up = self.row - up, max(self.highest_up, len(self.lines) - (self.row - up))
        elif part == "\x1b[2K":
            self.lines[self.row] = ""
        elif not part.startswith("\x1b"):
            line = self.lines[self.row]
            self.lines[self.row] = line[: self.column].ljust(self.column) + part + line[self.column + len(part) :]
            self.column += len(part)
            self.widest = max(self.widest, len(self.lines[self.row].rstrip()))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"COLUMNS": COLUMNS, "LINES": ROWS, "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


class Clock:
    """Runs on with every look, so that some of the entries are drawn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.02
        return self.now


def long_study() -> list[JournalEntry]:
    """Of 100 trials of 60 epochs, 20 side by side."""
    config = {"epochs": 60, "adapter": {"kind": "dora", "rank": 14}, "tail": {"n_blocks": 1}}
    entries = [
        make_entry("study", study_id="long", header={"n_trials": 100, "max_epochs": 60}),
        make_entry("session", n_trials=100, executor="ray"),
    ]
    for first in range(0, 100, 20):
        names = [f"t{number:04d}" for number in range(first, first + 20)]
        entries += [
            make_entry(
                "ask", trial=name, number=int(name[1:]), origin="sampler", exempt=False, values={}, config=config
            )
            for name in names
        ]
        for epoch in range(1, 61):
            entries += [
                make_entry("report", trial=name, epoch=epoch, metrics={"score/all": 0.5 + 0.001 * int(name[1:])})
                for name in names
            ]
        entries += [
            make_entry("tell", trial=name, state="completed", value=0.5, epoch=60, reason="completed") for name in names
        ]
    return entries


def shown(terminal: Terminal, entries: list[JournalEntry]) -> Screen:
    view = LiveView(terminal, clock=Clock())
    for entry in entries:
        view.handle(entry)
    view.stop()
    return Screen(terminal.getvalue())


def test_a_long_study_of_many_epochs_leaves_a_line_a_trial_and_stays_in_its_place(terminal):
    screen = shown(terminal, long_study())

    left = [line for line in screen.lines if line]
    assert left == [f"t{n:04d} dora r14 N1: completed at epoch 60/60, best {0.5 + 0.001 * n:.4f}" for n in range(100)]
    assert screen.widest <= COLUMNS
    assert screen.highest_up <= ROWS
    assert screen.colours


def test_what_begins_or_ends_is_shown_at_once_and_results_when_it_is_time(terminal):
    """The clock stands still: nothing is drawn because time has passed."""
    view = LiveView(terminal, clock=lambda: 0.0)
    drawn = []
    for entry in made_study(3):
        before = len(terminal.getvalue())
        view.handle(entry)
        drawn.append((type(entry), "trials    " in terminal.getvalue()[before:]))
    view.stop()

    assert all(is_drawn for kind, is_drawn in drawn[1:] if kind in (TrialAsked, TrialTold))
    assert not any(is_drawn for kind, is_drawn in drawn[1:] if kind is EpochReported)
    assert {kind for kind, _ in drawn} > {TrialAsked, TrialTold, EpochReported}


def test_how_things_stand_is_said_in_a_few_lines():
    view = LiveView(Terminal())
    view._began = 0.0
    entries = made_study(9, ends=False)
    for entry in entries:
        view.study.take(entry)
    lines = view.lines(entries[-1].time, ROWS)

    assert re.fullmatch(rf"best      0\.\d{{4}}  t\d{{4}} .+, epoch \d of {EPOCHS}", lines[0])
    assert lines[1] == "trials    8 of 9 trials: 3 done, 5 pruned, 1 running"
    assert re.fullmatch(
        r"time      \S+ in this session, about \d+s left \(\d+s to \d+s\), \S+ epochs a minute", lines[2]
    )
    assert re.fullmatch(rf"t0008     .{{24}}  epoch   1/{EPOCHS:<3}  rung -    best 0\.\d{{4}}", lines[3])
    assert len(lines) == 4


def test_what_has_no_room_is_counted(terminal):
    view = LiveView(terminal)
    for entry in long_study()[:22]:
        view.study.take(entry)

    assert view.lines(0.0, 10)[-1] == "          and 14 more"
    assert len(view.lines(0.0, 10)) == 10
    assert len(view.lines(0.0, 100)) == 16


def test_the_picture_of_the_docs_is_drawn_from_a_journal_and_fetches_nothing():
    entries = made_study(12, ends=False)
    picture = terminal_picture(entries, "sentinel-tune search")
    shown = html.unescape(re.sub(r"<[^>]*>", "", picture)).replace("\N{NO-BREAK SPACE}", " ")

    for said in ("sentinel-tune search", "best      0.", "trials    8 of 12 trials: ", "time      ", "t0008     "):
        assert said in shown, said
    assert re.search(r"t0007 [^\n]+: (completed|pruned) at epoch", shown)
    assert re.findall(r"https?://(?!www\.w3\.org|www\.textualize\.io)", picture) == []
    assert "@font-face" not in picture


def test_colours_are_off_where_the_user_wants_none(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown(terminal, long_study()[:60])

    assert re.findall(r"\x1b\[(?:[0-9;]*;)?[34][0-7](?:;[0-9;]*)?m", terminal.getvalue()) == []


def test_a_warning_stands_out_and_stays(terminal):
    view = LiveView(terminal, clock=Clock())
    view.say("data: as they are")
    assert not Screen(terminal.getvalue()).colours
    view.say("warning: mend them")
    for entry in made_study(4):
        view.handle(entry)
    view.say("warning: mend them, too")
    view.stop()

    assert "\x1b[1;33mwarning: mend them\x1b[0m" in terminal.getvalue()
    assert "\x1b[1;33mwarning: mend them, too\x1b[0m" in terminal.getvalue()
    assert Screen(terminal.getvalue()).lines[:2] == ["data: as they are", "warning: mend them"]


def test_nothing_is_rewritten_in_a_pipe_or_on_a_terminal_that_cannot(terminal, monkeypatch):
    assert can_rewrite(terminal)
    assert not can_rewrite(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not can_rewrite(terminal)


def command(cache: Path, uri: str, study: Path, *more: str) -> list[str]:
    options = {
        "--data": DEMO, "--space": "smoke", "--trials": 2, "--epochs": 2, "--workers": 1, "--cache": cache,
        "--tracking-uri": uri, "--study": study,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "tune", "search", "--local", *words, *more]


@pytest.mark.slow
def test_a_search_and_its_confirmation_fit_a_terminal(demo_cache, tracking_uri, tmp_path):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    line = command(demo_cache, tracking_uri, tmp_path / "study", "--confirm-top", "1", "--confirm-folds", "1")
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")} | {"TERM": "xterm"}
    with subprocess.Popen(line, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        sent = b"".join(iter(lambda: _read(ours), b"")).decode()
        result = process.stdout.read().decode()
    os.close(ours)

    assert process.returncode == 0, sent
    assert "best" in result
    screen = Screen(sent)
    rewritten = re.sub(r"\x1b\[[0-9;]*m", "", sent)
    for part in (
        "best      0.",
        "trials    1 of 2 trials: 1 done, 1 running",
        "time      ",
        "confirm   0 of 2 runs done",
        "confirm   1 of 2 runs done",
    ):
        assert part in rewritten, part
    ends = [text for text in screen.lines if re.match(r"t\d{4} .*: (completed|pruned) at epoch", text)]
    assert len(ends) == 2
    assert not any(text.startswith(("best      ", "trials    ", "time      ")) for text in screen.lines)
    assert "\x1b[?25h" in sent  # the cursor is back
    assert screen.highest_up <= ROWS


@pytest.mark.slow
def test_a_search_in_a_pipe_is_plain_lines_with_every_end(demo_cache, tracking_uri, tmp_path):
    line = command(demo_cache, tracking_uri, tmp_path / "study", "--no-confirm")
    ended = subprocess.run(line, capture_output=True, text=True, check=True)

    assert "\x1b" not in ended.stderr + ended.stdout
    assert "\r" not in ended.stderr
    assert ended.stderr.endswith("\n")
    assert len(re.findall(r"^t\d{4} .*(?:completed|pruned) at epoch .* done", ended.stderr, re.MULTILINE)) == 2


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # its other end is closed
        return b""
