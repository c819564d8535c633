"""What each rung of a study has seen so far: how many trials, how many of them it stopped, its cut."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from trainable.failure import FailureKind
from tune.decisions.asha import Asha
from tune.journal.entries import EpochReported, JournalEntry, RungDecided, TrialRaised, begun


@dataclass(frozen=True, slots=True, kw_only=True)
class RungStanding:
    """One rung.

    epoch: where it lies. n_reached: trials ranked at it, those that diverged on their way to it included. cut: the
    largest score that would go on now; None while no finite one was ranked.
    """

    epoch: int
    n_reached: int
    n_stopped: int
    cut: float | None


def rung_standings(entries: Iterable[JournalEntry]) -> list[RungStanding]:
    """Every rung of the study that a whole journal tells of, in order."""
    study, others = begun(entries)
    header = study.header
    asha = Asha(
        grace_epochs=header["grace_epochs"],
        reduction_factor=header["reduction_factor"],
        max_epochs=header["max_epochs"],
    )
    last_epochs: dict[str, int] = {}
    n_stopped: Counter[int] = Counter()
    for entry in others:
        match entry:
            case EpochReported():
                last_epochs[entry.trial] = entry.epoch
            case RungDecided() if entry.rung is not None:
                asha.record(entry.rung, entry.trial, entry.value)
                n_stopped[entry.rung] += entry.action == "stop"
            case TrialRaised() if entry.kind is FailureKind.DIVERGED:
                rung = asha.next_rung(last_epochs.get(entry.trial, 0) + 1)
                if rung is not None:
                    asha.record(rung, entry.trial, math.nan)
    return [
        RungStanding(epoch=rung, n_reached=n, n_stopped=n_stopped[rung], cut=_cut(asha, rung))
        for rung, n in asha.sizes().items()
    ]


def _cut(asha: Asha, rung: int) -> float | None:
    for trial_id, value in asha.recorded(rung).items():  # judging any trial again yields the cut of all
        cut = asha.judge(rung, trial_id, value).cut
        return cut if math.isfinite(cut) else None
    return None
