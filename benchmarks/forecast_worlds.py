"""Drawn worlds, their frozen features, and one training on a fold of one, by the program's own parts."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_results import Cell, Losses, Result, key_of, losses_of
from trainable.config import TrialConfig
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.splits import SPLIT_SEED, make_split
from trainable.data.task import Task
from trainable.frozen.backbone import Backbone
from trainable.frozen.extract import extract
from trainable.frozen.features import FeatureStore
from trainable.scoring.scoring import HeldOutScorer, floor_predictions
from trainable.training.divergence import TrialDiverged
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
from tune.study.study_data import targets_of

_DEALER = 1
"""Seed of who is dealt what."""


@dataclass(frozen=True)
class World:
    """One demo's specimens and features; both are read, or made, when a training first asks for them.

    data: as `--data` names it. cache: folder of demos and features. blocks: numbers of trained blocks to have taps for.
    dealt: share of the events whose labels are dealt anew. n_copies: of each image, to have features of, too. task: of
    the demo, the beetles' if there is none.
    """

    data: str
    backbone: Backbone
    cache: Path
    blocks: Collection[int]
    dealt: float = 0.0
    n_copies: int = 0
    task: Task | None = None

    @cached_property
    def specimens(self) -> Specimens:
        """Of both of the dataset's own splits."""
        return load_specimens(self.data, cache_dir=self.cache, n_processes=1, task=self.task)

    @cached_property
    def stores(self) -> tuple[FeatureStore, ...]:
        """Features of the images, then of each copy, at each tap."""
        depth = self.backbone.architecture.n_blocks
        return tuple(
            extract(
                self.backbone,
                self.specimens.images,
                data_fingerprint=self.specimens.fingerprint,
                taps=sorted({depth - n for n in self.blocks}),
                cache_dir=self.cache,
                n_processes=0,
                copy=copy,
            )
            for copy in range(self.n_copies + 1)
        )

    @cached_property
    def labels(self) -> NDArray[np.float32]:
        """[specimens, targets]."""
        labels = self.specimens.labels.astype(np.float32)
        if not self.dealt:
            return labels
        frame = self.specimens.frame
        events, domains = frame["event_id"].to_numpy(np.int64), frame["domain_id"].to_numpy(np.int64)
        return dealt_labels(labels, events, domains, share=self.dealt)

    def trial_data(self, fold: int) -> TrialData:
        """As a search's trials read it, sites and domains of a fold held out."""
        specimens, frame = self.specimens, self.specimens.frame
        return TrialData(
            store=self.stores[0],
            copies=self.stores[1:],
            labels=self.labels,
            domain_ids=specimens.ids("domain_id"),
            event_ids=specimens.ids("event_id"),
            site_ids=frame["site_id"].to_numpy(np.str_),
            species=frame["species"].to_numpy(np.str_),
            numbers=specimens.numbers,
            targets=targets_of(specimens),
            split=make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED),
        )

    def train(self, arm: str, config: TrialConfig, cell: Cell) -> Result:
        """Train to the last epoch on a CPU; a training that diverged is a result, too."""
        data, key = self.trial_data(cell.fold), key_of(config, cell, backbone=self.backbone.fingerprint)
        scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split)
        started = time.process_time()
        try:
            trainer = TailTrainer(config, data, seed=cell.seed)
            best = None
            while trainer.epoch < trainer.config.n_epochs:
                trainer.train_epoch()
                if trainer.best_epoch == trainer.epoch:
                    best = trainer.held_out_predictions
        except TrialDiverged as reason:
            return Result(arm=arm, key=key, cell=cell, failed=str(reason))
        seconds = time.process_time() - started
        return Result(
            arm=arm,
            key=key,
            cell=cell,
            epochs=(trainer.best_epoch, trainer.epoch),
            cpu_seconds=round(seconds, 2),
            best=self._losses(scorer, data, best),
            last=self._losses(scorer, data, trainer.held_out_predictions),
        )

    def floor(self, name: str, cell: Cell) -> Result:
        """What one of the floors forecasts, in place of a training."""
        data = self.trial_data(cell.fold)
        scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split)
        given = floor_predictions(data.labels, data.event_ids, data.domain_ids, data.species, data.split)[name]
        losses = self._losses(scorer, data, given)
        key = key_of(name, cell, backbone=self.backbone.fingerprint)
        return Result(arm=name, key=key, cell=cell, best=losses, last=losses)

    def _losses(self, scorer: HeldOutScorer, data: TrialData, predictions: object) -> Losses:
        domains = dict(zip(data.site_ids.tolist(), data.domain_ids.tolist(), strict=True))
        return losses_of(scorer.forecasts(predictions), domains)


def dealt_labels(
    labels: NDArray[np.float32], events: NDArray[np.int64], domains: NDArray[np.int64], *, share: float
) -> NDArray[np.float32]:
    """[specimens, 3]: a share of each domain's events have their labels permuted among them.

    A drawn picture tells far more of its label than a photographed beetle does. Of a dealt event it tells nothing;
    the labels that a domain has, and that an event's specimens share one, stay as they were.
    """
    rng = np.random.default_rng(_DEALER)
    found = labels.copy()
    for domain in np.unique(domains):
        own, first = np.unique(np.where(domains == domain, events, -1), return_index=True)
        own, first = own[own >= 0], first[own >= 0]
        chosen = rng.permutation(len(own))[: round(share * len(own))]
        for event, source in zip(own[chosen], rng.permutation(first[chosen]), strict=True):
            found[(events == event) & (domains == domain)] = labels[source]
    return found
