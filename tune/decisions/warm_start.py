"""Warm start: what a new study takes over from earlier ones, written into its header so that it needs them no more.

From each study its best configurations that differ from one another are run first. Where scores mean the same (same
data, held-out events, backbone and length), all its other ended trials are told to the sampler as well.
"""

import math
from collections.abc import Callable, Sequence

from search_spaces.space import SearchSpace
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from tune.decisions.diversity import ScoredTrial, best_diverse
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.entries import JournalEntry, study_of
from tune.journal.journal import read_entries

N_BEST = 3
"""Configurations taken of each study."""

COMPARABLE = ("task", "data_fingerprint", "backbone_fingerprint", "held_out_sites", "held_out_domains", "max_epochs")
"""What two studies must share for a score of the one to mean the same in the other."""


def warm_start(
    folders: Sequence[Place], space: SearchSpace, header: JsonObject, say: Callable[[str], None]
) -> JsonObject:
    """What the header of a new study gains: `queue`, `warm_start` (see `Proposer.add_history`), `warm_started_from`.

    header: the new study's so far. say: takes lines on what was taken and what was not, and why.
    Raises: UserError for every folder that holds no readable study.
    """
    studies, problems = [], []
    for folder in dict.fromkeys(folders):
        try:
            studies.append(read_entries(folder))
        except UserError as error:
            problems += [f"--warm-start: {problem}" for problem in error.problems]
    if problems:
        raise UserError(problems)
    gained: JsonObject = {"queue": list(header["queue"]), "warm_start": [], "warm_started_from": []}
    for entries in studies:
        _take(entries, space, header, gained, say)
    return gained if studies else {}


def _take(
    entries: Sequence[JournalEntry],
    space: SearchSpace,
    header: JsonObject,
    gained: JsonObject,
    say: Callable[[str], None],
) -> None:
    study = study_of(entries)
    name, then = study.study_id, study.header
    inside, outside = _candidates(entries, space, header["max_epochs"])
    queued = [e.get("config") or space.config(e["values"], header["max_epochs"]).to_dict() for e in gained["queue"]]
    best = [c for c in best_diverse(inside, space, n=N_BEST) if c.config not in queued]
    gained["queue"] += [{"origin": f"warm:{name}/{c.record.trial_id}", "values": c.values} for c in best]
    different = [field for field in COMPARABLE if then.get(field) != header.get(field)]
    taken = [c.config for c in best]
    told = [] if different else [c for c in inside if c.config not in taken and c.record.is_told]
    gained["warm_start"] += [_history(c) for c in told]
    gained["warm_started_from"].append(name)
    say(f"warm start from {name}: configurations run first: {len(best)}, results told to the sampler: {len(told)}")
    if different:
        words = ", ".join(field.replace("_", " ") for field in different)
        say(f"warm start from {name}: its scores do not compare with this study's, other {words}")
    run_anyway = [r for r, _ in outside if r.trial_config().with_epochs(header["max_epochs"]).to_dict() in queued]
    for record, problem in outside:
        if record in run_anyway:
            continue
        say(f"warm start from {name}: {record.trial_id} lies outside of this space: {problem}")


def _candidates(
    entries: Sequence[JournalEntry], space: SearchSpace, epochs: int
) -> tuple[list[ScoredTrial], list[tuple[TrialRecord, str]]]:
    """Trials with a score, best first; and those of them that would have been among the best but do not fit."""
    scored = [
        (record.best_score, record)
        for record in Standings.of(entries).trials.values()
        if record.best_score is not None and record.state != "failed" and not record.is_noise
    ]
    inside: list[ScoredTrial] = []
    outside: list[tuple[TrialRecord, str]] = []
    for score, record in sorted(scored, key=lambda pair: (pair[0], pair[1].number)):
        try:
            values = space.values_of(record.trial_config())
            config = space.config(values, epochs).to_dict()
        except UserError as error:
            if len(inside) < N_BEST:
                outside.append((record, error.problems[0]))
        else:
            inside.append(ScoredTrial(record, score, values, config))
    return inside, outside


def _history(candidate: ScoredTrial) -> JsonObject:
    record = candidate.record
    finite = [[epoch, score] for epoch, score in record.scores.items() if math.isfinite(score)]
    return {"values": candidate.values, "state": record.state, "value": candidate.score, "intermediate": finite}
