"""How many trials the cluster has room for, as nodes join and die."""

import time
from collections.abc import Callable

LOOK_SECONDS = 1.0


class Capacity:
    """Trials that fit side by side now, looked at once a second, and the user's own limit."""

    def __init__(
        self,
        n_slots: Callable[[], int],
        *,
        at_most: int | None,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """n_slots: counts what fits the cluster. notify: takes one line for the user when that has changed."""
        self._n_slots = n_slots
        self._at_most = at_most
        self._notify = notify
        self._clock = clock
        self._looked = float("-inf")
        self._found: int | None = None

    def now(self) -> int:
        """Trials that may run side by side, at least 1: one may always wait for its node."""
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._looked, before, self._found = self._clock(), self._found, self._n_slots()
            if before is not None and before != self._found:
                self._notify(f"the cluster has room for {_trials(self._found)} now, for {before} before")
        found = max(1, self._found or 0)
        return found if self._at_most is None else min(found, self._at_most)


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
