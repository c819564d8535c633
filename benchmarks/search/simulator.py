"""A search in virtual time: workers train what a searcher proposes, and nothing is computed but the scores.

A worker takes some seconds to begin a trial, and its configuration's own time for each epoch. Now and then one dies in
the midst of a trial, after a random share of its epochs.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from benchmarks.search.problems.problem import Problem, Training, Values, noise_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A trial to run. n_known: epochs that need no training, of a trial that goes on."""

    trial: str
    values: Values
    n_known: int = 0


class Searcher(Protocol):
    """What is simulated: the program's search or a peer."""

    def start(self) -> Started | None:
        """The next trial for a free worker; None for now."""

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """An epoch of a trial has ended, with a finite score; whether it goes on, if this was not its last."""

    def diverged(self, trial: str, epoch: int) -> None:
        """The training broke off in that epoch."""

    def lost(self, trial: str) -> None:
        """The worker died."""

    def chosen(self) -> Mapping[str, Values]:
        """Name of a way of choosing -> the configuration that would be shipped now; without, while there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """startup_seconds: until a trial's first epoch begins. loss_rate: share of begun trials whose worker dies."""

    n_workers: int = 4
    startup_seconds: float = 1.0
    loss_rate: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a search has at some time. n_trials: begun. chosen: by way of choosing. tried: all configurations begun.

    seconds: when the last epoch before that time ended.
    """

    n_trials: int
    n_epochs: int
    chosen: Mapping[str, Values]
    tried: tuple[Values, ...]
    seconds: float


@dataclass(slots=True)
class _Running:
    started: Started
    training: Training
    dies_after: int
    epoch: int


def simulate(
    searcher: Searcher, problem: Problem, looks_at: Sequence[float], *, cluster: Cluster | None = None, seed: int = 0
) -> list[Look]:
    """Run until the last of some times, in virtual seconds and rising; what the search has at each of them."""
    clock = _Clock(searcher, problem, cluster or Cluster(), seed)
    return [clock.look(at) for at in looks_at]


class _Clock:
    def __init__(self, searcher: Searcher, problem: Problem, cluster: Cluster, seed: int) -> None:
        self._searcher, self._problem, self._cluster, self._seed = searcher, problem, cluster, seed
        self._events: list[tuple[float, int, _Running]] = []  # (when its next epoch ends, order of entry, trial)
        self._n_events = self._n_epochs = 0
        self._n_idle, self._now = cluster.n_workers, 0.0
        self._begun: dict[str, Values] = {}
        self._attempts: dict[str, int] = {}
        self._fill(0.0)

    def look(self, at: float) -> Look:
        while self._events and self._events[0][0] <= at:
            self._now, _, running = heapq.heappop(self._events)
            self._step(self._now, running)
        return Look(
            n_trials=len(self._begun),
            n_epochs=self._n_epochs,
            chosen=dict(self._searcher.chosen()),
            tried=tuple(self._begun.values()),
            seconds=self._now,
        )

    def _step(self, now: float, running: _Running) -> None:
        running.epoch += 1
        self._n_epochs += 1
        if self._goes_on(running):
            self._push(now + running.training.epoch_seconds, running)
        else:
            self._n_idle += 1
            self._fill(now)

    def _goes_on(self, running: _Running) -> bool:
        trial, epoch, scores = running.started.trial, running.epoch, running.training.scores
        if epoch > running.dies_after:
            self._searcher.lost(trial)
            return False
        score = scores[epoch - 1]
        if not math.isfinite(score):
            self._searcher.diverged(trial, epoch)
            return False
        is_last = epoch == len(scores)
        return self._searcher.report(trial, epoch, score, is_last=is_last) and not is_last

    def _fill(self, now: float) -> None:
        """Give free workers what there is to do."""
        while self._n_idle and (started := self._searcher.start()) is not None:
            self._n_idle -= 1
            running = self._running(started)
            self._push(now + self._cluster.startup_seconds + running.training.epoch_seconds, running)

    def _running(self, started: Started) -> _Running:
        attempt = self._attempts[started.trial] = self._attempts.get(started.trial, 0) + 1
        self._begun[started.trial] = started.values
        training = self._problem.train(started.values)
        rng = noise_of(started.values, self._seed, attempt)
        dies = rng.random() < self._cluster.loss_rate
        left = len(training.scores) - started.n_known
        dies_after = started.n_known + int(rng.integers(0, left)) if dies else len(training.scores)
        return _Running(started, training, dies_after, started.n_known)

    def _push(self, at: float, running: _Running) -> None:
        self._n_events += 1
        heapq.heappush(self._events, (at, self._n_events, running))
