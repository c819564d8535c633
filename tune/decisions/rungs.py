"""What each rung of a study has seen so far: how many trials, how many of them it stopped, its cut."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tune.decisions.asha import Asha


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


def rung_standings(events: Iterable[Mapping[str, Any]]) -> list[RungStanding]:
    """Every rung of the study that a whole journal tells of, in order."""
    first, *others = events
    header = first["header"]
    asha = Asha(
        grace_epochs=header["grace_epochs"],
        reduction_factor=header["reduction_factor"],
        max_epochs=header["max_epochs"],
    )
    last_epochs: dict[str, int] = {}
    n_stopped: Counter[int] = Counter()
    for event in others:
        if event["event"] == "report":
            last_epochs[event["trial"]] = event["epoch"]
        elif event["event"] == "decision" and event["rung"] is not None:
            asha.record(event["rung"], event["trial"], event["value"])
            n_stopped[event["rung"]] += event["action"] == "stop"
        elif event["event"] == "error" and event["kind"] == "diverged":
            rung = asha.next_rung(last_epochs.get(event["trial"], 0) + 1)
            if rung is not None:
                asha.record(rung, event["trial"], math.nan)
    return [
        RungStanding(epoch=rung, n_reached=n, n_stopped=n_stopped[rung], cut=_cut(asha, rung))
        for rung, n in asha.sizes().items()
    ]


def _cut(asha: Asha, rung: int) -> float | None:
    for trial_id, value in asha.recorded(rung).items():  # judging any trial again yields the cut of all
        cut = asha.judge(rung, trial_id, value).cut
        return cut if math.isfinite(cut) else None
    return None
