"""How fast a session of a study goes, and how long the rest takes at that speed."""

import math
import statistics

from tune.decisions.standings import Standings
from tune.journal.entries import EpochReported, JournalEntry, SessionBegun

FEWEST_ENDED = 3
"""Trials from whose lengths the spread of others is told."""

Z_90 = 1.645
"""Standard deviations to both sides that hold 90 % of a normal distribution."""


class Pace:
    """Counts the epochs of the latest session; takes entries in order, and need not see those before that session.

    The clock starts with the session's first result: what comes before it, starting processes above all, happens once.
    """

    def __init__(self) -> None:
        self._start: float | None = None
        self._n_reports = 0

    def apply(self, entry: JournalEntry) -> None:
        """Take one entry; a session's begin starts the count anew."""
        match entry:
            case SessionBegun():
                self._start, self._n_reports = None, 0
            case EpochReported() if self._start is None:
                self._start = entry.time
            case EpochReported():
                self._n_reports += 1

    def seconds_left(self, standings: Standings, *, now: float) -> float | None:
        """Seconds until all trials have ended, from the speed so far and the mean length of ended trials.

        now: unix seconds. None before the session's second epoch.
        """
        if not (speed := self.epochs_per_second(now)):
            return None
        ended = [trial.epoch for trial in standings.trials.values() if trial.is_told]
        return _open_epochs(standings, sum(ended) / len(ended) if ended else _full(standings)) / speed

    def seconds_left_between(self, standings: Standings, *, now: float) -> tuple[float, float]:
        """Where `seconds_left` lies with 90 % were the trials to come like those that ended; of fewer than three, from
        every trial's end after an epoch to the full length of all. It must be known.
        """
        speed = self.epochs_per_second(now)
        ended = [float(trial.epoch) for trial in standings.trials.values() if trial.is_told]
        if len(ended) < FEWEST_ENDED:
            return _open_epochs(standings, 1.0) / speed, _open_epochs(standings, _full(standings)) / speed
        n_open = standings.n_wanted - standings.n_told
        # of a sum of as many draws, whose mean is itself known from those that ended alone
        spread = statistics.stdev(ended) * math.sqrt(n_open + n_open**2 / len(ended))
        middle = _open_epochs(standings, statistics.fmean(ended))
        least, most = float(n_open), _open_epochs(standings, _full(standings))
        low, high = max(middle - Z_90 * spread, min(least, middle)), min(middle + Z_90 * spread, max(most, middle))
        return low / speed, high / speed

    def epochs_per_second(self, now: float) -> float:
        """Of all trials together; 0 before the session's second epoch."""
        if self._start is None or now <= self._start:
            return 0.0
        return self._n_reports / (now - self._start)


def _full(standings: Standings) -> float:
    return float(max((trial.max_epochs for trial in standings.trials.values()), default=0))


def _open_epochs(standings: Standings, typical: float) -> float:
    """Still to be trained if trials are of this length; one that is beyond it trains an epoch more."""
    trials = standings.trials.values()
    begun = sum(max(typical - trial.epoch, 1.0) for trial in trials if not trial.is_told)
    return begun + typical * (standings.n_wanted - len(trials))
