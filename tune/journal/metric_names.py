"""Names of metrics are written once a journal: a later report says whose names it has, and its values in their order.

{...,"v":1,"seq":5,...,"event":"report","trial":"t0000","epoch":1,"metrics":{"score/all":0.61,"train/loss":1.4}}
{...,"v":2,"seq":7,...,"event":"report","trial":"t0000","epoch":2,"like":5,"values":[0.58,1.2]}
"""

from tune.journal.entries import Confirming, EpochReported, JournalEntry


class MetricNames:
    """The names that a journal's reports have said so far, by the number of the first entry that said them."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], int] = {}
        self._names: dict[int, tuple[str, ...]] = {}

    def note(self, entry: JournalEntry) -> None:
        """Take in an entry that is in the journal for good; of a report, the names if they are new."""
        report = entry.of if isinstance(entry, Confirming) else entry
        if isinstance(report, EpochReported):
            names = tuple(report.metrics)
            if self._first.setdefault(names, entry.seq) == entry.seq:
                self._names[entry.seq] = names

    def like(self, metrics: dict[str, float]) -> int | None:
        """The entry that has these names in this order; None where none has."""
        return self._first.get(tuple(metrics))

    def metrics(self, like: object, values: object) -> dict[str, float] | None:
        """What values with the names of entry `like` say; None where it has no names, or not as many."""
        names = self._names.get(like) if isinstance(like, int) else None
        if names is None or not isinstance(values, list) or len(values) != len(names):
            return None
        return dict(zip(names, values, strict=True))
