"""Ctrl-C, SIGTERM and SIGHUP: one path. While a study is open the first ends the search after the running epochs, the
second at once; at other times each ends the command.

Whatever is being written down is written to its end first, so that a study is never left half said.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

_Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

NEWS_OF_DEATH = signal.SIGURG
"""Sent to the main thread when nothing can go on; a signal that does nothing where nobody listens."""

EXIT_INTERRUPTED = 130


def no_death() -> None:
    """What is asked of work that depends on no process but this one."""


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within the block of a main thread each stop signal raises KeyboardInterrupt, unless it was ignored before.

    `nohup` has SIGHUP ignored, and shells SIGINT for what they run in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [n for n in (*STOP_SIGNALS, NEWS_OF_DEATH) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _raise) for number in heard}
    try:
        yield
    finally:
        _restore(before)


def _raise(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _restore(handlers: Mapping[signal.Signals, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Interrupts:
    """Takes the stop signals from entering to leaving; between, `KeyboardInterrupt` comes in chosen places only.

    Outside of these places a signal is remembered: the next of them begins with it.
    """

    def __init__(self, say: Callable[[str], None], *, death: Callable[[], str | None] = no_death) -> None:
        """say: takes one line for the user. death: why work cannot go on at all, in words; a signal is then no
        request but the news of it.
        """
        self._say = say
        self._death = death
        self._n_signals = 0
        self._is_unheard = False
        self._request_stop: Callable[[str], None] | None = None
        self._raises = False
        self._n_shields = 0
        self._is_due = False
        self._previous: dict[signal.Signals, _Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are the main thread's alone
        heard = [n for n in STOP_SIGNALS if n == signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
        self._previous = {number: signal.signal(number, self._on_signal) for number in heard}
        self._previous[NEWS_OF_DEATH] = signal.signal(NEWS_OF_DEATH, self._on_news)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    @contextmanager
    def while_running(self, request_stop: Callable[[str], None]) -> Iterator[None]:
        """Within the block the first signal calls `request_stop`, the second raises KeyboardInterrupt.

        A death does both at once.
        """
        self._request_stop, self._is_unheard = request_stop, False
        try:
            self._stop_at_once_if_dead()
            if self._n_signals:
                request_stop("interrupted")
            yield
        except Exception:
            if (death := self._death()) is None:
                raise
            request_stop(death)  # what was raised came of it
        finally:
            self._request_stop = None

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Within the block every signal raises KeyboardInterrupt; one that nobody heard before does at once."""
        self._raises = True
        try:
            if self._is_unheard:
                self._interrupt()
            yield
        finally:
            self._raises = self._is_unheard = False

    @contextmanager
    def shield(self) -> Iterator[None]:
        """A KeyboardInterrupt due within the block comes at its end."""
        self._n_shields += 1
        try:
            yield
        finally:
            self._n_shields -= 1
            if self._is_due and not self._n_shields:
                self._is_due = False
                raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._n_signals += 1
        if self._stop_at_once_if_dead():
            return
        if self._request_stop is not None and self._n_signals == 1:
            self._request_stop("interrupted")
            self._tell("interrupted: finishing the running epochs, then writing up (once more to stop now)")
        elif self._request_stop is not None or self._raises:
            self._interrupt()
        else:
            self._is_unheard = True

    def _on_news(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._stop_at_once_if_dead()

    def _stop_at_once_if_dead(self) -> bool:
        if (death := self._death()) is None or self._request_stop is None:
            return False
        self._request_stop(death)
        self._tell(f"stopping: {death}")
        self._interrupt()
        return True

    def _tell(self, line: str) -> None:
        with suppress(OSError):  # a terminal that has gone sends SIGHUP, and takes no more lines
            self._say(line)

    def _interrupt(self) -> None:
        if self._n_shields:
            self._is_due = True
        else:
            raise KeyboardInterrupt
