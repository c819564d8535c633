"""stdout and stderr: closed, full, gone, or of an encoding without the signs that are printed."""

import os
import subprocess
import sys

import pytest

SAY = """
import sys
from tune.command_line.streams import settle_streams
settle_streams()
print(sys.argv[1])
print(sys.argv[1], file=sys.stderr)
"""

FULL = b"error: `stdout` must take the result, but did not: No space left on device\n"


def shell(line: str, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash with the program as $tune, and Python as $python."""
    command = ["bash", "-c", f'tune="{sys.executable} -m tune"; python={sys.executable}; {line}', "bash", *words]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("ascii", rb"0.1 +- 0.2, s -> K\xe4fer \xe4 \u8702"),
        ("latin-1", b"0.1 \xb1 0.2, s -> K\\xe4fer \xe4 \\u8702"),
        ("utf-8", "0.1 ± 0.2, σ → K\\xe4fer ä 蜂".encode()),
    ],
)
def test_a_sign_that_the_encoding_has_not_gets_a_stand_in(encoding, wanted):
    text = "0.1 ± 0.2, σ → K".encode() + b"\xe4" + "fer ä 蜂".encode()
    ended = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SAY, text],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)},
    )
    assert ended.stdout == ended.stderr == wanted + b"\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "status", "stderr"),
    [
        ("$tune variants >&-", 0, b""),
        ("$tune variants none 2>&-", 2, b""),
        ("$tune variants none 2>/dev/full", 2, b""),
        ("$tune variants >&- 2>&- <&-", 0, b""),
        ("$tune variants >/dev/full", 1, FULL),
        ("$tune --help >/dev/full", 1, FULL),
        ("$tune variants | true; exit ${PIPESTATUS[0]}", 141, b""),
    ],
)
def test_a_stream_that_takes_nothing_is_no_traceback(line, status, stderr):
    ended = shell(line)
    assert (ended.returncode, ended.stderr) == (status, stderr)


def test_a_file_that_is_opened_does_not_get_what_is_printed(tmp_path):
    code = SAY.replace("print(sys.argv[1])", "out = open(sys.argv[1], 'w'); print('lost'); out.write('kept')")
    ended = shell('$python -c "$1" "$2" >&- 2>&-', code, str(tmp_path / "file"))
    assert ended.returncode == 0
    assert (tmp_path / "file").read_text() == "kept"
