"""Which folds a confirmation runs on: those with the most held-out events that the search did not choose by.

Folds hold out the same sites in turn, so an event that the search scored its trials on is held out of other folds, too.
It says nothing new of the trials that were chosen by it, and is left out of their confirmation.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trainable.data.splits import SPLIT_SEED, Holdout, Split, make_split, n_folds, search_splits
from trainable.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshFolds:
    """folds: ascending. n_fresh: distinct held-out events that the search did not choose by. n_left_out: those that it
    did. n_seen: of these, the ones that are scored all the same, since nothing else is held out of their fold.
    n_searched: folds that the search chose by.
    """

    folds: tuple[int, ...]
    n_fresh: int
    n_left_out: int
    n_seen: int
    n_searched: int


def fresh_folds(
    frame: pd.DataFrame, *, holdout: Holdout, search_fold: int, n_search_folds: int | None = 1, wanted: int
) -> FreshFolds:
    """As many folds as wanted, each the one that adds most fresh events; the search's own comes last.

    search_fold, n_search_folds: as `search_splits` takes them.

    Raises: UserError when the data have fewer folds, or fewer that hold out what they should.
    """
    count = n_folds(frame, holdout=holdout)
    if wanted > count:
        raise UserError(
            f"`--confirm-folds <= {count}` must hold for --holdout {holdout} on this data, but got {wanted}"
        )
    order = [(search_fold + 1 + i) % count for i in range(count)]
    events: dict[int, set[int]] = {}
    problems: list[str] = []
    for fold in order:
        try:
            split = make_split(frame, holdout=holdout, fold=fold, seed=SPLIT_SEED)
        except UserError as error:
            problems += error.problems
        else:
            events[fold] = held_out_events(frame, split)
    if len(events) < wanted:
        raise UserError(problems)
    searched = search_splits(frame, holdout=holdout, fold=search_fold, n=n_search_folds, train_each=True)
    seen = set().union(*(held_out_events(frame, split) for split in searched))
    return _choose(events, seen=seen, searched={split.fold for split in searched}, wanted=wanted)


def _choose(events: dict[int, set[int]], *, seen: set[int], searched: set[int], wanted: int) -> FreshFolds:
    """events: fold -> the events it holds out; of equally good folds, the first here is taken.

    searched: folds whose domains the search chose by; others come first, since domains are what there are fewest of.
    """
    chosen: list[int] = []
    fresh: set[int] = set()
    while len(chosen) < wanted:
        left = [fold for fold in events if fold not in chosen]
        best = max(left, key=lambda fold: (fold not in searched, len(events[fold] - seen - fresh)))
        chosen.append(best)
        fresh |= events[best] - seen
    shared = set().union(*(events[fold] & seen for fold in chosen))
    kept = set().union(*(events[fold] for fold in chosen if not events[fold] - seen))
    return FreshFolds(
        folds=tuple(sorted(chosen)),
        n_fresh=len(fresh),
        n_left_out=len(shared - kept),
        n_seen=len(shared & kept),
        n_searched=len(searched),
    )


def held_out_events(frame: pd.DataFrame, split: Split) -> set[int]:
    """Ids of the events that a split holds out."""
    rows = np.concatenate([split.id_, split.ood])
    return set(frame["event_id"].to_numpy()[rows].tolist())
