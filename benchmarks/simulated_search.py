"""Searches of a simulation, whose configurations' true gains are known, and what these forecast when they are run.

Events, folds and what a search chooses by are the data's own, an image an event. A configuration is a skill: the share
of what a fair forecast errs that it does without; then its lasting strengths and each training's noise, as in
`verdict_level.py`. What all configurations err alike stays in their mean, what is a configuration's own does not. What
forecasts are truly worth is their score where nothing was measured: of many events drawn anew, each in a domain of its
own, with lasting strengths and noise of its own. By that an ensemble's worth is known, too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from benchmarks.verdict_level import (
    LASTING,
    SEARCH_FOLD,
    TRAINING_NOISE,
    Events,
    events_of,
    lasting_of,
    skilled,
    training_noise,
)
from search_spaces.space import DEFAULT
from trainable.data.splits import SPLIT_SEED, Split, make_split, search_splits
from trainable.scoring.clustered_error import score_of
from trainable.scoring.crps import Floats, crps_normal, fit_sigma
from trainable.scoring.scoring import EventForecast, HeldOutScorer
from trainable.scoring.targets import Targets
from tune.confirming.choice import DEFAULT_FOLDS
from tune.confirming.fresh_folds import fresh_folds
from tune.confirming.held_out import HeldOutFolds

N_TRIED = 24
SEARCHED = -1
"""Stands where a confirmation's run names its fold, for what a search scores its trials by."""

SKILLS: Floats = np.linspace(-0.7, 0.9, 33)
N_TRUE, N_KNOWN = 20_000, 200

MOST_MEMBERS = 4
"""Of an ensemble: three of a search's and the default."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Remembering(HeldOutFolds):
    """Scores the same predictions once: several ways of confirming ask for the same runs."""

    known: dict[tuple[int, bytes], dict[str, EventForecast]] = field(default_factory=dict, init=False)

    def forecasts(self, fold: int, predictions: ArrayLike) -> dict[str, EventForecast]:
        """As `HeldOutFolds.forecasts`."""
        given = np.asarray(predictions, dtype=np.float64)
        key = fold, given.tobytes()
        if key not in self.known:
            if len(self.known) == N_KNOWN:
                self.known.clear()
            self.known[key] = super().forecasts(fold, given)
        return self.known[key]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Ground:
    """What searches and their confirmations are scored on. rows: fold, or `SEARCHED` -> rows of the events, in the
    order of its scorer. parts: of the search's rows, ID and OOD.
    """

    events: Events
    rows: dict[int, NDArray[np.int64]]
    parts: tuple[slice, slice]
    held_out: HeldOutFolds

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """As the program splits these specimens, with all that it does unless told otherwise."""
        events = events_of(frame)
        wanted = fresh_folds(
            frame, holdout="both", search_fold=SEARCH_FOLD, n_search_folds=None, wanted=DEFAULT_FOLDS
        ).folds
        (searched,) = search_splits(frame, holdout="both", fold=SEARCH_FOLD, n=None)
        by_fold = {fold: make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED) for fold in wanted}
        splits = {fold: _of_events(split, frame, events) for fold, split in {SEARCHED: searched, **by_fold}.items()}
        rows = {fold: np.concatenate([split.id_, split.ood]) for fold, split in splits.items()}
        held_out = Remembering(
            scorers={
                fold: HeldOutScorer(events.labels, events.ids, events.site_names, splits[fold]) for fold in wanted
            },
            floors={},
            group_floors={},
            is_known={},
            seen=events.ids[rows[SEARCHED]],
            domain_of_site=dict(zip(frame["site_id"].astype(str), frame["domain_id"].astype(int), strict=True)),
            n_left_out=0,
            n_seen=0,
        )
        n_id = len(splits[SEARCHED].id_)
        return cls(events=events, rows=rows, parts=(slice(0, n_id), slice(n_id, None)), held_out=held_out)

    def searched_score(self, mu: Floats, sigma: Floats) -> float:
        """What a search scores a trial by, by a sigma that hardly depends on it."""
        costs = crps_normal(self.events.labels[self.rows[SEARCHED]], mu, sigma)
        return score_of([costs[part].mean(axis=0) for part in self.parts])


def _of_events(split: Split, frame: pd.DataFrame, events: Events) -> Split:
    """The same with a row an event."""
    ids = frame["event_id"].to_numpy()
    sides = {side: np.flatnonzero(np.isin(events.ids, ids[getattr(split, side)])) for side in ("train", "id_", "ood")}
    return replace(split, **sides)


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """What forecasts truly score in a world. scores: how many are averaged -> a score for each of `SKILLS`. sigma: that
    suits the default.
    """

    scores: dict[int, Floats]
    sigma: Floats

    @classmethod
    def of(cls, events: Events, world: str, rng: np.random.Generator, *, n: int = N_TRUE) -> Self:
        """By n events drawn anew."""
        drawn = rng.integers(len(events.labels), size=n)
        labels = events.labels[drawn]
        base = skilled(events, rng, drawn)
        spread = math.hypot(*TRAINING_NOISE.values(), *LASTING[world])
        own = rng.normal(0, spread, (MOST_MEMBERS, *labels.shape))
        scores: dict[int, list[float]] = {n_members: [] for n_members in range(1, MOST_MEMBERS + 1)}
        for skill in SKILLS:
            each = Targets.beetles().clip(base + skill * (labels - base) + own)
            for n_members in scores:
                mu = each[:n_members].mean(axis=0)
                sigma = fit_sigma((labels - mu)[: n // 10])[0]
                scores[n_members].append(score_of([crps_normal(labels, mu, sigma).mean(axis=0)]))
        of_default = fit_sigma((labels - Targets.beetles().clip(base + own[0]))[: n // 10])[0]
        return cls({n_members: np.array(found) for n_members, found in scores.items()}, of_default)

    def gain(self, skills: Sequence[float]) -> float:
        """On the default, of the mean of `MOST_MEMBERS` forecasts with these skills at most; SPEI units."""
        of_default = np.interp(0.0, SKILLS, self.scores[1])
        return float(of_default - np.interp(np.mean(skills), SKILLS, self.scores[len(skills)]))

    def skill(self, gain: float) -> float:
        """Of one forecast that gains so much."""
        score = np.interp(0.0, SKILLS, self.scores[1]) - gain
        return float(np.interp(score, self.scores[1][::-1], SKILLS[::-1]))


Run = Callable[[str, int], Floats]
"""A configuration's name, fold or `SEARCHED` -> predictions of the events held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """skills, scores: name -> what it truly is, and what the search saw."""

    skills: dict[str, float]
    scores: dict[str, float]
    run: Run


def search(ground: Ground, truth: Truth, world: str, spread: float, rng: np.random.Generator) -> Searched:
    """One search's trials and the default, whose true gains have an SD of `spread`."""
    skills = {f"t{i:04d}": truth.skill(float(rng.normal(0.0, spread))) for i in range(N_TRIED)} | {DEFAULT: 0.0}
    run = runs_of(skills, ground, world, rng)
    scores = {name: ground.searched_score(run(name, SEARCHED), truth.sigma) for name in skills}
    return Searched(skills=skills, scores=scores, run=run)


def score(parts: Mapping[str, EventForecast]) -> float:
    """Of forecasts of all parts."""
    return score_of([part.crps.mean(axis=0) for part in parts.values()])


def runs_of(skills: dict[str, float], ground: Ground, world: str, rng: np.random.Generator) -> Run:
    """Each run is drawn when it is first asked for."""
    events = ground.events
    base = skilled(events, rng)
    lasting = {name: lasting_of(events, LASTING[world], rng) for name in skills}
    runs: dict[tuple[str, int], Floats] = {}

    def run(name: str, fold: int) -> Floats:
        if (name, fold) not in runs:
            mu = base + skills[name] * (events.labels - base) + lasting[name] + training_noise(events, rng)
            runs[name, fold] = Targets.beetles().clip(mu)[ground.rows[fold]]
        return runs[name, fold]

    return run
