"""The plateau: when more trials are not worth it, measured against what another seed alone changes.

A study that is to end at a plateau runs its default configuration with two more seeds. They are exempt from stopping,
unknown to the sampler, and never the best trial: they only say how far apart equal configurations come out.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

from search_spaces.space import SearchSpace
from trainable.counts import counted
from trainable.plain_values import JsonObject
from tune.decisions.trial_record import NOISE, TrialRecord
from tune.journal.entries import JournalEntry, SessionBegun, study_of

N_SEEDS = 3
"""Runs of the default that the noise is measured from, the ordinary one included."""


def noise_queue(past: Sequence[JournalEntry], space: SearchSpace, epochs: int) -> list[JsonObject]:
    """What a study must still queue to know its noise: the default, as the space names it, with further seeds.

    The default is the starting point or comparison of that name, else the first of them; a study without any runs the
    space's base, with its own seed too. Nothing if it was queued before.
    """
    if any(isinstance(entry, SessionBegun) and entry.queue for entry in past):
        return []
    header = study_of(past).header
    seed = header["seed"]
    named = {entry["origin"].partition(":")[2]: entry for entry in header["queue"]}
    if not named:
        config = space.base.config.with_epochs(epochs).to_dict()
        return [_rerun(space.base.name, n, config, seed) for n in range(N_SEEDS)]
    name = "default" if "default" in named else next(iter(named))
    entry = named[name]
    config = entry["config"] if entry.get("values") is None else space.config(entry["values"], epochs).to_dict()
    return [_rerun(name, n, config, seed) for n in range(1, N_SEEDS)]


def plateau_reason(trials: Sequence[TrialRecord], patience: int) -> str | None:
    """Why the search should propose no more; None while it should.

    trials: all of the study, no queued one missing. patience: trials in a row that ended without an improvement; one
    that is better than the best by less than the noise is none, however many of them follow one another.
    """
    noise = seed_noise(trials)
    if noise is None:
        return None
    told = [t for t in trials if t.is_told and t.state != "failed" and not t.is_noise]
    best, n_since = math.inf, 0
    for trial in sorted(told, key=lambda trial: (trial.ended or 0.0, trial.number)):
        score = math.inf if trial.best_score is None else trial.best_score
        if score < best - noise:
            best, n_since = score, 0
        else:
            n_since += 1
    if n_since < patience:
        return None
    return f"no improvement by more than the noise between seeds, {noise:.2g}, in the last {counted(n_since, 'trial')}"


def seed_noise(trials: Iterable[TrialRecord]) -> float | None:
    """Standard deviation between the best scores of equal configurations with different seeds; 0 of a single one.

    None while one of them has not ended.
    """
    trials = list(trials)
    names = {trial.variant for trial in trials if trial.is_noise}
    runs = [trial for trial in trials if trial.variant in names]
    if not runs or not all(trial.is_told for trial in runs):
        return None
    scores = [t.best_score for t in runs if t.state != "failed" and t.best_score is not None]
    return statistics.stdev(scores) if len(scores) > 1 else 0.0


def _rerun(name: str, n: int, config: JsonObject, seed: int) -> JsonObject:
    return {"origin": f"{NOISE}{name}#{n}", "config": config, "seed": seed + n}
