"""What a confirmation's runs are scored on: each fold's held-out events, without those that the search chose by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainable.scoring.group_floor import BY_DOMAIN, BY_SPECIES, group_floors
from trainable.scoring.out_of_fold import only_fresh
from trainable.scoring.scoring import EventForecast, HeldOutScorer, floor_predictions
from trainable.scoring.targets import Targets
from trainable.storage.place import Place
from trainable.training.trial_data import TrialData
from tune.confirming.runs import fold_data_folder


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldOutFolds:
    """scorers: fold -> of all its held-out events. floors: fold -> floor -> its predictions. group_floors: the same of
    those that a model can hold, which know no species of specimens without a name. is_known: fold -> whether each
    held-out specimen is of a domain that was trained on. seen: ids of the events that the search chose by.
    domain_of_site: of all specimens. n_left_out: events that are left out for it. n_seen: those that are scored all the
    same, since nothing else is held out of their fold.
    """

    scorers: dict[int, HeldOutScorer]
    floors: dict[int, dict[str, NDArray[np.float64]]]
    group_floors: dict[int, dict[str, NDArray[np.float64]]]
    is_known: dict[int, NDArray[np.bool_]]
    seen: NDArray[np.int64] | NDArray[np.str_]
    domain_of_site: dict[str, int]
    n_left_out: int
    n_seen: int

    @classmethod
    def load(cls, study_folder: Place, folds: Sequence[int]) -> Self:
        """Read what the search and the confirmation wrote of their splits; the search has scored trials on its own."""
        search = TrialData.load(study_folder / "data")
        seen = _held_out_events(search)
        of_fold = {fold: TrialData.load(fold_data_folder(study_folder / "data", fold)) for fold in folds}
        events = {fold: _held_out_events(data) for fold, data in of_fold.items()}
        has_fresh = {fold: bool(np.setdiff1d(held_out, seen).size) for fold, held_out in events.items()}
        shared = {fold: set(np.intersect1d(held_out, seen).tolist()) for fold, held_out in events.items()}
        scored = set().union(*(shared[fold] for fold in folds if not has_fresh[fold]))
        return cls(
            scorers={
                fold: HeldOutScorer(d.labels, d.event_ids, d.site_ids, d.split, targets=d.targets)
                for fold, d in of_fold.items()
            },
            floors={
                fold: floor_predictions(d.labels, d.event_ids, d.domain_ids, d.species, d.split, targets=d.targets)
                for fold, d in of_fold.items()
            },
            group_floors={fold: predicted_floors(data) for fold, data in of_fold.items()},
            is_known={fold: in_known_domains(data) for fold, data in of_fold.items()},
            seen=seen,
            domain_of_site=dict(zip(search.site_ids.tolist(), search.domain_ids.tolist(), strict=True)),
            n_left_out=len(set().union(*shared.values()) - scored),
            n_seen=len(scored),
        )

    def with_seen(self) -> Self:
        """The same with all held-out events, as confirmations were scored before some were left out."""
        return replace(self, seen=self.seen[:0], n_left_out=0, n_seen=self.n_left_out + self.n_seen)

    @property
    def targets(self) -> Targets:
        """The same on all folds."""
        return next(iter(self.scorers.values())).targets

    def groups(self, fold: int) -> NDArray[np.generic]:
        """Of each held-out specimen of a fold: its domain, or its site where all are of one domain."""
        sites = self.scorers[fold].site_ids
        domains = np.array([self.domain_of_site[site] for site in sites.tolist()])
        return domains if len(np.unique(domains)) > 1 else sites

    def forecasts(self, fold: int, predictions: ArrayLike) -> dict[str, EventForecast]:
        """Part -> forecasts of a fold's fresh events; of all, where it has no fresh one."""
        return only_fresh(self.scorers[fold].forecasts(predictions), self.seen)


def predicted_floors(data: TrialData) -> dict[str, NDArray[np.float64]]:
    """Floor -> what it predicts for the held-out specimens, of those that a model can hold."""
    held_out = _held_out_rows(data)
    found = group_floors(data.labels, data.event_ids, data.domain_ids, data.species, data.split, targets=data.targets)
    groups = {BY_DOMAIN: data.domain_ids, BY_SPECIES: data.species}
    return {name: floor.predictions(groups[name][held_out]) for name, floor in found.items()}


def in_known_domains(data: TrialData) -> NDArray[np.bool_]:
    """Whether each held-out specimen is of a domain that was trained on."""
    return np.isin(data.domain_ids[_held_out_rows(data)], data.domain_ids[data.split.train])


def _held_out_rows(data: TrialData) -> NDArray[np.int64]:
    return np.concatenate([data.split.id_, data.split.ood])


def _held_out_events(data: TrialData) -> NDArray[np.int64] | NDArray[np.str_]:
    events: NDArray[np.int64] | NDArray[np.str_] = np.unique(
        data.event_ids[np.concatenate([rows for split in data.splits for rows in (split.id_, split.ood)])]
    )
    return events
