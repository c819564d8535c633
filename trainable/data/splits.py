"""Which specimens train and which are held out: by site (ID), by domain (OOD), never by image.

*ID* specimens come from known domains at unseen sites, *OOD* specimens from unseen domains, as in the challenge's
hidden test. A random split of images puts nearly every event on both sides, and its scores do not transfer; the
dataset's own validation split is one, and is kept only for comparison ("official").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.config import NO_DOMAIN
from trainable.errors import UserError

Holdout = Literal["site", "domain", "both", "official"]

SPLIT_SEED = 0
"""How sites and domains are dealt to folds: the same in all studies, so that their folds mean the same."""

MAX_DOMAIN_FOLDS = 5
"""Most folds that domains are dealt to, or sites where there are no domains: of the 10 published domains, 2 a fold
(assumption: enough stays to train)."""

_STREAM = 7  # of the random numbers, so that a split shares none with what else is drawn from the same seed


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the specimens on each side; no row is on two.

    policy: "site", "domain", "both", "official", or "all", which holds out nothing. train, id_, ood: int64, ascending;
    but for "all", at most one of id_ and ood is empty. held_out_sites: the sites of id_. held_out_domains: the domains
    of ood. n_leaked_events: held-out events that have specimens in train too; 0 unless the policy is "official".
    """

    policy: str
    fold: int
    train: NDArray[np.int64]
    id_: NDArray[np.int64]
    ood: NDArray[np.int64]
    held_out_sites: tuple[str, ...]
    held_out_domains: tuple[int | str, ...]
    n_leaked_events: int

    @property
    def n_held_out(self) -> int:
        """Rows that do not train."""
        return len(self.id_) + len(self.ood)

    @property
    def warning(self) -> str | None:
        """What a user must hear before seeing a score of this split, if anything."""
        if not self.n_leaked_events:
            return None
        return (
            f"{self.n_leaked_events} held-out events are in train too: scores on the {self.policy} split are "
            "optimistic and do not transfer to new sites; choose models with --holdout both"
        )


def make_split(frame: pd.DataFrame, *, holdout: Holdout, fold: int, seed: int) -> Split:
    """Deal the rows of `Specimens.frame` to train, ID and OOD.

    holdout: "site" holds out one site of each domain that has several, "domain" holds out whole domains, "both" does
    both at once (sites only of domains that stay); where a task has no domains, both of "site" and "both" hold out
    several sites of all.
    "official" keeps the dataset's own validation split, which leaks.
    The first three take all rows, whichever split the dataset has them in. fold: which sites and domains, 0 to
    `n_folds` - 1: a domain is OOD in exactly one fold, a site of a multi-site domain is ID in at least one if there
    are folds enough. seed: how they are dealt.

    Raises: UserError for an unknown holdout, a fold out of range, a side that would be empty, and an event or site
    that would be on two sides.
    """
    count = n_folds(frame, holdout=holdout)
    if not 0 <= fold < count:
        raise UserError(_fold_problem(fold, count, holdout))
    if holdout == "official":
        return _official_split(frame)
    fold_of_domain = {} if holdout == "site" or not _has_domains(frame) else _deal(frame["domain_id"], seed)
    domains = tuple(sorted(d for d, f in fold_of_domain.items() if f == fold))
    if holdout == "domain":
        sites: tuple[str, ...] = ()
    elif _has_domains(frame):
        sites = tuple(sorted(_deal_sites(frame, fold_of_domain, count, seed)[fold]))
    else:
        sites = tuple(sorted(str(site) for site, f in _deal(frame["site_id"], seed).items() if f == fold))
    is_ood = frame["domain_id"].isin(domains).to_numpy()
    is_id = frame["site_id"].isin(sites).to_numpy() & ~is_ood
    split = Split(
        policy=holdout,
        fold=fold,
        train=np.flatnonzero(~is_id & ~is_ood),
        id_=np.flatnonzero(is_id),
        ood=np.flatnonzero(is_ood),
        held_out_sites=sites,
        held_out_domains=domains,
        n_leaked_events=0,
    )
    _check_sides(frame, split)
    return split


SEARCH_FOLDS = 2
"""Folds that score a search's trials where there are enough to confirm by others, too (benchmarks/SEARCHES.md)."""


def search_splits(
    frame: pd.DataFrame,
    *,
    holdout: Holdout,
    fold: int,
    n: int | None,
    n_confirm: int | None = None,
    train_each: bool = False,
) -> tuple[Split, ...]:
    """What each trial of a search is trained on and scored by: a fold, and the n - 1 after it.

    n: None for `SEARCH_FOLDS`, or one where fewer than two others would be left. n_confirm: folds that a confirmation
    asks for, which are checked along with the others; None where it asks for none. train_each: a split a fold, for
    trials that are trained once for each; else one, which holds out what any of them does.

    Of the later ones only the domains are held out where `holdout` is "both": two domains say little of unseen ones,
    and sites are so few that two folds would hold out nearly all of them, which leaves no event to confirm by.

    Raises: UserError as `make_split`, and when the data have not so many folds.
    """
    count = n_folds(frame, holdout=holdout)
    n = n_search_folds(frame, holdout=holdout, wanted=n)
    problems = [] if 0 <= fold < count else [_fold_problem(fold, count, holdout)]
    asked = {"--search-folds": n, "--confirm-folds": n_confirm or 0}
    problems += [
        f"`{option} <= {count}` must hold for --holdout {holdout} on this data, but got {wanted}"
        for option, wanted in asked.items()
        if wanted > count
    ]
    if problems:
        raise UserError(problems)
    first = make_split(frame, holdout=holdout, fold=fold, seed=SPLIT_SEED)
    later: Holdout = "domain" if holdout == "both" and _has_domains(frame) else holdout
    others = [make_split(frame, holdout=later, fold=(fold + i) % count, seed=SPLIT_SEED) for i in range(1, n)]
    return (first, *others) if train_each else (_held_out_at_once(frame, [first, *others]),)


def _held_out_at_once(frame: pd.DataFrame, splits: Sequence[Split]) -> Split:
    """What any of several holds out; a site of an unseen domain counts with that."""
    if len(splits) == 1:
        return splits[0]
    ood = np.unique(np.concatenate([split.ood for split in splits]))
    id_ = np.setdiff1d(np.concatenate([split.id_ for split in splits]), ood)
    of_ood, of_id = frame.iloc[ood], frame.iloc[id_]
    joint = Split(
        policy=splits[0].policy,
        fold=splits[0].fold,
        train=np.setdiff1d(np.arange(len(frame), dtype=np.int64), np.concatenate([id_, ood])),
        id_=id_,
        ood=ood,
        held_out_sites=tuple(sorted(set(map(str, of_id["site_id"])))),
        held_out_domains=tuple(sorted(set(of_ood["domain_id"].tolist()))) if _has_domains(frame) else (),
        n_leaked_events=0,
    )
    _check_sides(frame, joint, n_folds=len(splits))
    return joint


def n_search_folds(frame: pd.DataFrame, *, holdout: Holdout, wanted: int | None = None) -> int:
    """How many score a search's trials: as many as wanted, or what is usual with so many folds as the data have."""
    if wanted is not None:
        return wanted
    return SEARCH_FOLDS if n_folds(frame, holdout=holdout) >= SEARCH_FOLDS + 2 else 1


def _fold_problem(fold: int, count: int, holdout: Holdout) -> str:
    return f"`0 <= --fold <= {count - 1}` must hold for --holdout {holdout} on this data, but got {fold}"


def whole(frame: pd.DataFrame) -> Split:
    """All rows train: for a model whose configuration and length were chosen before, and which no score chooses."""
    none = np.empty(0, dtype=np.int64)
    return Split(
        policy="all",
        fold=0,
        train=np.arange(len(frame), dtype=np.int64),
        id_=none,
        ood=none,
        held_out_sites=(),
        held_out_domains=(),
        n_leaked_events=0,
    )


def n_folds(frame: pd.DataFrame, *, holdout: Holdout) -> int:
    """How many folds this data has: every multi-site domain's sites in turn, or all domains in turn.

    Raises: UserError for an unknown holdout, or data that cannot be split so.
    """
    n_domains = frame["domain_id"].nunique()
    n_sites = [len(sites) for sites in _multi_site_domains(frame).values()]
    if holdout not in get_args(Holdout):
        raise UserError(f"`holdout` must be one of {', '.join(get_args(Holdout))}, but got {holdout!r}")
    if holdout == "official":
        return 1
    if not _has_domains(frame):
        return _n_site_folds(frame, holdout)
    if holdout in ("domain", "both") and n_domains < 2:
        raise UserError(
            f"--holdout {holdout} holds out whole domains and needs at least 2, but this data has {n_domains}; "
            "use --holdout site"
        )
    if holdout in ("site", "both") and not n_sites:
        raise UserError(
            f"--holdout {holdout} holds out one site of each domain with several, but none of the {n_domains} domains "
            "has two sites; use --holdout domain"
        )
    return max(n_sites) if holdout == "site" else min(MAX_DOMAIN_FOLDS, n_domains)


def _has_domains(frame: pd.DataFrame) -> bool:
    return not (frame["domain_id"] == NO_DOMAIN).all()


def _n_site_folds(frame: pd.DataFrame, holdout: Holdout) -> int:
    n_sites = frame["site_id"].nunique()
    if holdout == "domain":
        raise UserError(f"--holdout {holdout} holds out whole domains, but this data has none; use --holdout site")
    if n_sites < 2:
        raise UserError(f"--holdout {holdout} holds out whole sites and needs at least 2, but this data has {n_sites}")
    return min(MAX_DOMAIN_FOLDS, n_sites)


def _official_split(frame: pd.DataFrame) -> Split:
    train = np.flatnonzero(frame["split"] == "train")
    validation = np.flatnonzero(frame["split"] == "validation")
    missing = [name for name, rows in (("train", train), ("validation", validation)) if not len(rows)]
    if missing:
        raise UserError(
            f"--holdout official needs the dataset's own train and validation splits, but {' and '.join(missing)} has "
            "no specimens; use --holdout both"
        )
    events, sites, domains = (frame[name].to_numpy() for name in ("event_id", "site_id", "domain_id"))
    # a validation specimen of a domain that train lacks is OOD, whoever made the split
    is_known = np.isin(domains[validation], domains[train])
    held_out_sites = set(sites[validation[is_known]]) - set(sites[train])
    return Split(
        policy="official",
        fold=0,
        train=train,
        id_=validation[is_known],
        ood=validation[~is_known],
        held_out_sites=tuple(sorted(str(s) for s in held_out_sites)),
        held_out_domains=tuple(sorted(set(domains[validation[~is_known]].tolist()))),
        n_leaked_events=len(np.intersect1d(events[train], events[validation])),
    )


def _multi_site_domains(frame: pd.DataFrame) -> dict[int | str, list[str]]:
    pairs = frame[["domain_id", "site_id"]].drop_duplicates()
    sites: dict[int | str, list[str]] = {}
    for domain, site in sorted(zip(pairs["domain_id"].tolist(), pairs["site_id"], strict=True)):
        sites.setdefault(domain, []).append(str(site))
    return {domain: names for domain, names in sites.items() if len(names) > 1}


def _deal(groups: pd.Series, seed: int) -> dict[int | str, int]:
    """Domain, or site -> the fold it is held out in, with about as many specimens in each fold.

    The largest first, each to the lightest fold that has room; seeds differ by a random weight on the sizes.
    """
    rng = np.random.default_rng([seed, _STREAM])
    sizes = groups.value_counts().sort_index()
    weights = sizes.to_numpy() * rng.uniform(0.75, 1.25, len(sizes))
    folds = rng.permutation(min(MAX_DOMAIN_FOLDS, len(sizes)))
    room = -(-len(sizes) // len(folds))
    loads: dict[int, list[float]] = {int(f): [] for f in folds}
    fold_of: dict[int | str, int] = {}
    names = sizes.index.tolist()
    for place in np.argsort(-weights, kind="stable"):
        fold = min((f for f, load in loads.items() if len(load) < room), key=lambda f: sum(loads[f]))
        loads[fold].append(float(weights[place]))
        fold_of[names[place]] = fold
    return fold_of


def _deal_sites(
    frame: pd.DataFrame, fold_of_domain: Mapping[int | str, int], n_folds: int, seed: int
) -> list[list[str]]:
    """Fold -> one site of each multi-site domain that is not OOD in it; a domain's sites take turns.

    Where a domain's turn begins is chosen so that no fold holds out much more than another.
    """
    rng = np.random.default_rng([seed, _STREAM, 1])
    n_of_site = frame["site_id"].value_counts()
    n_of_domain = frame["domain_id"].value_counts()
    loads = np.zeros(n_folds)
    for domain, fold in fold_of_domain.items():
        loads[fold] += n_of_domain[domain]
    chosen: list[list[str]] = [[] for _ in range(n_folds)]
    multi_site = _multi_site_domains(frame)
    for domain in sorted(multi_site, key=lambda d: (-n_of_domain[d], d)):
        sites = [str(site) for site in rng.permutation(multi_site[domain])]
        folds = [fold for fold in range(n_folds) if fold != fold_of_domain.get(domain)]
        turns = [[sites[(first + turn) % len(sites)] for turn in range(len(folds))] for first in range(len(sites))]
        sizes = [n_of_site[turn].to_numpy() for turn in turns]
        best = min(range(len(turns)), key=lambda first: float(((loads[folds] + sizes[first]) ** 2).sum()))
        loads[folds] += sizes[best]
        for fold, site in zip(folds, turns[best], strict=True):
            chosen[fold].append(site)
    return chosen


def _check_sides(frame: pd.DataFrame, split: Split, *, n_folds: int = 1) -> None:
    """n_folds: whose held-out sides these are."""
    problems = []
    where, remedy = f"--holdout {split.policy} --fold {split.fold}", "use another fold or holdout"
    if n_folds > 1:
        where, remedy = f"{where} --search-folds {n_folds}", "use fewer, or --train-each-fold"
    if not len(split.train):
        problems.append(f"{where} would hold out every specimen and leave none to train on; {remedy}")
    elif split.policy != "domain" and not len(split.id_):
        problems.append(f"{where} holds out every domain with two sites as a whole, so none is left for ID; {remedy}")
    for column in ("event_id", "site_id"):  # a site-date is on one side if its site is
        values = frame[column].to_numpy()
        sides = [np.unique(values[rows]) for rows in (split.train, split.id_, split.ood)]
        names, counts = np.unique(np.concatenate(sides), return_counts=True)
        if (shared := names[counts > 1]).size:
            listed = ", ".join(map(str, shared[:10])) + (f" and {shared.size - 10} more" if shared.size > 10 else "")
            problems.append(f"each {column} must be on one side of the split, but {listed} would be on several")
    if problems:
        raise UserError(problems)
