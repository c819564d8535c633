"""Whether the cluster has room for one more trial, as nodes join and die and other searches come and go."""

import math
import time
from collections.abc import Callable
from typing import Protocol

from trainable.counts import counted
from tune.cluster.node import Node
from tune.cluster.placement import Placement

LOOK_SECONDS = 1.0
"""How old the last look at the cluster's nodes may be when a trial is to be started."""


class ClusterView(Protocol):
    """A cluster as it is now."""

    def nodes(self) -> list[Node]:
        """Its living nodes."""
        ...

    def free(self) -> dict[str, float]:
        """What of all nodes together nobody uses."""
        ...


class Room:
    """Whether one more trial can start, on a cluster whose nodes come and go and which others may use, too.

    A trial is asked for when it can start, so that its proposal knows all that ended before. On a cluster that others
    fill one is asked for ahead: it is what waits in Ray's queue.
    """

    def __init__(
        self,
        placement: Placement,
        *,
        cluster: ClusterView,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """say: takes one line for the user when the cluster has grown or shrunk."""
        self._placement = placement
        self._cluster = cluster
        self._say = say
        self._clock = clock
        self._looked = -math.inf
        self._slots: int | None = None
        self._free = 0
        self._live: set[str] = set()
        self._started: set[str] = set()

    def is_there(self) -> bool:
        """Whether a trial should be asked for now."""
        if self._placement.max_concurrent is not None and len(self._live) >= self._placement.max_concurrent:
            return False
        if self._clock() >= self._looked + LOOK_SECONDS:
            self._look()
        n_waiting = len(self._live - self._started)
        return len(self._live) < max(self._slots or 0, 1) and n_waiting < max(self._free, 1)

    def taken(self, trial_id: str) -> None:
        """A trial was asked for."""
        self._live.add(trial_id)

    def started(self, trial_id: str) -> None:
        """It runs."""
        self._started.add(trial_id)

    def left(self, trial_id: str) -> None:
        """It ended, however it did."""
        self._live.discard(trial_id)
        self._started.discard(trial_id)

    def _look(self) -> None:
        self._looked, before = self._clock(), self._slots
        self._slots = self._placement.slots(self._cluster.nodes())
        self._free = self._placement.fits(self._cluster.free())
        if before not in (None, self._slots):
            self._say(f"the cluster has room for {counted(self._slots, 'trial')} now, for {before} before")
