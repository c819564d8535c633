"""How far work on many images is: its speed and the time left, on stderr."""

import time
from collections.abc import Callable
from typing import TextIO

from trainable.counts import counted
from tune.report.results import duration

SECONDS_TTY, SECONDS_PLAIN = 0.2, 5.0
"""Between two lines: on a terminal, where a line is rewritten in place, and elsewhere."""


class ImageProgress:
    """Shows work on images; speed and time left are counted from the first call on."""

    def __init__(self, stream: TextIO, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """what: the work in words, such as "extracting features". clock: seconds."""
        self._stream = stream
        self._what = what
        self._clock = clock
        self._start: tuple[float, int] | None = None
        self._last = float("-inf")

    def show(self, n_done: int, n_total: int) -> None:
        """The next state; a call with everything done ends the work, and the next one begins another."""
        now, is_terminal = self._clock(), self._stream.isatty()
        if self._start is None:
            self._start, self._last = (now, n_done), now
            return  # a speed needs two points
        is_last = n_done >= n_total
        if not is_last and now - self._last < (SECONDS_TTY if is_terminal else SECONDS_PLAIN):
            return
        self._last = now
        line = self._line(n_done, n_total, since=self._start, now=now)
        self._stream.write(f"\r{line:<78}" + ("\n" if is_last else "") if is_terminal else f"{line}\n")
        self._stream.flush()
        if is_last:
            self._start = None

    def _line(self, n_done: int, n_total: int, *, since: tuple[float, int], now: float) -> str:
        seconds, n_new = now - since[0], n_done - since[1]
        line = f"{self._what}  {n_done}/{counted(n_total, 'image')}"
        if seconds <= 0 or n_new <= 0:
            return line
        speed = n_new / seconds
        return f"{line}  {speed:.0f} images/s  time left {duration((n_total - n_done) / speed)}"
