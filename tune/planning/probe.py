"""What is measured before a search: a few real images through the frozen blocks, a few real steps of two trials.

Both run in processes of their own, where extraction and trials will run, and leave nothing behind.
"""

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainable.architecture import VisionArchitecture
from trainable.config import TARGETS, TrialConfig
from tune.extraction import ExtractionRequest, wanted_taps
from tune.planning.costs import Measured

if TYPE_CHECKING:
    from trainable.frozen.backbone import Backbone
    from trainable.training.trial_data import TrialData

WARM_UP_IMAGES, MOST_IMAGES = 8, 256
IMAGE_SECONDS, STEP_SECONDS = 3.0, 3.0
"""How long images, and the steps of one configuration, are measured, beyond the first ones."""

MOST_STEPS = 9
HELD_OUT_ROWS = 64

CUDA_CONTEXT_BYTES = 600 * 2**20
"""What a process takes of a GPU beside its tensors (assumption; 400 to 600 MB on recent cards)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The measured configurations; what a worker spends once, on libraries above all; metrics that an epoch reports."""

    measured: tuple[Measured, ...]
    start_seconds: float
    n_metrics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a backbone makes of the data, and how fast.

    taps: that a trial can ask for, ascending. store: where features are or will be. probe_store: one to measure steps
    on: `store` itself once it is whole, else a small one; None without room for it. images_missing: that must still be
    run. bytes_missing, bytes_one_tap: of the taps that they lack, and of the deepest alone. image_seconds: of one
    image; None where none is missing. load_seconds: of the backbone. device_name, device_bytes: what trials compute on,
    and its memory.
    """

    architecture: VisionArchitecture
    backbone_fingerprint: str
    taps: tuple[int, ...]
    store: Path
    probe_store: Path | None
    images_missing: int
    bytes_missing: int
    bytes_one_tap: int
    bytes_free: int
    image_seconds: float | None
    load_seconds: float
    device_name: str
    device_bytes: int


def survey(request: ExtractionRequest, scratch: Path) -> Survey:
    """Load the backbone, see what is stored already, and time some images if any are missing.

    scratch: a folder that is this probe's own; its maker removes it.
    Raises: UserError for a backbone that cannot be loaded or has too few blocks, or a store of something else.
    """
    import torch

    from trainable.frozen.backbone import load_backbone
    from trainable.frozen.features import store_path

    started = time.monotonic()
    if request.device == "cpu":
        torch.set_num_threads(request.n_threads)
    backbone = load_backbone(request.backbone, device=request.device)
    load_seconds = time.monotonic() - started
    architecture = backbone.architecture
    taps = wanted_taps(request, architecture.n_blocks)
    store = store_path(request.cache_dir, backbone=backbone, specimens_fingerprint=request.data_fingerprint)
    n_missing, bytes_missing, row_bytes = _missing(request, backbone, store, taps)
    free = shutil.disk_usage(nearest_folder(request.cache_dir)).free
    seconds, probe_store = None, None if n_missing else store
    if n_missing:
        n_images = min(MOST_IMAGES, len(request.images), int(0.1 * free / (row_bytes * len(taps))))
        if n_images >= 1:
            seconds, probe_store = _timed_images(request, backbone, taps, scratch, n_images)
    return Survey(
        architecture=architecture,
        backbone_fingerprint=backbone.fingerprint,
        taps=taps,
        store=store,
        probe_store=probe_store,
        images_missing=n_missing,
        bytes_missing=bytes_missing,
        bytes_one_tap=len(request.images) * row_bytes,
        bytes_free=free,
        image_seconds=seconds,
        load_seconds=load_seconds,
        device_name=torch.cuda.get_device_name() if request.device == "cuda" else "this machine",
        device_bytes=device_memory(request.device),
    )


def measure(store: Path, configs: Sequence[dict[str, Any]], device: str, n_threads: int) -> Steps:
    """Train a few steps of each configuration in turn, the least demanding first, on features of `store`.

    Call it in a fresh process: memory is the most that the process ever held.
    """
    started = time.monotonic()
    import torch

    import trainable.training.trainer  # noqa: F401 - its time is the worker's, not the first configuration's

    if device == "cpu":
        torch.set_num_threads(n_threads)
    start_seconds = time.monotonic() - started
    measured, n_metrics = [], 0
    for config in configs:
        found, first_seconds, n_metrics = _measure(TrialConfig.from_dict(config), store, device=device)
        start_seconds += max(0.0, first_seconds - found.build_seconds)
        measured.append(found)
    return Steps(measured=tuple(measured), start_seconds=start_seconds, n_metrics=n_metrics)


def _missing(
    request: ExtractionRequest, backbone: "Backbone", store: Path, taps: Sequence[int]
) -> tuple[int, int, int]:
    """Images and bytes still to be extracted, and the bytes of one image at one tap; nothing is written."""
    from trainable.frozen.extraction_plan import bytes_missing, make_plan, shards_missing

    n, row_bytes = len(request.images), 2 * backbone.architecture.n_tokens * backbone.architecture.width
    if not (store / "plan.json").is_file():  # with one, `make_plan` only reads
        return n, n * row_bytes * len(taps), row_bytes
    plan = make_plan(store, backbone=backbone, data_fingerprint=request.data_fingerprint, n=n, taps=taps)
    return sum(len(plan.rows(shard)) for shard in shards_missing(plan)), bytes_missing(plan), row_bytes


def _timed_images(
    request: ExtractionRequest, backbone: "Backbone", taps: Sequence[int], scratch: Path, n_most: int
) -> tuple[float, Path]:
    """Seconds of an image, writing included, and the small store that was made of those images."""
    from trainable.data.image_sources import SomeImages
    from trainable.frozen.extract import extract

    def run(n: int, name: str) -> tuple[float, Path]:
        rows = np.unique(np.linspace(0, len(request.images) - 1, n).astype(np.int64))
        started = time.monotonic()
        store = extract(
            backbone, SomeImages(request.images, rows), data_fingerprint=name, taps=taps, cache_dir=scratch / name,
            n_processes=0,
        )  # fmt: skip
        return (time.monotonic() - started) / len(rows), store.path

    seconds, store = run(min(WARM_UP_IMAGES, n_most), "warm-up")
    n_images = min(n_most, int(IMAGE_SECONDS / seconds))
    return run(n_images, "images") if n_images > WARM_UP_IMAGES else (seconds, store)


def _measure(config: TrialConfig, store: Path, *, device: str) -> tuple[Measured, float, int]:
    """Also the seconds that building it took at first, and how many metrics an epoch has."""
    from trainable.training.trainer import TailTrainer

    longer, data = config.with_epochs(MOST_STEPS + 1), few_rows(store, config.optim.batch_size)  # an epoch is one step

    def build() -> tuple[TailTrainer, float]:
        started = time.monotonic()
        return TailTrainer(longer, data, seed=0, device=device), time.monotonic() - started

    trainer, first_seconds = build()
    del trainer
    trainer, build_seconds = build()
    trainer.train_epoch()
    end = time.monotonic() + STEP_SECONDS
    while trainer.epoch < 2 or (trainer.epoch <= MOST_STEPS and time.monotonic() < end):
        trainer.train_epoch()
    rest = trainer.history[1:]
    step_seconds = statistics.median(_step_seconds(m, trainer) for m in rest)
    epoch_seconds = statistics.median(m["time/epoch_seconds"] for m in rest)
    save_seconds, checkpoint_bytes = _saved(trainer)
    measured = Measured(
        config=config,
        step_seconds=step_seconds,
        predict_seconds=max(0.0, epoch_seconds - step_seconds) / data.split.n_held_out,
        build_seconds=build_seconds,
        save_seconds=save_seconds,
        peak_bytes=peak_bytes(device),
        n_trainable=trainer.n_trainable,
        checkpoint_bytes=checkpoint_bytes,
    )
    return measured, first_seconds, len(trainer.history[0])


def _step_seconds(metrics: dict[str, float], trainer: Any) -> float:
    return len(trainer.data.split.train) / metrics["time/train_images_per_second"]


def few_rows(store: Path, batch_size: int) -> "TrialData":
    """One batch to train on and a few held-out rows; labels and groups are made up, features are those of the store."""
    from trainable.data.splits import Split
    from trainable.frozen.features import FeatureStore
    from trainable.training.trial_data import TrialData

    features = FeatureStore.open(store)
    rows = np.arange(features.n)
    held_out = np.resize(rows, HELD_OUT_ROWS // 2)
    return TrialData(
        store=features,
        labels=np.random.default_rng(0).normal(size=(features.n, len(TARGETS))).astype(np.float32),
        domain_ids=rows % 4,
        event_ids=rows // 2,
        site_ids=np.array([f"site-{row % 8}" for row in rows]),
        species=np.array(["any"] * features.n),
        split=Split(
            policy="both", fold=0, train=np.resize(rows, batch_size), id_=held_out, ood=held_out,
            held_out_sites=(), held_out_domains=(), n_leaked_events=0,
        ),
    )  # fmt: skip


def _saved(trainer: Any) -> tuple[float, int]:
    from trainable.training.checkpoint import save_checkpoint

    with tempfile.TemporaryDirectory(prefix="sentinel-tune-probe-") as folder:
        started = time.monotonic()
        file = save_checkpoint(Path(folder), trainer.state_dict())
        return time.monotonic() - started, Path(str(file)).stat().st_size


def peak_bytes(device: str) -> int:
    """On a GPU what its allocator ever held, and the context; on a CPU the process's own memory at its highest.

    Memory-mapped files, features above all, are left out where the system tells them apart: trials share them.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved()) + CUDA_CONTEXT_BYTES
    status = Path("/proc/self/status")
    if status.is_file():
        kib = {name: value.split()[0] for name, _, value in (x.partition(":") for x in status.read_text().splitlines())
               if value.strip().endswith("kB")}  # fmt: skip
        return (int(kib["VmHWM"]) - int(kib["RssFile"])) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_memory(device: str) -> int:
    """Bytes that all trials side by side may take: a GPU's memory, or what this machine or container allows."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(installed, int(text)) if text.isdecimal() else installed


def nearest_folder(folder: Path) -> Path:
    """The folder itself or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
