"""Journals of studies of any size that never ran: entries made by hand, with the metrics that a trial reports."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.space import SearchSpace
from tests.beetles import TARGETS
from tune.decisions.define_by_run import StandIn
from tune.journal.entries import (
    Action,
    EpochReported,
    FloorsMeasured,
    JournalEntry,
    RungDecided,
    SessionBegun,
    SessionEnded,
    StudyBegun,
    ToldState,
    TrialAsked,
    TrialEntry,
    TrialTold,
)
from tune.journal.journal import FILE_NAME
from tune.journal.lines import encode_entry

EPOCHS, RUNGS = 9, (1, 3)
DRAWN = 60
"""Configurations; trials beyond them differ in their rate alone, since checking a configuration takes a millisecond."""


def metrics(score: float) -> dict[str, float]:
    found = {"score/all": score, "score/id": score - 0.05, "score/ood": score + 0.05, "time/epoch_seconds": 2.0}
    for part in ("id", "ood"):
        for target in TARGETS:
            found |= {f"crps_{part}/{target}": score, f"r2_{part}/{target}": 0.2, f"mae_{part}/{target}": 0.6}
    return found


def made_study(n: int, *, space: str = "smoke", study_id: str = "made", ends: bool = True) -> list[JournalEntry]:
    """n sampled trials whose score falls with the rate `optim.lr`: a third go to their end, a hundredth fail.

    ends: whether its session says so; without, the last trial is left running.
    """
    made = enumerate(_entries(n, space, study_id, ends))
    return [replace(entry, seq=number, time=1_800_000_000.0 + number) for number, entry in made]


def write_study(folder: Path, entries: list[JournalEntry]) -> Path:
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(b"".join(map(encode_entry, entries)))
    return folder


def _entries(n: int, space_name: str, study_id: str, ends: bool) -> Iterator[JournalEntry]:
    space, rng = SearchSpace.load(space_name), random.Random(0)
    options = {
        "data": "demo:120", "space": space_name, "trials": n, "epochs": EPOCHS, "backbone": "tiny", "holdout": "both",
        "fold": 0, "seed": 0,
    }  # fmt: skip
    yield StudyBegun(
        study_id=study_id,
        header={
            "options": options, "given": ["data", "space", "trials"], "space": space.to_dict(), "n_trials": n,
            "max_epochs": EPOCHS, "grace_epochs": RUNGS[0], "reduction_factor": 3, "seed": 0, "queue": [],
            "data_fingerprint": "d" * 64, "backbone_fingerprint": "b" * 64, "git_commit": "c" * 40,
            "versions": {"torch": "2.13"},
        },
    )  # fmt: skip
    names = ("constant", "domain_mean", "species_mean")
    yield FloorsMeasured(floors={name: metrics(0.7 + 0.01 * i) for i, name in enumerate(names)})
    yield SessionBegun(n_trials=n, executor="local", device="cpu", precision="float32")
    drawn = [(values, space.config(values, EPOCHS).to_dict()) for values in (_drawn(space, rng) for _ in range(DRAWN))]
    rate = next(p for p in space.parameters if p.key == "optim.lr")
    for number in range(n):
        values, config = drawn[number % DRAWN]
        lr = min(rate.high, max(rate.low, values["optim.lr"] * rng.uniform(0.9, 1.1)))
        changed = {**config, "optim": {**config["optim"], "lr": lr}}
        trial = list(_trial(number, {**values, "optim.lr": lr}, changed, rng))
        yield from trial if ends or number < n - 1 else trial[:2]
    if ends:
        yield SessionEnded(reason="finished", state="completed")


def _trial(number: int, values: dict[str, Any], config: dict[str, Any], rng: random.Random) -> Iterator[TrialEntry]:
    trial = f"t{number:04d}"
    yield TrialAsked(trial=trial, number=number, origin="sampler", exempt=False, values=values, config=config)
    level = 0.65 - 50 * values["optim.lr"] + rng.gauss(0, 0.003)
    fails, reaches = number % 100 == 50, (EPOCHS, RUNGS[0], RUNGS[1])[number % 3]
    for epoch in range(1, reaches + 1):
        score = level + 0.1 / epoch
        yield EpochReported(trial=trial, epoch=epoch, metrics=metrics(score))
        if epoch in RUNGS:
            action: Action = "stop" if epoch == reaches else "continue"
            yield RungDecided(
                trial=trial, epoch=epoch, action=action, rung=epoch, value=score, cut=0.6, n=number + 1, reason=action
            )
    state: ToldState = "failed" if fails else "completed" if reaches == EPOCHS else "pruned"
    reason = "the <GPU> is lost" if fails else state
    yield TrialTold(trial=trial, state=state, value=level + 0.1 / reaches, epoch=reaches, reason=reason)


def _drawn(space: SearchSpace, rng: random.Random) -> dict[str, Any]:
    def draw(_name: str, distribution: Any) -> Any:
        low, high = getattr(distribution, "low", 0), getattr(distribution, "high", 0)
        if hasattr(distribution, "choices"):
            return rng.choice(distribution.choices)
        if isinstance(low, int):
            return rng.randrange(low, high + 1, distribution.step)
        return low * (high / low) ** rng.random() if distribution.log else rng.uniform(low, high)

    return space.suggest(StandIn(draw))
