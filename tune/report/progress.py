"""What a user sees while a search runs: extraction with its speed, then a line an epoch, on stderr."""

import textwrap
import time
from collections.abc import Callable
from typing import TextIO

from tune.decisions.trial_record import TrialRecord, finite
from tune.journal.entries import Confirming, EpochReported, JournalEntry, TrialTold
from tune.report.followed import Followed
from tune.report.image_progress import ImageProgress
from tune.report.results import duration

LINE_SECONDS = 1.0
"""A line an epoch is shown at most this often; ends of trials always are."""


class ProgressPrinter:
    """Prints journal entries and extraction progress as lines.

    Time left is estimated from the epochs of this session: the speed so far, and the mean length of ended trials.
    """

    def __init__(
        self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic, line_seconds: float = LINE_SECONDS
    ) -> None:
        """clock: seconds, for extraction; trials go by the journal's times."""
        self._stream = stream
        self._line_seconds = line_seconds
        self.study = Followed()
        self._last_line = float("-inf")
        self._extraction = ImageProgress(stream, "extracting features", clock=clock)

    def extraction(self, n_done: int, n_total: int) -> None:
        """Show how far extraction is: rewritten in place on a terminal, else a line every few seconds."""
        self._extraction.show(n_done, n_total)

    def handle(self, entry: JournalEntry) -> None:
        """Take a journal entry of this session and show what it means."""
        confirming = self.study.take(entry)
        now, trials = entry.time, self.study.standings.trials
        is_due = now - self._last_line >= self._line_seconds
        match entry:
            case Confirming() if confirming is not None and (confirming[1] or is_due):
                self._write(f"{confirming[0]}\n", now)
            case EpochReported() if is_due:
                trial = trials[entry.trial]
                self._write(self._line(trial, _epoch(trial), _score(finite(trial.scores[trial.epoch])), now), now)
            case TrialTold():
                trial = trials[entry.trial]
                self._write(self._line(trial, _ending(trial), _score(trial.best_score), now), now)

    def _line(self, trial: TrialRecord, what: str, score: str, now: float) -> str:
        name = trial.trial_id if trial.name == trial.trial_id else f"{trial.trial_id} {trial.name}"
        standings = self.study.standings
        best = standings.best()
        best_text = "-" if best is None else f"{_score(best.best_score)} ({best.trial_id})"
        rung = "-" if trial.rung is None else str(trial.rung)
        parts = [
            name,
            what,
            f"rung {rung}",
            f"score {score}",
            f"best {best_text}",
            f"{standings.n_told}/{standings.n_wanted} done",
        ]
        if (left := self.study.pace.seconds_left(standings, now=now)) is not None:
            parts.append(f"time left {duration(left)}")
        return "  ".join(parts) + "\n"

    def _write(self, text: str, now: float) -> None:
        self._last_line = now
        self._stream.write(text)
        self._stream.flush()


def _epoch(trial: TrialRecord) -> str:
    return f"epoch {trial.epoch}/{trial.max_epochs}"


def _ending(trial: TrialRecord) -> str:
    reason = f" ({textwrap.shorten(trial.reason, 80)})" if trial.state == "failed" and trial.reason else ""
    return f"{trial.state} at {_epoch(trial)}{reason}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
