"""Ctrl-C and SIGTERM: the first ends the search after the running epochs, the second at once."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def gentle_interrupts(request_stop: Callable[[str], None], notify: Callable[[str], None]) -> Iterator[None]:
    """Within the block, the first SIGINT or SIGTERM calls `request_stop`; the second raises KeyboardInterrupt."""
    n_signals = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal n_signals
        del number, frame
        n_signals += 1
        if n_signals > 1:
            raise KeyboardInterrupt
        request_stop("interrupted")
        notify("interrupted: finishing the running epochs, then writing up (once more to stop now)")

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
