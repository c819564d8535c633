"""What a user sees on a terminal while a search runs: a few lines that are rewritten in place, ends of trials above."""

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from trainable.counts import counted
from trainable.shown import shown
from tune.decisions.standings import Standings
from tune.decisions.trial_label import trial_label
from tune.decisions.trial_record import State, TrialRecord
from tune.journal.entries import Confirming, JournalEntry, TrialAsked, TrialTold
from tune.report.followed import Followed
from tune.report.results import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

REDRAW_SECONDS = 0.25
"""Between two drawings of results; what begins or ends is drawn at once, since nothing may follow it for long."""

MOST_ROWS = 12
"""Trials that are shown running; of more their number is told."""

WARNING_STYLE = "bold yellow"

HEAD_ROWS = 4
"""What stands above them, and the line below."""


def can_rewrite(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which lines can be rewritten."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


class LiveView:
    """Follows the journal; begins to show with the session's first entry, until `stop`."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        """stream: a terminal. clock: seconds between two drawings; what is shown goes by the journal's times."""
        self._stream = stream
        self._clock = clock
        self.study = Followed()
        self._is_confirming = False
        self._began: float | None = None
        self._last_drawn = float("-inf")
        self._live: Live | None = None

    def handle(self, entry: JournalEntry) -> None:
        """Take a journal entry of this session, and show how things stand."""
        confirming = self.study.take(entry)
        self._began = self._began or entry.time
        self._is_confirming = self._is_confirming or isinstance(entry, Confirming)
        if confirming is not None and confirming[1]:
            self.say(confirming[0])
        elif isinstance(entry, TrialTold):
            self.say(_end_line(self.study.standings.trials[entry.trial]))
        if _begins_or_ends(entry) or self._clock() - self._last_drawn >= REDRAW_SECONDS:
            self._draw(entry.time)

    def say(self, line: str) -> None:
        """A line that stays, above what is rewritten."""
        text, style = shown(line, keep="\n\t"), WARNING_STYLE if line.startswith("warning: ") else None
        if self._live is None and style is None:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        else:
            console = self._live.console if self._live is not None else self._console()
            console.print(text, style=style, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _console(self) -> "Console":
        from rich.console import Console

        return Console(file=self._stream, force_terminal=True)

    def stop(self) -> None:
        """Take the rewritten lines away; lines that stay may follow."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def lines(self, now: float, rows: int) -> list[str]:
        """What is shown, a line each. now: unix seconds. rows: how many there may be."""
        standings = self.study.standings
        head = [f"best      {_best(standings)}", f"trials    {_counts(standings)}"]
        if self._is_confirming:
            return [*head, *self.study.confirmation.lines(now, rows - len(head))]
        used = duration(max(now - (self._began or now), 0.0))
        head.append(f"time      {used} in this session{self._left(now)}")
        running = [_row(trial) for trial in standings.trials.values() if trial.state == "running"]
        n_shown = max(0, min(MOST_ROWS, rows - HEAD_ROWS))
        more = [f"          and {len(running) - n_shown} more"] if len(running) > n_shown else []
        return [*head, *running[:n_shown], *more]

    def drawn(self, now: float, rows: int) -> "Text":
        """The lines as they are drawn: cut off at the terminal's edge."""
        from rich.text import Text

        lines = [_styled(shown(line)) for line in self.lines(now, rows)]
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(lines)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text

    def _left(self, now: float) -> str:
        pace, standings = self.study.pace, self.study.standings
        left = pace.seconds_left(standings, now=now)
        if left is None:
            return ""
        low, high = pace.seconds_left_between(standings, now=now)
        each = pace.epochs_per_second(now) * 60
        return f", about {duration(left)} left ({duration(low)} to {duration(high)}), {each:.3g} epochs a minute"

    def _draw(self, now: float) -> None:
        from rich.live import Live  # a terminal alone needs it

        if self._live is None:
            self._live = Live(
                console=self._console(),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        rows = max(HEAD_ROWS, self._live.console.height - 2)
        self._live.update(self.drawn(now, rows), refresh=True)
        self._last_drawn = self._clock()


def _begins_or_ends(entry: JournalEntry) -> bool:
    inner = entry.of if isinstance(entry, Confirming) else entry
    return isinstance(inner, TrialAsked | TrialTold)


def _styled(line: str) -> "Text":
    from rich.text import Text

    head, text = line[:10], line[10:]
    return Text.assemble((head, "bold cyan"), text)


def _best(standings: Standings) -> str:
    best = standings.best()
    if best is None or best.best_score is None:
        return "no score yet"
    at = f"epoch {best.best_epoch} of {best.max_epochs}"
    return f"{best.best_score:.4f}  {best.trial_id} {trial_label(best)}, {at}"


def _counts(standings: Standings) -> str:
    words: dict[State, str] = {
        "completed": "done",
        "pruned": "pruned",
        "failed": "failed",
        "running": "running",
        "paused": "waiting",
    }
    parts = [f"{n} {word}" for state, word in words.items() if (n := standings.count(state))]
    return f"{standings.n_told} of {counted(standings.n_wanted, 'trial')}: {', '.join(parts) or 'none yet'}"


def _row(trial: TrialRecord) -> str:
    rung = "-" if trial.rung is None else str(trial.rung)
    score = "-" if trial.best_score is None else f"{trial.best_score:.4f}"
    epoch = f"epoch {trial.epoch:>3}/{trial.max_epochs:<3}"
    return f"{trial.trial_id:<9} {trial_label(trial):<24.24}  {epoch}  rung {rung:<3}  best {score}"


def _end_line(trial: TrialRecord) -> str:
    score = "-" if trial.best_score is None else f"{trial.best_score:.4f}"
    line = (
        f"{trial.trial_id} {trial_label(trial)}: {trial.state} at epoch {trial.epoch}/{trial.max_epochs}, best {score}"
    )
    return f"{line} ({trial.reason})" if trial.state == "failed" else line
