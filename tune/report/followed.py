"""What the lines on stderr are made from, whoever shows them: a study as its journal goes on."""

from tune.decisions.pace import Pace
from tune.decisions.standings import Standings
from tune.journal.entries import Confirming, JournalEntry
from tune.report.confirmation_progress import ConfirmationProgress


class Followed:
    """How trials stand, how fast this session is, how far a confirmation is."""

    def __init__(self) -> None:
        self.standings = Standings()
        self.pace = Pace()
        self.confirmation = ConfirmationProgress()

    def past(self, entry: JournalEntry) -> None:
        """Take an entry of an earlier session: it counts, and is not shown."""
        self.standings.apply(entry)
        self.confirmation.past(entry)

    def take(self, entry: JournalEntry) -> tuple[str, bool] | None:
        """Take an entry of this session; returns what `ConfirmationProgress.line` says of one of a confirmation."""
        self.standings.apply(entry)
        self.pace.apply(entry)
        return self.confirmation.line(entry) if isinstance(entry, Confirming) else None
