"""Which of the data's specimens a model is scored on, and how honest that is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.counts import counted
from trainable.data.splits import SPLIT_SEED, Holdout, Split, make_split
from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from trainable.export.training_record import RECORD, Seen

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens

Ints = NDArray[np.int64]
Which = Literal["held-out", "validation", "all"]

EVERYTHING = "all"
"""The holdout of a model that was trained on all of its data."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """What of the data at hand a model was trained on.

    rows: its training specimens. held_out: those of its known domains and of others. policy: how they were held out.
    """

    rows: Ints
    held_out: Ints
    policy: str


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenEvents:
    """rows: the specimens to score, ascending. about: which they are, in words."""

    which: Which
    rows: Ints
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """How many of the scored specimens and events a model was trained on; None where it cannot be known.

    n_sites: of other data than it was trained on, the sites that are called as one that it was. note: what is to be
    told where nothing is to be warned of.
    """

    n_specimens: int | None
    n_events: int | None
    warning: str | None
    n_sites: int | None = None
    note: str | None = None


def training_of(facts: ModelFacts, specimens: "Specimens") -> Training | None:
    """The model's side of the data; None when its data were others.

    Raises: UserError when the data are its own and cannot be split any more as they were.
    """
    if facts.data_fingerprint != specimens.fingerprint:
        return None
    frame = specimens.frame
    if facts.holdout == EVERYTHING or facts.fold is None:
        return Training(rows=np.arange(len(frame)), held_out=np.array([], dtype=np.int64), policy=EVERYTHING)
    split = make_split(frame, holdout=cast(Holdout, facts.holdout), fold=facts.fold, seed=SPLIT_SEED)
    _check_same(split, facts)
    return Training(rows=split.train, held_out=np.sort(np.concatenate([split.id_, split.ood])), policy=split.policy)


def choose_events(
    wanted: str, specimens: "Specimens", trainings: Mapping[str, Training | None], facts: Mapping[str, ModelFacts]
) -> ChosenEvents:
    """The specimens to score all models on; wanted: "auto", "held-out", "validation" or "all".

    trainings, facts: by the model's name.

    Raises: UserError when there are none such, saying why.
    """
    validation = np.flatnonzero(specimens.frame["split"] == "validation").astype(np.int64)
    if wanted == "held-out":
        if problems := _why_not_held_out(specimens, trainings, facts):
            raise UserError(problems)
        return _held_out(trainings, facts)
    if wanted == "validation" and not len(validation):
        raise UserError(
            f"`--events validation` needs data with a validation split, but {specimens.source} has none; "
            "use --events held-out or all"
        )
    if wanted == "auto" and not _why_not_held_out(specimens, trainings, facts):
        return _held_out(trainings, facts)
    is_foreign = any(training is None for training in trainings.values())
    if wanted == "validation" or (wanted == "auto" and is_foreign and len(validation)):
        return ChosenEvents(which="validation", rows=validation, about="the data's own validation split")
    rows = np.arange(len(specimens.frame), dtype=np.int64)
    return ChosenEvents(which="all", rows=rows, about="all labelled specimens of the data")


def leak_of(
    name: str,
    training: Training | None,
    chosen: ChosenEvents,
    frame: pd.DataFrame,
    *,
    copies: str | None = None,
    seen: Seen | None = None,
) -> Leak:
    """Whether the model has seen what it is scored on, and the words to say so.

    copies: what is to be said of photographs that were trained on as other specimens. seen: of other data than the
    model's, what its record tells; None where it has none.
    """
    if training is None and seen is not None:
        return _leak_of_seen(name, seen, chosen, frame)
    if training is None:
        return Leak(n_specimens=None, n_events=None, warning=_foreign_warning(name, chosen, frame))
    events = frame["event_id"].to_numpy()
    n_specimens = len(np.intersect1d(chosen.rows, training.rows))
    n_events = len(np.intersect1d(events[chosen.rows], events[training.rows]))
    warning = None
    if n_specimens:
        share = "all" if n_specimens == len(chosen.rows) else f"{n_specimens} of the {len(chosen.rows)}"
        warning = (
            f"{share} specimens scored here were trained on by {name}: the scores tell what it remembers, not how well "
            "it predicts new sites"
        )
    elif n_events:
        warning = (
            f"{training.policy} split: {n_events} of {len(np.unique(events[chosen.rows]))} held-out events are in "
            f"{name}'s train side too: leaky, the scores are optimistic and do not transfer to new sites"
        )
    if copies is not None and not n_specimens:
        warning = copies if warning is None else f"{warning}; {copies}"
    return Leak(n_specimens=n_specimens, n_events=n_events, warning=warning)


def _leak_of_seen(name: str, seen: Seen, chosen: ChosenEvents, frame: pd.DataFrame) -> Leak:
    """Of other data than the model was trained on, of which it has digests."""
    rows = chosen.rows
    events, sites = (frame[column].to_numpy()[rows] for column in ("event_id", "site_id"))
    n_photographs = int(seen.photographs[rows].sum())
    n_events, n_sites = len(np.unique(events[seen.events[rows]])), len(np.unique(sites[seen.sites[rows]]))
    of_events = f"{n_events} of {counted(len(np.unique(events)), 'event')}"
    warning = note = None
    if n_photographs:
        share = "all" if n_photographs == len(rows) else f"{n_photographs} of the {len(rows)}"
        warning = (
            f"{share} specimens scored here were trained on by {name}, byte for byte, in {of_events}: the scores tell "
            "what it remembers, not how well it predicts new sites"
        )
    elif n_events:
        warning = (
            f"{of_events} scored here are by site, event and labels ones that {name} was trained on, with other "
            "photographs: the scores are optimistic and do not transfer to new sites"
        )
    elif n_sites:
        warning = (
            f"{n_sites} of {counted(len(np.unique(sites)), 'site')} scored here are called as ones that {name} was "
            "trained on: where they are the same places, the scores do not transfer to new sites"
        )
    else:
        note = f"{name} was trained on none of these photographs, events and sites, as its {RECORD} tells"
    return Leak(n_specimens=n_photographs, n_events=n_events, n_sites=n_sites, warning=warning, note=note)


def _foreign_warning(name: str, chosen: ChosenEvents, frame: pd.DataFrame) -> str | None:
    """Of data that a model without a record was not trained on as they are; it may still know some specimens."""
    if chosen.which != "validation":
        return (
            f"whether {name} was trained on some of these specimens cannot be known: it has no {RECORD}, which models "
            "exported by this version have, and its own data have another fingerprint, as data have that a photograph "
            "was added to; of those that it was, the scores tell what it remembers, not how well it predicts new sites"
        )
    train = frame["event_id"][frame["split"] == "train"]
    scored = frame["event_id"].iloc[chosen.rows].unique()
    n_shared = len(np.intersect1d(scored, train))
    if not n_shared:
        return None
    return (
        f"official split: {n_shared} of {len(scored)} validation events are in this data's train split too: leaky if "
        f"{name} was trained on that, which cannot be known: it has no {RECORD}"
    )


def _held_out(trainings: Mapping[str, Training | None], facts: Mapping[str, ModelFacts]) -> ChosenEvents:
    sides = {f"--holdout {of.holdout} --fold {of.fold}" for of in facts.values()}
    whose = "its training" if len(trainings) == 1 else "the training of every model"
    about = f"held out of {whose}" + (f" ({sides.pop()})" if len(sides) == 1 else "")
    return ChosenEvents(which="held-out", rows=_common_held_out(trainings), about=about)


def _common_held_out(trainings: Mapping[str, Training | None]) -> Ints:
    sides = [training.held_out for training in trainings.values() if training is not None]
    common = sides[0]
    for side in sides[1:]:
        common = np.intersect1d(common, side)
    return common


def _why_not_held_out(
    specimens: "Specimens", trainings: Mapping[str, Training | None], facts: Mapping[str, ModelFacts]
) -> list[str]:
    """What keeps the models from being scored on events held out of all of them; empty when nothing does."""
    remedy = "use --events validation or all"
    problems = []
    for name, training in trainings.items():
        if training is None:
            problems.append(
                f"`--events held-out` needs the data that {name} was trained on, {facts[name].data} with the "
                f"fingerprint {facts[name].data_fingerprint[:12]}, but {specimens.source} has "
                f"{specimens.fingerprint[:12]}; {remedy}"
            )
        elif not len(training.held_out):
            problems.append(
                f"`--events held-out` needs a model that some events were held out of, but {name} was trained on all "
                f"of its data; {remedy}"
            )
    if not problems and not len(_common_held_out(trainings)):
        problems.append(
            f"`--events held-out` needs events held out of all models, but {', '.join(trainings)} have none in common; "
            f"evaluate them one by one, or {remedy}"
        )
    return problems


def _check_same(split: Split, facts: ModelFacts) -> None:
    sides: list[tuple[str, Iterable[object], Iterable[object]]] = [
        ("sites", split.held_out_sites, facts.held_out_sites),
        ("domains", split.held_out_domains, facts.held_out_domains),
    ]
    problems = [
        f"--holdout {facts.holdout} --fold {facts.fold} must hold out the {what} {', '.join(map(str, theirs)) or '-'} "
        f"as when {facts.name} was trained, but now holds out {', '.join(map(str, ours)) or '-'}; use --events all"
        for what, ours, theirs in sides
        if tuple(map(str, ours)) != tuple(map(str, theirs))
    ]
    if problems:
        raise UserError(problems)
