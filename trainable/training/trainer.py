"""TailTrainer: one configuration being trained, one epoch a call; knows nothing of Ray, Optuna or MLflow.

Two trainers of equal configuration, data and seed hold equal weights after equally many epochs on the same device, also
when one of them was stopped, saved and loaded in between: on a CPU to the bit, for an equal number of threads.
"""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from trainable.absent_settings import without_absent
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.freed_memory import keep_freed_memory
from trainable.frozen.image_copies import FLIPPED
from trainable.randomness import make_generator, seeded_globally
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.assembly import (
    average_of,
    loss_of,
    lr_factor_of,
    optimizer_of,
    strengths_of,
    tail_of,
)
from trainable.training.augment import Batch, EpochAugmentation
from trainable.training.bags import side_by_side
from trainable.training.checkpoint import identity_problems
from trainable.training.divergence import TrialDiverged, check_loss
from trainable.training.label_units import LabelUnits
from trainable.training.losses import weighted_losses
from trainable.training.number_units import NumberUnits
from trainable.training.optim import clip_parts, load_optimizer_tensors, optimizer_tensors, part_of, set_lr
from trainable.training.parts import masks_of_parts
from trainable.training.precision import Precision
from trainable.training.probe import ProbeRows, fit_probe, probe_loss, set_aside
from trainable.training.resident_feed import make_feed
from trainable.training.rows import Rows
from trainable.training.trial_data import TrialData
from trainable.training.views import mean_of_views

_PREDICTION_CELLS = 2**26  # tokens x hidden channels of the MLP at once while predicting: 256 MiB in float32


class TailTrainer:
    """Trains the tail on stored features and scores it on the held-out events, if any, after each epoch.

    epoch: finished epochs. history: each one's metrics. best_epoch: the epoch (from 1) of the lowest `score/all`, 0
    before there is one. held_out_predictions: of the last epoch trained here, None before. n_trainable: numbers that
    train. known_domains, known_species: ascending, of the training specimens; known_species is None without a code, and
    number_units too.
    units: in which the tail learns and predicts; `predict` converts.
    """

    def __init__(
        self,
        config: TrialConfig,
        data: TrialData,
        *,
        seed: int,
        device: str = "cpu",
        precision: str = "auto",
        gpu_share: float = 1.0,
    ) -> None:
        """precision: as `Precision.on` takes it. gpu_share: the part of a CUDA device's memory that is for this one.

        Raises: UserError when the feature store does not reach down to the trainable blocks, or the processor has not
        the instructions for `precision`.
        """
        self.config, self.data, self.seed = config, data, seed
        self.device = torch.device(device)
        self.precision = Precision.on(self.device.type, precision)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.held_out_predictions: NDArray[np.float32] | None = None
        self._best: dict[str, Tensor] = {}
        self.known_domains = tuple(np.unique(data.domain_ids[data.split.train]).tolist())
        used = without_absent(config, data.targets.task)
        self.known_species = data.train_species() if used.tail.species_scale else None
        self.number_units = None
        if used.tail.number_scale and data.numbers is not None:
            self.number_units = NumberUnits.of(data.targets.task.numbers, data.numbers, data.split.train)
        store = data.store
        features = data.features(n_copies=used.augment.n_copies)
        self._store_key = features.key
        self.tap = features.best_tap(self._n_frozen())
        self.tail = tail_of(
            used,
            store.architecture,
            store.tail_state(store.architecture.n_blocks - self.tap),
            tap=self.tap,
            n_domains=len(self.known_domains),
            n_species=len(self.known_species or ()),
            n_numbers=len(data.targets.task.numbers),
            n_outputs=data.targets.task.n_outputs,
            seed=seed,
        ).to(self.device)
        self._trained = [(n, p) for n, p in self.tail.named_parameters() if p.requires_grad]
        self.n_trainable = sum(p.numel() for _, p in self._trained)
        self._optimizer = optimizer_of(config, self._trained)
        self._n_steps = math.ceil(len(data.split.train) / config.optim.batch_size)  # an epoch
        self._average = average_of(
            config, [parameter for _, parameter in self._trained], n_steps=config.n_epochs * self._n_steps
        )
        self._unknown_domain = len(self.known_domains)
        self._channel_std = store.channel_std(self.tap).to(self.device)
        self.units = LabelUnits.of(data.targets, data.labels, data.event_ids, data.split.train)
        self._rows = Rows.place(
            data,
            units=self.units,
            known_domains=self.known_domains,
            known_species=self.known_species,
            number_units=self.number_units,
            loss=used.loss,
            device=self.device,
        )
        self._has_classes = data.targets.task.has_classes
        self._loss_of = loss_of(self.tail, data.targets.task)
        self._loss_of_zero = self._rows.loss_of_zero(data.split.train, self._loss_of)
        self._scorer = (
            HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split, targets=data.targets)
            if data.split.n_held_out
            else None
        )
        cells = store.architecture.n_tokens * store.architecture.mlp_width
        self._prediction_rows = min(max(_PREDICTION_CELLS // cells, 16), 512)
        largest = max(min(config.optim.batch_size, len(data.split.train)), self._prediction_rows)
        self._feed = make_feed(features, tap=self.tap, max_rows=largest, device=self.device, gpu_share=gpu_share)

    @property
    def best_score(self) -> float:
        """The lowest `score/all` so far; infinite before there is one."""
        return self.history[self.best_epoch - 1]["score/all"] if self.best_epoch else math.inf

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch, predict the held-out specimens, return the metrics: those of training alone without them.

        Raises: TrialDiverged; ValueError when all epochs of the configuration are done.
        """
        metrics = self.run_epoch()
        if metrics.get("score/all", math.nan) < self.best_score:  # NaN is never best
            self.keep_as_best()
        return metrics

    def run_epoch(self) -> dict[str, float]:
        """As `train_epoch`, but whether it is the best so far is for the caller to say, by `keep_as_best`."""
        if self.epoch >= self.config.n_epochs:
            raise ValueError(f"the configuration has {self.config.n_epochs} epochs, and all are done")
        started = time.perf_counter()
        loss = self._train_steps()
        check_loss(loss, loss_of_zero=self._loss_of_zero, epoch=self.epoch + 1)
        trained = time.perf_counter()
        metrics = self._score()
        self.epoch += 1
        metrics |= {
            "train/loss": loss,
            "train/lr": self.config.optim.lr * self._lr_factor(self.epoch * self._n_steps - 1),
            "train/epoch": float(self.epoch),
            "time/epoch_seconds": time.perf_counter() - started,
            "time/train_images_per_second": len(self.data.split.train) / (trained - started),
        }
        self.history.append(metrics)
        return metrics

    def keep_as_best(self) -> None:
        """The last epoch is the best so far: keep its weights."""
        self.best_epoch = self.epoch
        for name, parameter in self._trained:
            if name in self._best:  # into the memory of the one before: half the time of new memory
                self._best[name].copy_(parameter.detach())
            else:
                self._best[name] = parameter.detach().to("cpu", copy=True)

    @property
    def trainers(self) -> tuple[Self]:
        """Itself: one fold's; of several there is `FoldsTrainer`."""
        return (self,)

    @property
    def scorer(self) -> HeldOutScorer:
        """What scores its predictions for the held-out specimens.

        Raises: ValueError when none are held out.
        """
        if self._scorer is None:
            raise ValueError("a split that holds out nothing has no score")
        return self._scorer

    def _score(self) -> dict[str, float]:
        """Metrics of the held-out specimens; none without any, when the weights must speak for the predictions."""
        if self._scorer is None:
            if not all(bool(torch.isfinite(p).all()) for _, p in self._trained):
                raise TrialDiverged(self.epoch + 1, "weights are not finite")
            return {}
        predictions = self.predict_held_out()
        if not np.isfinite(predictions).all():
            raise TrialDiverged(self.epoch + 1, "predictions are not finite")
        metrics = self._scorer.score(predictions)
        self.held_out_predictions = predictions
        return metrics

    def predict_held_out(self) -> Float[NDArray[np.float32], "held_out outputs"]:
        """Predictions for the ID rows, then the OOD rows of the split."""
        return self.predict(np.concatenate([self.data.split.id_, self.data.split.ood]))

    @torch.no_grad()
    def predict(
        self, indices: Int64[NDArray[np.int64], " specimens"]
    ) -> Float[NDArray[np.float32], "specimens outputs"]:
        """Logits, or in the labels' units, not clipped; unknown domains and species get the code of *unknown*."""
        self.tail.eval()
        outputs = self._outputs(indices)
        if self.config.augment.test_flips:
            outputs = mean_of_views(outputs, self._outputs(indices, FLIPPED), of_classes=self._has_classes)
        result: NDArray[np.float32] = outputs.cpu().numpy()
        return self.units.labels(result)

    def _outputs(
        self, indices: Int64[NDArray[np.int64], " specimens"], version: int = 0
    ) -> Float[Tensor, "specimens outputs"]:
        """Of the tail as it is. version: 0 for the images, or the number of a copy of each."""
        none = torch.empty((0, self.data.targets.task.n_outputs), device=self.device)
        with self.precision.step(), self.precision.forward():
            batches = self._batches_in_order(indices, version)
            outputs = [self.tail(b.tokens, b.domains, species=b.species, numbers=b.numbers) for b in batches]
        return torch.cat([none, *outputs])

    def _batches_in_order(self, indices: Int64[NDArray[np.int64], " specimens"], version: int = 0) -> Iterator[Batch]:
        n_batches = math.ceil(len(indices) / self._prediction_rows)
        versions = np.full(len(self.data.labels), version) if version else None
        return self._rows.batches(np.array_split(indices, n_batches) if n_batches else [], self._feed, versions)

    def load_best(self) -> None:
        """Put the best epoch's weights into the tail; training on from there is not what a resume does.

        Raises: ValueError before the first scored epoch.
        """
        if not self._best:
            raise ValueError("there is no best epoch yet")
        with torch.no_grad():
            for name, parameter in self._trained:
                parameter.copy_(self._best[name])

    def state_dict(self, *, copy: bool = True) -> dict[str, Any]:
        """All that a resume needs: {"tensors": {name: on the CPU}, "values": plain values with "epoch"}.

        There is no generator state in it: every random stream starts anew from `seed` and the epoch's number.
        copy: False for one that is written before the next epoch, which may change it.
        """
        names = {id(p): name for name, p in self._trained}
        moments = optimizer_tensors(self._optimizer, names)
        predicting = "trained" if self._average is None else "average"
        tensors = {
            **{f"{predicting}/{name}": value for name, value in self._trained},
            **{f"trained/{name}": value for name, value in self._moved_on()},
            **{f"optimizer/{name}": value for name, value in moments.items()},
            **{f"best/{name}": value for name, value in self._best.items()},
        }
        return {
            "tensors": {name: value.detach().to("cpu", copy=copy) for name, value in tensors.items()},
            "values": {
                **self._identity(),
                "epoch": self.epoch,
                "best_epoch": self.best_epoch,
                "history": [dict(metrics) for metrics in self.history],
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was called.

        Raises: UserError when the state is that of another configuration, seed, precision, data or backbone.
        """
        values, tensors = state["values"], state["tensors"]
        known = {"precision": self.precision.products, **values}  # one that does not say was made in the device's own
        if problems := list(identity_problems(self._identity(), known)):
            raise UserError(problems)
        part = {
            kind: {n.removeprefix(kind): t for n, t in tensors.items() if n.startswith(kind)}
            for kind in ("trained/", "average/", "optimizer/", "best/")
        }
        with torch.no_grad():
            for name, parameter in self._trained:
                parameter.copy_(part["trained/" if self._average is None else "average/"][name])
            for name, value in self._moved_on():
                value.copy_(part["trained/"][name])
        load_optimizer_tensors(self._optimizer, part["optimizer/"], self._trained)
        self._best = {name: value.clone() for name, value in part["best/"].items()}
        self.epoch, self.best_epoch = values["epoch"], values["best_epoch"]
        self.history = [dict(metrics) for metrics in values["history"]]

    def _identity(self) -> dict[str, Any]:
        # a batch may be computed in other parts than before: that is how a trial goes on that ran out of memory
        config = self.config.with_values({"optim.accumulation_steps": 1})
        return {
            "config": config.to_dict(),
            "seed": self.seed,
            "precision": self.precision.products,
            "store_key": self._store_key,
            "split": [self.data.split.policy, self.data.split.fold],
            "known_domains": list(self.known_domains),
            **({} if self.known_species is None else {"known_species": list(self.known_species)}),
            **({} if self.number_units is None else {"numbers": self.number_units.to_dict()}),
            **({} if self.data.targets.task.is_beetles else {"task": self.data.targets.task.fingerprint}),
        }

    def _moved_on(self) -> list[tuple[str, Tensor]]:
        """What training goes on from where that is not what predicts."""
        if self._average is None:
            return []
        return [(name, value) for (name, _), value in zip(self._trained, self._average.trained, strict=True)]

    def _n_frozen(self) -> int:
        n_all, n_blocks = self.data.store.architecture.n_blocks, self.config.tail.n_blocks
        if n_blocks > n_all:
            raise UserError(f"`tail.n_blocks <= {n_all}` must hold for this backbone, but got {n_blocks}")
        return n_all - n_blocks

    def _train_steps(self) -> float:
        """One pass over the training specimens; returns the mean loss of those that took part."""
        order = torch.randperm(len(self.data.split.train), generator=make_generator(self.seed, "order", self.epoch))
        shuffled, bags = side_by_side(
            self.data.split.train[order.numpy()], self.data.event_ids, size=self.config.loss.bag_size
        )
        batches = np.split(shuffled, range(self.config.optim.batch_size, len(shuffled), self.config.optim.batch_size))
        augmentation = EpochAugmentation(
            strengths_of(self.config, epoch=self.epoch),
            channel_std=self._channel_std,
            unknown_domain=self._unknown_domain,
            unknown_species=len(self.known_species or ()),
            seed=self.seed,
            epoch=self.epoch,
        )
        versions = augmentation.versions(len(self.data.labels))
        total, n_seen = torch.zeros((), dtype=torch.float64, device=self.device), 0
        averaging = nullcontext() if self._average is None else self._average.training()
        with seeded_globally(self.seed, "dropout", self.epoch, self.device), averaging:
            if self.epoch == 0 and self.config.tail.probe_first:
                self._fit_probe()
            self.tail.train()
            kept = [augmentation.keep(batch) for batch in batches]
            for i, stored in enumerate(self._rows.batches(kept, self._feed, versions)):
                batch = augmentation.apply(stored if bags is None else replace(stored, bags=bags[kept[i]]))
                step = self.epoch * self._n_steps + i
                set_lr(self._optimizer, self._lr_factor(step))
                total += self._step(batch) * len(batch)
                if self._average is not None:
                    self._average.take_in(step)
                n_seen += len(batch)
        return total.item() / n_seen

    def _fit_probe(self) -> None:
        """Of regressor and codes, what has a rate."""
        self.tail.eval()
        train = self.data.split.train
        moving = {id(p) for group in self._optimizer.param_groups if group["base_lr"] for p in group["params"]}
        parts = ("head", "domain", "species", "numbers")
        parameters = [p for n, p in self._trained if part_of(n) in parts and id(p) in moving]
        if not parameters:
            return
        without_chance = partial(
            probe_loss,
            self.tail,
            loss_of=self._loss_of,
            domain_dropout=self.config.augment.domain_dropout,
            unknown_domain=self._unknown_domain,
            species_dropout=self.config.augment.species_dropout,
            unknown_species=len(self.known_species or ()),
            number_dropout=self.config.augment.number_dropout,
        )
        with self.precision.step():
            with self.precision.forward():
                rows = ProbeRows.pooled(self.tail, self._batches_in_order(train))
            fit_probe(parameters, without_chance, rows, set_aside(self.data.event_ids[train], seed=self.seed))

    def _step(self, batch: Batch) -> Float[Tensor, ""]:
        """One step of the optimizer; returns the batch's mean loss, on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        with self.precision.step():
            parts = batch.split(self.config.optim.accumulation_steps)
            masks = masks_of_parts([len(part) for part in parts], self.device)
            for part, own_masks in zip(parts, masks, strict=True):
                with self.precision.forward(), own_masks:
                    outputs = self.tail(
                        part.tokens,
                        part.domains,
                        part.partner_domains,
                        part.shares,
                        species=part.species,
                        partner_species=part.partner_species,
                        numbers=part.numbers,
                    )
                losses = weighted_losses(outputs, part.targets, part.weights, part.bags, loss_of=self._loss_of)
                loss = losses.sum() / len(batch)
                loss.backward()
                total += loss.detach()
        if self.config.optim.max_grad_norm:
            clip_parts(self._trained, self.config.optim.max_grad_norm)
        self._optimizer.step()
        return total

    def _lr_factor(self, step: int) -> float:
        return lr_factor_of(self.config, step=step, n_steps=self.config.n_epochs * self._n_steps)
