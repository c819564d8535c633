"""Figure 11: the seeds' way's time for a list of trials / ours, as a share of what the operations alone predict.

The trials are full fine-tunings of 1, 2 and 4 blocks, as long as ASHA lets them be (median 1 epoch, a few long ones);
each is run in both ways before the next one is, images to last epoch, and the CPU time of one thread is compared. Ours
decodes and extracts once, writes the store, trains with checkpoints and scores every epoch.

The model counts floating-point operations (torch's counter): seeds, extraction and all epochs a trial; ours, extraction
once. Both run in float32 on a CPU, so the rate cancels. Start-up, decoding and saving are in the times, not in it.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.backbones import random_backbone
from benchmarks.figure import Figure, Target, Value
from benchmarks.inputs import DrawnImages, random_trial_data
from benchmarks.interleaved import cpu_seconds
from benchmarks.seeds_way import PublishedTail, SeedsTraining
from benchmarks.setting import Setting
from trainable.config import TrialConfig
from trainable.frozen.backbone import Backbone
from trainable.frozen.extract import extract
from trainable.training.assembly import tail_of
from trainable.training.trial_data import TrialData
from trainable.trial import Trial, TrialTask

TRIALS = ((2, 27), (1, 1), (4, 1), (1, 3), (2, 1), (1, 9), (4, 1))
"""Trained blocks and epochs."""

LONGEST = max(n_epochs for _, n_epochs in TRIALS)
"""Epochs to which schedules are laid out."""

N_IMAGES = {"tiny": 1024, "vit-ti": 64}
_FLOP_ROWS = 8


@dataclass
class Sums:
    """CPU seconds and operations of both ways so far."""

    seeds: float = 0.0
    ours: float = 0.0
    extraction: float = 0.0
    seeds_flops: float = 0.0
    ours_flops: float = 0.0


def measure(setting: Setting) -> list[Figure]:
    """One figure a backbone."""
    return [_figure(name, setting) for name in setting.backbones]


def _figure(name: str, setting: Setting) -> Figure:
    backbone = random_backbone(name, "cpu")
    n, trials = (N_IMAGES[name], TRIALS) if not setting.quick else (64, TRIALS[1:4])
    images = DrawnImages(n, side=2 * backbone.architecture.image_size)
    depth = backbone.architecture.n_blocks
    taps = sorted({depth - n_blocks for n_blocks, _ in trials})
    sums, flops = Sums(), _Flops(backbone)
    with (
        tempfile.TemporaryDirectory(prefix="sentinel-benchmark-") as folder,
        random_trial_data(backbone, tap=depth - 1, n=n) as labelled,
    ):
        place: dict[str, Any] = {"data_fingerprint": "0" * 64, "cache_dir": Path(folder), "n_processes": 0}
        sums.extraction = cpu_seconds(lambda: extract(backbone, images, taps=taps, **place))
        data = replace(labelled, store=extract(backbone, images, taps=taps, **place))
        sums.ours, sums.ours_flops = sums.extraction, n * flops.frozen(max(taps))
        encoded = images.read(range(n))
        for i, (n_blocks, n_epochs) in enumerate(trials):
            seeds = SeedsTraining(backbone, encoded, data, n_blocks=n_blocks)
            sums.seeds += cpu_seconds(lambda s=seeds, e=n_epochs: s.run(n_epochs=e, folder=Path(folder)))
            trial = Trial(_task(n_blocks, LONGEST, Path(folder) / f"t{i}"), data)
            sums.ours += cpu_seconds(lambda t=trial, e=n_epochs: _run(t, e))
            sums.seeds_flops += n * flops.frozen(depth - n_blocks) + n_epochs * flops.seeds_epoch(n_blocks, data)
            sums.ours_flops += n_epochs * flops.our_epoch(n_blocks, data)
    ratio, predicted = sums.seeds / sums.ours, sums.seeds_flops / sums.ours_flops
    return Figure(
        number=11,
        name=f"whole search against the seeds' way, share of the predicted ratio, {name}",
        ratio=ratio / predicted,
        parts=(
            Value("ratio", ratio),
            Value("predicted", predicted),
            Value("seeds", sums.seeds, "s"),
            Value("ours", sums.ours, "s"),
            Value("of it extraction", sums.extraction, "s"),
            Value("trials", len(trials)),
            Value("epochs", sum(n_epochs for _, n_epochs in trials)),
            Value("images", n),
        ),
        target=Target(">=", 0.9),
    )


def _run(trial: Trial, n_epochs: int) -> None:
    for _ in range(n_epochs):
        if (failure := trial.step().failure) is not None:
            raise RuntimeError(failure.message)
    trial.close()


def _config(n_blocks: int, n_epochs: int) -> TrialConfig:
    values = {"adapter.kind": "full", "tail.n_blocks": n_blocks, "optim.lr": 1e-4, "optim.block_multiplier": 0.01}
    return TrialConfig(epochs=n_epochs).with_values({**values, "optim.name": "adam", "optim.schedule": "constant"})


def _task(n_blocks: int, n_epochs: int, folder: Path) -> TrialTask:
    config = _config(n_blocks, n_epochs).to_dict()
    return TrialTask(trial_id=folder.name, config=config, seed=0, data_folder="", checkpoint_folder=str(folder))


class _Flops:
    """Operations an image, counted on a few."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone, self._arch = backbone, backbone.architecture
        self._tokens = torch.zeros(_FLOP_ROWS, self._arch.n_tokens, self._arch.width)
        self._domains = torch.zeros(_FLOP_ROWS, dtype=torch.int64)

    def frozen(self, n_blocks: int) -> float:
        """The stem and the first blocks."""
        pixels = torch.zeros(_FLOP_ROWS, 3, self._arch.image_size, self._arch.image_size)
        return self._count(lambda: self._backbone.forward_taps(pixels, [n_blocks]))

    def seeds_epoch(self, n_blocks: int, data: TrialData) -> float:
        """Training and validation of the published tail."""
        return self._epoch(PublishedTail(self._backbone, n_blocks=n_blocks, n_domains=5), data)

    def our_epoch(self, n_blocks: int, data: TrialData) -> float:
        """Training and scoring of ours."""
        tap = self._arch.n_blocks - n_blocks
        state = self._backbone.tail_state(n_blocks)
        return self._epoch(tail_of(_config(n_blocks, 1), self._arch, state, tap=tap, n_domains=5, seed=0), data)

    def _epoch(self, tail: torch.nn.Module, data: TrialData) -> float:
        step = self._count(lambda: tail(self._tokens, self._domains).square().mean().backward())
        forward = self._count(lambda: tail(self._tokens, self._domains))
        return len(data.split.train) * step + data.split.n_held_out * forward

    @staticmethod
    def _count(call: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            call()
        return float(counter.get_total_flops() / _FLOP_ROWS)
