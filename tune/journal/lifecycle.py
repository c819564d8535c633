"""Which entries of a journal can follow on those before: a trial is asked for once, then heard of, then told.

Writers keep to it. An entry that cannot follow was left by an accident (older versions wrote `pause` after `tell` when
a projection failed), or by hand. It is left out; whatever follows from the others stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from trainable.counts import counted
from tune.journal.entries import (
    Confirming,
    EpochReported,
    JournalEntry,
    StudyBegun,
    TrialAsked,
    TrialEntry,
    TrialTold,
    UnusableEntry,
)
from tune.journal.lines import kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutEntry:
    """An entry that cannot follow. seq: its number in the journal."""

    seq: int
    kind: str
    trial: str | None
    reason: str

    def __str__(self) -> str:
        of = "" if self.trial is None else f" of {self.trial}"
        return f"entry {self.seq}, {self.kind}{of}: {self.reason}"


@dataclass(slots=True)
class _Life:
    asked: int
    epoch: int = 0
    told: int | None = None


@dataclass(slots=True)
class Lifecycle:
    """What was heard of each trial so far, the search's and a confirmation's; only `take` changes it."""

    _searched: dict[str, _Life] = field(default_factory=dict)
    _confirmed: dict[str, _Life] = field(default_factory=dict)
    _is_begun: bool = False

    def take(self, entry: JournalEntry) -> LeftOutEntry | None:
        """Take in the next entry; one that cannot follow changes nothing, and is returned with the reason."""
        problem = self.problem(entry)
        if problem is not None:
            return problem
        self._is_begun = True
        inner, lives = self._of(entry)
        match inner:
            case TrialAsked():
                lives[inner.trial] = _Life(entry.seq)
            case EpochReported():
                lives[inner.trial].epoch = inner.epoch
            case TrialTold():
                lives[inner.trial].told = entry.seq
        return None

    def problem(self, entry: JournalEntry) -> LeftOutEntry | None:
        """Why an entry cannot come next; None when it can."""
        if isinstance(entry, UnusableEntry):
            return LeftOutEntry(seq=entry.seq, kind=entry.kind, trial=entry.trial, reason=entry.reason)
        inner, lives = self._of(entry)
        reason = self._misplaced(entry, inner, lives)
        if reason is None:
            return None
        kind = kind_of(inner) if inner is entry else f"confirm {kind_of(inner)}"
        trial = inner.trial if isinstance(inner, TrialEntry) else None
        return LeftOutEntry(seq=entry.seq, kind=kind, trial=trial, reason=reason)

    def _of(self, entry: JournalEntry) -> tuple[JournalEntry, dict[str, _Life]]:
        """What happened, out of the envelope of a confirmation, and the trials that it is about."""
        return (entry.of, self._confirmed) if isinstance(entry, Confirming) else (entry, self._searched)

    def _misplaced(self, entry: JournalEntry, inner: JournalEntry, lives: dict[str, _Life]) -> str | None:
        if isinstance(entry, StudyBegun) == self._is_begun:
            return "the study was begun before" if self._is_begun else "no study was begun before"
        if not isinstance(inner, TrialEntry):
            return None
        life, trial, is_ask = lives.get(inner.trial), inner.trial, isinstance(inner, TrialAsked)
        if life is None:
            return None if is_ask else f"{trial} was not asked for before"
        if is_ask:
            return f"{trial} was asked for by entry {life.asked}"
        if life.told is not None:
            return f"{trial} was told by entry {life.told}"
        if isinstance(inner, EpochReported) and inner.epoch <= life.epoch:
            return f"epoch {life.epoch} was reported before"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A journal's entries that follow on one another, and those that were left out."""

    entries: list[JournalEntry]
    left_out: tuple[LeftOutEntry, ...]


def contents_of(entries: Iterable[JournalEntry], lifecycle: Lifecycle | None = None) -> Contents:
    """Sort a whole journal's entries. lifecycle: takes them in, to go on with."""
    life = Lifecycle() if lifecycle is None else lifecycle
    kept, left_out = [], []
    for entry in entries:
        problem = life.take(entry)
        if problem is None:
            kept.append(entry)
        else:
            left_out.append(problem)
    return Contents(entries=kept, left_out=tuple(left_out))


def left_out_line(left_out: tuple[LeftOutEntry, ...], shown: int = 3) -> str:
    """What the user reads of entries that were left out."""
    more = f"; and {len(left_out) - shown} more" if len(left_out) > shown else ""
    listed = "; ".join(map(str, left_out[:shown])) + more
    return f"left out {counted(len(left_out), 'entry')} that cannot follow on what came before ({listed})"
