"""How fast a session of a study goes, and how long the rest takes at that speed."""

from tune.decisions.standings import Standings
from tune.journal.entries import EpochReported, JournalEntry, SessionBegun


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
        if self._start is None or not self._n_reports or now <= self._start:
            return None
        trials = list(standings.trials.values())
        ended = [trial.epoch for trial in trials if trial.is_told]
        full = max((trial.max_epochs for trial in trials), default=0)
        typical = sum(ended) / len(ended) if ended else full
        open_epochs = sum(max(typical - trial.epoch, 1.0) for trial in trials if not trial.is_told)
        open_epochs += typical * (standings.n_wanted - len(trials))
        return open_epochs * (now - self._start) / self._n_reports
