"""A search in virtual time: our own ASHA on made-up learning curves, so that its cost is known before it is run."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tune.decisions.asha import Asha

_QUALITY_SD, _GAIN, _NOISE_SD = 1.0, 2.0, 0.15
"""Of a curve: how much configurations differ, how much all improve on the way, and by how much an epoch strays.

Assumption: with these, of trials that are not worth it about as many are stopped at each rung as in real searches.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How trials are stopped, and where they run. patience: as of `verdicts.completion`. slots: trials side by side."""

    max_epochs: int
    grace_epochs: int
    reduction_factor: int
    patience: int = 0
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One trial to be. n_epochs: its length. epoch_seconds: of each of them. is_exempt: never stopped early. is_over:
    it has ended, costs nothing more, but fills the rungs. n_reported: epochs that are known and are not trained again.
    """

    n_epochs: int
    epoch_seconds: float
    build_seconds: float = 0.0
    is_exempt: bool = False
    is_over: bool = False
    n_reported: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """n_epochs: trained in all. busy_seconds: of all slots together. wall_seconds: until the last trial's end."""

    n_epochs: int
    busy_seconds: float
    wall_seconds: float


def forecast(trials: Sequence[Work], rules: Rules, *, seed: int) -> Forecast:
    """Run these trials in virtual time; equal seeds give equal forecasts."""
    asha = Asha(grace_epochs=rules.grace_epochs, reduction_factor=rules.reduction_factor, max_epochs=rules.max_epochs)
    generator = random.Random(seed)
    curves = [made_up_curve(generator, trial.n_epochs) for trial in trials]
    waiting = list(range(len(trials)))[::-1]
    events: list[tuple[float, int, int]] = []  # (time, trial, epoch that ends then)
    n_epochs, busy, now = 0, 0.0, 0.0

    def start(at: float) -> None:
        number = waiting.pop()
        work = trials[number]
        first = at if work.is_over else at + work.build_seconds
        heapq.heappush(events, (first + _seconds(work, 1), number, 1))

    for _ in range(min(rules.slots, len(waiting))):
        start(0.0)
    while events:
        now, number, epoch = heapq.heappop(events)
        work = trials[number]
        n_epochs += _counts(work, epoch)
        busy += _seconds(work, epoch)
        if _goes_on(asha, number, epoch, curves[number], work, rules):
            heapq.heappush(events, (now + _seconds(work, epoch + 1), number, epoch + 1))
            continue
        busy += 0.0 if work.is_over else work.build_seconds
        if waiting:
            start(now)
    return Forecast(n_epochs=n_epochs, busy_seconds=busy, wall_seconds=now)


def _goes_on(asha: Asha, number: int, epoch: int, curve: Sequence[float], work: Work, rules: Rules) -> bool:
    """As `verdicts.py` decides for real."""
    rung = asha.due_rung(str(number), epoch, of=work.n_epochs)
    if rung is not None:
        judgement = asha.judge(rung, str(number), min(curve[:epoch]))
        asha.record(rung, str(number), judgement.value)
        if judgement.action == "stop" and not work.is_exempt:
            return False
    past_its_best = epoch - 1 - min(range(epoch), key=curve.__getitem__)
    return epoch < work.n_epochs and (work.is_exempt or not 0 < rules.patience <= past_its_best)


def _counts(work: Work, epoch: int) -> int:
    return 0 if work.is_over or epoch <= work.n_reported else 1


def _seconds(work: Work, epoch: int) -> float:
    return work.epoch_seconds if _counts(work, epoch) else 0.0


def made_up_curve(generator: random.Random, n_epochs: int) -> list[float]:
    """Scores by epoch, lower is better: some quality, approached over a tenth to all of the length, with noise."""
    quality = generator.gauss(0.0, _QUALITY_SD)
    pace = n_epochs * generator.uniform(0.1, 0.5)
    return [quality + _GAIN * 2.0 ** (-(e + 1) / pace) + generator.gauss(0.0, _NOISE_SD) for e in range(n_epochs)]
