"""What each rung of a study has seen so far: how many trials, how many of them it stopped, its cut."""

import math
from collections import Counter
from dataclasses import dataclass

from tune.decisions.asha import Asha
from tune.decisions.standings import Standings


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


def rung_standings(standings: Standings) -> list[RungStanding]:
    """Every rung of a study, in order."""
    asha, n_stopped = Asha.of(standings.header), Counter[int | None]()
    for trial in standings.trials.values():
        asha.record_trial(trial)
        n_stopped.update(decision.rung for decision in trial.decisions.values() if decision.action == "stop")
    return [
        RungStanding(epoch=rung, n_reached=n, n_stopped=n_stopped[rung], cut=_cut(asha, rung))
        for rung, n in asha.sizes().items()
    ]


def _cut(asha: Asha, rung: int) -> float | None:
    for trial_id, value in asha.recorded(rung).items():  # judging any trial again yields the cut of all
        cut = asha.judge(rung, trial_id, value).cut
        return cut if math.isfinite(cut) else None
    return None
