"""What a user sees while a search runs: extraction with its speed, then a line an epoch, on stderr."""

import textwrap
import time
from collections.abc import Callable
from typing import TextIO

from tune.decisions.pace import Pace
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord, finite
from tune.journal.entries import Confirming, EpochReported, JournalEntry, TrialTold
from tune.report.confirmation_progress import ConfirmationProgress
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
        self._standings = Standings()
        self._pace = Pace()
        self._confirmation = ConfirmationProgress()
        self._last_line = float("-inf")
        self._extraction = ImageProgress(stream, "extracting features", clock=clock)

    def extraction(self, n_done: int, n_total: int) -> None:
        """Show how far extraction is: rewritten in place on a terminal, else a line every few seconds."""
        self._extraction.show(n_done, n_total)

    def past(self, entry: JournalEntry) -> None:
        """Take an entry of an earlier session: it counts, and is not shown."""
        self._standings.apply(entry)
        self._confirmation.past(entry)

    def handle(self, entry: JournalEntry) -> None:
        """Take a journal entry of this session and show what it means."""
        self._standings.apply(entry)
        self._pace.apply(entry)
        now = entry.time
        match entry:
            case Confirming():
                self._confirm(entry)
            case EpochReported() if now - self._last_line >= self._line_seconds:
                trial = self._standings.trials[entry.trial]
                self._last_line = now
                self._write(self._line(trial, _epoch(trial), _score(finite(trial.scores[trial.epoch])), now))
            case TrialTold():
                trial = self._standings.trials[entry.trial]
                self._last_line = now
                self._write(self._line(trial, _ending(trial), _score(trial.best_score), now))

    def _confirm(self, entry: Confirming) -> None:
        shown = self._confirmation.line(entry)
        if shown is not None and (shown[1] or entry.time - self._last_line >= self._line_seconds):
            self._last_line = entry.time
            self._write(f"{shown[0]}\n")

    def _line(self, trial: TrialRecord, what: str, score: str, now: float) -> str:
        name = trial.trial_id if trial.name == trial.trial_id else f"{trial.trial_id} {trial.name}"
        best = self._standings.best()
        best_text = "-" if best is None else f"{_score(best.best_score)} ({best.trial_id})"
        rung = "-" if trial.rung is None else str(trial.rung)
        parts = [
            name,
            what,
            f"rung {rung}",
            f"score {score}",
            f"best {best_text}",
            f"{self._standings.n_told}/{self._standings.n_wanted} done",
        ]
        if (left := self._pace.seconds_left(self._standings, now=now)) is not None:
            parts.append(f"time left {duration(left)}")
        return "  ".join(parts) + "\n"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _epoch(trial: TrialRecord) -> str:
    return f"epoch {trial.epoch}/{trial.max_epochs}"


def _ending(trial: TrialRecord) -> str:
    reason = f" ({textwrap.shorten(trial.reason, 80)})" if trial.state == "failed" and trial.reason else ""
    return f"{trial.state} at {_epoch(trial)}{reason}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"
