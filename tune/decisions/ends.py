"""When a search ends before its budget of trials does: time, a score that is good enough, a plateau."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tune.decisions.plateau import plateau_reason
from tune.decisions.trial_entries import TrialEntries

EndState = Literal["completed", "interrupted", "failed"]
"""What became of a session's work, as its end says."""

STOPPED_BY_ERROR = "stopped by an error"
"""How a session's reason begins that an error ended; the error follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What else ends a search.

    deadline: unix seconds at which the time budget is spent. target_score: a best score this low is good enough.
    plateau: trials in a row without an improvement; 0 is off.
    """

    deadline: float | None = None
    target_score: float | None = None
    plateau: int = 0

    def stop_reason(self, work: TrialEntries, *, now: float) -> str | None:
        """Why running trials, too, must stop after their epoch; None while they need not."""
        if self.deadline is not None and now >= self.deadline:
            return "time budget spent"
        best = work.best() if self.target_score is not None else None
        if best is None or best.best_score is None or self.target_score is None or best.best_score > self.target_score:
            return None
        return f"target score {self.target_score:g} reached: {best.best_score:.4g} by {best.trial_id}"

    def plateau_reason(self, work: TrialEntries) -> str | None:
        """Why no more trials should be proposed; None while they should."""
        if not self.plateau or work.n_queued:
            return None
        return plateau_reason(work.trials(), self.plateau)


def deadline_in(seconds: float | None, *, clock: Callable[[], float] = time.time) -> float | None:
    """Unix time at which a budget that starts now is spent."""
    return None if seconds is None or math.isinf(seconds) else clock() + seconds
