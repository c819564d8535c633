"""stdout and stderr as this program needs them: always there, and taking every sign that it prints."""

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_HANDLER = "sentinel-tune"
_STAND_INS = {
    "±": "+-", "σ": "s", "×": "x", "→": "->", "…": "...", "–": "-", "—": "-", "·": ".", "█": "#", "²": "^2", "µ": "u",
    "≤": "<=", "≥": ">=", "≈": "~", "‘": "'", "’": "'", "“": '"', "”": '"', "°": " deg",
}  # fmt: skip
"""What a terminal or pipe gets for a sign that its encoding has not; any other is escaped as in a Python string."""


class StdoutError(OSError):
    """A result could not be written to stdout; not for a reader who has gone, which is a BrokenPipeError."""


class _Stdout(io.FileIO):
    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StdoutError(error.errno, error.strerror) from error


class _Stderr(io.FileIO):
    """Remarks that nobody takes, as on a full disk or once a terminal is closed, are dropped, and the work goes on."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def settle_streams() -> None:
    """Let stdout and stderr be there and take any text, whatever the locale and whoever started the process.

    One that is closed is taken as /dev/null: else the next file that is opened would get its number, and with it all
    that is printed. Those that a caller has put in their place only get another way with signs.
    """
    for number in (0, 1, 2):
        _fill(number)
    codecs.register_error(_HANDLER, _stand_in)
    sys.stdout = _settled(sys.stdout, sys.__stdout__, _Stdout, number=1)
    sys.stderr = _settled(sys.stderr, sys.__stderr__, _Stderr, number=2)


def leave_stdout() -> None:
    """Drop what stdout holds and will be given, since it takes nothing; else Python complains while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fill(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def _settled(stream: TextIO | None, original: TextIO | None, raw: type[io.FileIO], *, number: int) -> TextIO:
    if stream is original:
        if stream is not None:
            stream.flush()
        return io.TextIOWrapper(
            io.BufferedWriter(raw(number, "wb", closefd=False)),
            encoding=None if stream is None else stream.encoding,
            errors=_HANDLER,
            line_buffering=raw is _Stderr or (stream is not None and stream.isatty()),
        )
    assert stream is not None
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_HANDLER)
    return stream


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(sign) or _escaped(sign) for sign in signs), error.end


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # a byte of a file name that could not be decoded
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("ascii", errors="backslashreplace").decode("ascii")
