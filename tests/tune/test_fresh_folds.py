"""A confirmation is judged by events that the search did not choose by."""

import numpy as np
import pandas as pd
import pytest

from trainable.data.splits import SPLIT_SEED, make_split, n_folds
from trainable.errors import UserError
from tune.command_line.options import SearchOptions
from tune.confirming.choice import FEW_EVENTS, thin_evidence
from tune.confirming.fresh_folds import fresh_folds, held_out_events


def frame(n_domains: int = 10, sites: int = 2, events: int = 4) -> pd.DataFrame:
    rows = [
        {"domain_id": d, "site_id": f"S{d}-{s}", "event_id": 100 * d + 10 * s + e, "split": "train"}
        for d in range(n_domains)
        for s in range(sites)
        for e in range(events)
    ]
    return pd.DataFrame(rows)


def events_of(data: pd.DataFrame, fold: int) -> set[int]:
    return held_out_events(data, make_split(data, holdout="both", fold=fold, seed=SPLIT_SEED))


@pytest.mark.seconds
@pytest.mark.parametrize("search_fold", range(5))
def test_the_folds_hold_out_as_many_fresh_events_as_any_two_others(search_fold):
    data = frame()
    seen, count = events_of(data, search_fold), n_folds(data, holdout="both")
    chosen = fresh_folds(data, holdout="both", search_fold=search_fold, wanted=2)
    fresh = {fold: events_of(data, fold) - seen for fold in range(count)}

    assert search_fold not in chosen.folds
    assert chosen.n_fresh == len(fresh[chosen.folds[0]] | fresh[chosen.folds[1]])
    assert len(fresh[chosen.folds[0]]) >= 1 <= len(fresh[chosen.folds[1]])
    best = max(len(events) for events in fresh.values())
    assert best in (len(fresh[fold]) for fold in chosen.folds)


def test_what_the_search_chose_by_is_counted_and_scored_only_where_nothing_else_is_held_out():
    data = frame()
    seen = events_of(data, 0)
    four = fresh_folds(data, holdout="both", search_fold=0, wanted=4)
    five = fresh_folds(data, holdout="both", search_fold=0, wanted=5)
    others = set().union(*(events_of(data, fold) for fold in four.folds))

    assert (four.folds, four.n_seen) == ((1, 2, 3, 4), 0)
    assert four.n_left_out == len(others & seen) > 0
    assert (five.n_seen, five.n_left_out) == (len(seen), 0)  # the search's own fold holds out nothing else


def test_more_folds_than_there_are_is_refused():
    with pytest.raises(UserError, match="--confirm-folds <= 5"):
        fresh_folds(frame(), holdout="both", search_fold=0, wanted=6)


def test_held_out_events_are_those_of_both_parts():
    data = frame()
    split = make_split(data, holdout="both", fold=1, seed=SPLIT_SEED)
    rows = np.concatenate([split.id_, split.ood])
    assert held_out_events(data, split) == set(data["event_id"].iloc[rows])


def thin(data: pd.DataFrame, *, is_begun: bool = False, **options: object) -> str | None:
    return thin_evidence(data, SearchOptions(**options), is_begun=is_begun)


def test_a_confirmation_by_enough_events_that_the_search_does_not_choose_by_is_not_warned_of():
    assert thin(frame()) is None
    assert thin(frame(), search_folds=1, confirm_folds=4) is None


@pytest.mark.seconds
def test_a_confirmation_by_events_that_the_search_chose_by_is_warned_of_with_what_leaves_others():
    n_all = len(set().union(*(events_of(frame(), fold) for fold in range(3))))
    why = f"warning: the search chooses by all {n_all} events that the verdict judges by, which favours what it chose; "
    new, begun = thin(frame(), search_folds=5), thin(frame(), search_folds=5, is_begun=True)

    assert new is not None
    assert new.startswith(f"{why}use --search-folds ")
    assert begun is not None
    assert begun.startswith(f"{why}begin a new study with --search-folds ")
    n_folds_left = int(new.partition("--search-folds ")[2].partition(",")[0])
    assert thin(frame(), search_folds=n_folds_left) is None


def test_few_events_to_confirm_by_are_warned_of_and_more_folds_are_the_first_remedy():
    data = frame(n_domains=15, sites=3, events=1)
    few = fresh_folds(data, holdout="both", search_fold=0, n_search_folds=1, wanted=1).n_fresh
    line = thin(data, search_folds=1, confirm_folds=1, is_begun=True)

    assert few < FEW_EVENTS
    assert line is not None
    assert line.startswith(f"warning: the verdict judges by only {few} events, so that chance decides much of it; ")
    assert "; use --confirm-folds " in line
    n_confirm = int(line.partition("--confirm-folds ")[2].partition(",")[0])
    assert thin(data, search_folds=1, confirm_folds=n_confirm) is None


def test_where_no_option_leaves_enough_events_that_is_said_and_the_official_split_has_another_remedy():
    official = frame().assign(split=lambda data: np.where(data["event_id"] % 2, "train", "validation"))

    assert thin(frame(n_domains=2, events=1)).endswith("; data of more sites and domains would say more")
    assert thin(official, holdout="official").endswith("; use --holdout both, whose folds hold out other events")
