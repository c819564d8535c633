"""News of a death on which the work of the main thread depends, brought to it as a signal."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tune.execution.interrupts import EXIT_INTERRUPTED, NEWS_OF_DEATH

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 15.0
"""Within it the main thread leaves what it waits for. From a question to a dead GCS it does not come back: Ray lets no
signal end that."""


class DeathWatch:
    """Looks for a death, and sees to it that the main thread hears of it."""

    def __init__(self, death: Callable[[], str | None]) -> None:
        """death: looks for one, and has words for it."""
        self._death = death
        self._is_over = threading.Event()
        self._is_told = threading.Event()

    def death(self) -> str | None:
        """What has died, in words; None while all lives."""
        words = self._death()
        if words is not None and threading.current_thread() is threading.main_thread():
            self._is_told.set()
        return words

    @contextmanager
    def watching(self, give_up: Callable[[str], None]) -> Iterator[None]:
        """Within the block the main thread gets `NEWS_OF_DEATH` once when there is one; it then asks for the `death`.

        give_up: called by another thread with the words when the main thread has not asked for long; the process then
        ends as one that was interrupted.
        """
        thread = threading.Thread(target=self._watch, args=(give_up,), name="death watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _watch(self, give_up: Callable[[str], None]) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._is_over.wait(LOOK_SECONDS):
            if (words := self._death()) is None:
                continue
            if not self._is_told.is_set():
                signal.pthread_kill(main, NEWS_OF_DEATH)
                if not self._is_told.wait(PATIENCE_SECONDS) and not self._is_over.is_set():
                    try:
                        give_up(words)
                    finally:
                        os._exit(EXIT_INTERRUPTED)
            return
