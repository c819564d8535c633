"""Ctrl-C and SIGTERM while a study is open: the first ends the search after the running epochs, the second at once.

Whatever is being written down is written to its end first, so that a study is never left half said.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Interrupts:
    """Takes SIGINT and SIGTERM from entering to leaving; between, `KeyboardInterrupt` comes in chosen places only.

    Outside of these places a signal is remembered: the next `while_running` begins with it.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        """notify: takes one line for the user."""
        self._notify = notify
        self._n_signals = 0
        self._request_stop: Callable[[str], None] | None = None
        self._raises = False
        self._n_shields = 0
        self._is_due = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def while_running(self, request_stop: Callable[[str], None]) -> Iterator[None]:
        """Within the block the first signal calls `request_stop`, the second raises KeyboardInterrupt."""
        self._request_stop = request_stop
        if self._n_signals:
            request_stop("interrupted")
        try:
            yield
        finally:
            self._request_stop = None

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Within the block every signal raises KeyboardInterrupt."""
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

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
        if self._request_stop is not None and self._n_signals == 1:
            self._request_stop("interrupted")
            self._notify("interrupted: finishing the running epochs, then writing up (once more to stop now)")
        elif self._request_stop is not None or self._raises:
            if self._n_shields:
                self._is_due = True
            else:
                raise KeyboardInterrupt
