import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.data.splits import SPLIT_SEED, Split, make_split, n_folds, search_splits, whole
from trainable.errors import UserError

# the published domains with about the published sites
PUBLISHED = {202: 3, 46: 3, 3: 2, 32: 2, 11: 2, 9: 2, 99: 2, 4: 1, 7: 1, 1: 1}


def world(n_sites: dict[int, int], *, events_per_site: int = 3, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    event = 0
    for domain, count in n_sites.items():
        for site in range(count):
            for _ in range(events_per_site):
                event += 1
                size = int(rng.integers(1, 6))
                day = f"2019-06-{event % 4 + 1:02d}"  # sites share dates, so that dates alone tell nothing
                rows += [(event, domain, f"D{domain}-{site}", day)] * size
    frame = pd.DataFrame(rows, columns=["event_id", "domain_id", "site_id", "date"])
    frame["split"] = np.where(rng.random(len(frame)) < 0.1, "validation", "train")
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)


def parts(split: Split) -> list[np.ndarray]:
    return [split.train, split.id_, split.ood]


worlds = st.builds(
    world,
    st.dictionaries(st.integers(1, 300), st.integers(1, 4), min_size=3, max_size=12).filter(
        lambda sites: sum(n > 1 for n in sites.values()) >= 4
    ),
    events_per_site=st.integers(1, 4),
    seed=st.integers(0, 5),
)


@settings(deadline=None, max_examples=40)
@given(frame=worlds, holdout=st.sampled_from(["site", "domain", "both"]), seed=st.integers(0, 100), data=st.data())
def test_no_event_site_or_site_date_is_on_two_sides(
    frame: pd.DataFrame, holdout: str, seed: int, data: st.DataObject
) -> None:
    fold = data.draw(st.integers(0, n_folds(frame, holdout=holdout) - 1))
    split = make_split(frame, holdout=holdout, fold=fold, seed=seed)
    rows = np.concatenate(parts(split))
    assert sorted(rows) == list(range(len(frame)))
    keys = (frame["event_id"], frame["site_id"], frame["site_id"] + frame["date"])
    for key in keys:
        sides = [set(key.iloc[part]) for part in parts(split)]
        assert sum(map(len, sides)) == len(set.union(*sides))
    known = set(frame["domain_id"].iloc[split.train])
    assert set(frame["domain_id"].iloc[split.id_]) <= known
    assert not set(frame["domain_id"].iloc[split.ood]) & known


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_every_domain_is_ood_in_one_fold_and_every_site_of_several_is_id_in_some(seed: int) -> None:
    frame = world(PUBLISHED)
    splits = [make_split(frame, holdout="both", fold=fold, seed=seed) for fold in range(5)]
    assert sorted(d for split in splits for d in split.held_out_domains) == sorted(PUBLISHED)
    several = {f"D{domain}-{site}" for domain, count in PUBLISHED.items() if count > 1 for site in range(count)}
    assert {site for split in splits for site in split.held_out_sites} == several


def test_both_holds_out_one_site_of_each_multi_site_domain_that_stays_and_two_domains() -> None:
    frame = world(PUBLISHED)
    domain_of = frame.drop_duplicates("site_id").set_index("site_id")["domain_id"]
    for fold in range(5):
        split = make_split(frame, holdout="both", fold=fold, seed=0)
        stays = {domain for domain, count in PUBLISHED.items() if count > 1} - set(split.held_out_domains)
        assert sorted(domain_of[list(split.held_out_sites)]) == sorted(stays)
        assert len(split.held_out_domains) == 2
        assert set(frame["site_id"].iloc[split.id_]) == set(split.held_out_sites)
        assert set(frame["domain_id"].iloc[split.ood]) == set(split.held_out_domains)


def test_folds_hold_out_about_the_same_share() -> None:
    frame = world(PUBLISHED, events_per_site=20)
    for seed in range(5):
        splits = [make_split(frame, holdout="both", fold=fold, seed=seed) for fold in range(5)]
        shares = [len(split.train) / len(frame) for split in splits]
        assert min(shares) > 0.3
        assert max(shares) < 0.7
        assert min(len(split.ood) / len(frame) for split in splits) > 0.1


def test_the_same_seed_splits_alike_and_another_otherwise() -> None:
    frame = world(PUBLISHED)
    first, again, other = (make_split(frame, holdout="both", fold=1, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(parts(first), parts(again), strict=True))
    assert (first.held_out_domains, first.held_out_sites) != (other.held_out_domains, other.held_out_sites)


def test_which_sites_are_held_out_does_not_depend_on_the_order_of_rows() -> None:
    frame = world(PUBLISHED)
    shuffled = frame.sample(frac=1, random_state=3).reset_index(drop=True)
    for holdout in ("site", "domain", "both"):
        split, again = (make_split(f, holdout=holdout, fold=0, seed=0) for f in (frame, shuffled))
        assert split.held_out_sites == again.held_out_sites
        assert split.held_out_domains == again.held_out_domains


def test_site_holdout_takes_every_site_in_turn_and_has_no_ood() -> None:
    frame = world(PUBLISHED)
    assert n_folds(frame, holdout="site") == 3
    splits = [make_split(frame, holdout="site", fold=fold, seed=0) for fold in range(3)]
    assert all(len(split.ood) == 0 and len(split.held_out_sites) == 7 for split in splits)
    assert len({site for split in splits for site in split.held_out_sites}) == 16


def test_official_keeps_the_datasets_split_and_warns_of_leaked_events() -> None:
    frame = world(PUBLISHED)
    split = make_split(frame, holdout="official", fold=0, seed=0)
    assert set(frame["split"].iloc[split.train]) == {"train"}
    assert set(frame["split"].iloc[split.id_]) == {"validation"}
    in_train, in_validation = (set(frame["event_id"][frame["split"] == s]) for s in ("train", "validation"))
    assert split.n_leaked_events == len(in_train & in_validation) > 0
    assert f"{split.n_leaked_events} held-out events are in train too" in str(split.warning)


def test_honest_splits_have_no_warning() -> None:
    split = make_split(world(PUBLISHED), holdout="both", fold=0, seed=0)
    assert split.n_leaked_events == 0
    assert split.warning is None


def test_an_official_validation_of_an_unseen_domain_is_ood() -> None:
    frame = world({1: 2, 2: 1})
    frame["split"] = np.where(frame["domain_id"] == 2, "validation", "train")
    split = make_split(frame, holdout="official", fold=0, seed=0)
    assert len(split.id_) == 0
    assert split.held_out_domains == (2,)
    assert split.warning is None


@pytest.mark.parametrize(
    ("sites", "holdout", "fold", "reason"),
    [
        ({1: 1, 2: 1}, "both", 0, "none of the 2 domains has two sites"),
        ({1: 1, 2: 1}, "site", 0, "none of the 2 domains has two sites"),
        ({1: 3}, "both", 0, "needs at least 2, but this data has 1"),
        ({1: 3}, "domain", 0, "needs at least 2, but this data has 1"),
        (PUBLISHED, "both", 5, "`0 <= --fold <= 4` must hold for --holdout both on this data, but got 5"),
        (PUBLISHED, "site", -1, "`0 <= --fold <= 2` must hold"),
        (PUBLISHED, "official", 1, "`0 <= --fold <= 0` must hold"),
        (PUBLISHED, "random", 0, "must be one of site, domain, both, official, but got 'random'"),
    ],
)
def test_a_split_that_cannot_be_says_why(sites: dict[int, int], holdout: str, fold: int, reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        make_split(world(sites), holdout=holdout, fold=fold, seed=0)


def test_a_fold_that_leaves_no_site_for_id_says_why() -> None:
    frame = world({1: 2, 2: 1})
    folds = {make_split(frame, holdout="domain", fold=fold, seed=0).held_out_domains: fold for fold in range(2)}
    assert len(make_split(frame, holdout="both", fold=folds[(2,)], seed=0).id_) > 0
    with pytest.raises(UserError, match="none is left for ID; use another fold or holdout"):
        make_split(frame, holdout="both", fold=folds[(1,)], seed=0)


def test_official_without_a_validation_split_says_why() -> None:
    frame = world(PUBLISHED).assign(split="train")
    with pytest.raises(UserError, match="validation has no specimens"):
        make_split(frame, holdout="official", fold=0, seed=0)


def test_an_event_at_two_sites_cannot_be_split() -> None:
    frame = world(PUBLISHED).assign(event_id=1)
    with pytest.raises(UserError, match="each event_id must be on one side of the split, but 1 would be on several"):
        make_split(frame, holdout="both", fold=0, seed=0)


def test_a_whole_split_trains_on_every_row_and_holds_out_none():
    frame = world(PUBLISHED)
    split = whole(frame)

    assert np.array_equal(split.train, np.arange(len(frame)))
    assert (split.policy, split.n_held_out, split.warning) == ("all", 0, None)
    assert (split.held_out_sites, split.held_out_domains) == ((), ())
    with pytest.raises(UserError, match="`holdout` must be one of"):  # it is not for scoring
        make_split(frame, holdout="all", fold=0, seed=0)


# Several folds of a search


def test_of_the_folds_after_a_searchs_own_only_the_domains_are_held_out_so_that_events_are_left_to_confirm_by():
    frame = world(PUBLISHED)
    first, second = search_splits(frame, holdout="both", fold=0, n=2, train_each=True)
    own = make_split(frame, holdout="both", fold=0, seed=SPLIT_SEED)

    assert all(np.array_equal(a, b) for a, b in zip(parts(first), parts(own), strict=True))
    assert (second.policy, second.fold, len(second.id_)) == ("domain", 1, 0)
    assert not set(first.held_out_domains) & set(second.held_out_domains)
    searched = {event for split in (first, second) for event in frame["event_id"].to_numpy()[split.id_].tolist()}
    confirming = make_split(frame, holdout="both", fold=1, seed=SPLIT_SEED)
    assert set(frame["event_id"].to_numpy()[confirming.id_].tolist()) - searched


def test_a_search_begins_anew_after_the_last_fold_and_cannot_have_more_than_there_are():
    frame = world(PUBLISHED)
    count = n_folds(frame, holdout="both")

    last = search_splits(frame, holdout="both", fold=count - 1, n=2, train_each=True)
    assert [split.fold for split in last] == [count - 1, 0]
    of_sites = search_splits(frame, holdout="site", fold=0, n=2, train_each=True)
    assert [split.policy for split in of_sites] == ["site", "site"]
    with pytest.raises(UserError, match=f"`--search-folds <= {count}` must hold for --holdout both"):
        search_splits(frame, holdout="both", fold=0, n=count + 1)
    with pytest.raises(UserError, match="`--search-folds <= 1` must hold for --holdout official"):
        search_splits(frame, holdout="official", fold=0, n=2)


@pytest.mark.parametrize("holdout", ["both", "domain", "site"])
def test_one_training_holds_out_what_any_of_its_folds_does(holdout):
    frame = world(PUBLISHED)
    each = search_splits(frame, holdout=holdout, fold=1, n=2, train_each=True)
    (joint,) = search_splits(frame, holdout=holdout, fold=1, n=2)

    assert set(joint.train) == set.intersection(*(set(split.train) for split in each))
    assert set(joint.ood) == set.union(*(set(split.ood) for split in each))
    assert set(joint.id_) == set.union(*(set(split.id_) for split in each)) - set(joint.ood)
    assert sorted(np.concatenate(parts(joint)).tolist()) == list(range(len(frame)))
    assert set(joint.held_out_domains) == {domain for split in each for domain in split.held_out_domains}
    assert not set(frame["domain_id"].to_numpy()[joint.train].tolist()) & set(joint.held_out_domains)
    assert set(joint.held_out_sites) == set(frame["site_id"].to_numpy()[joint.id_].tolist())


def test_folds_that_together_hold_out_every_domain_leave_none_to_train_on():
    frame = world(PUBLISHED)
    count = n_folds(frame, holdout="both")

    with pytest.raises(UserError, match=f"--search-folds {count} .* leave none to train on"):
        search_splits(frame, holdout="both", fold=0, n=count)
    assert len(search_splits(frame, holdout="both", fold=0, n=count, train_each=True)) == count
    (one,) = search_splits(frame, holdout="both", fold=0, n=1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(parts(one), parts(make_split(frame, holdout="both", fold=0, seed=SPLIT_SEED)), strict=True)
    )
