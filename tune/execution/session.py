"""Where a command computes: Ray around it or not, on which device, in which number format."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from trainable.errors import UserError
from tune.cluster.placement import Placement
from tune.command_line.options import DataOptions, ExtractOptions, MachineOptions, PrecisionOptions, SearchOptions
from tune.execution.death_watch import DeathWatch
from tune.execution.interrupts import no_death
from tune.extraction.request import ExtractionRequest

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens

P = TypeVar("P", bound=PrecisionOptions)

FEW_IMAGES = 5_000
"""Up to so many images, starting decoding processes costs more than it saves (demo: 1.4 s without, 1.6 s with)."""


@dataclass(slots=True)
class ComputeSession:
    """Where a command computes.

    device: "cpu" or "cuda". is_own: Ray was started for this command. death: why nothing can be computed any more, in
    words. give_up: takes them and says them, where the main thread does not come back to do so; the process then ends.
    """

    device: str
    is_own: bool = False
    death: Callable[[], str | None] = no_death
    give_up: Callable[[str], None] = lambda reason: print(f"interrupted: {_what_next(reason)}", file=sys.stderr)


def _what_next(death: str) -> str:
    return f"{death}; what was finished is kept: run the same command again"


@contextmanager
def compute_session(options: SearchOptions | ExtractOptions, say: Callable[[str], None]) -> Iterator[ComputeSession]:
    """Join or start Ray (unless `--local`); leave it at the end.

    say: takes one line for the user before a wait.
    Raises: UserError when `--device cuda` finds no GPU, Ray cannot start, or `--wait-for-nodes` finds no node;
    KeyboardInterrupt with the reason when Ray's own daemons end within the block, which the main thread hears as if
    it had got a signal.
    """
    if options.local:
        yield ComputeSession(local_device(options))
        return
    from tune.cluster.ray_cluster import n_gpus, ray_session  # loads ray

    with ray_session(address=options.address, n_workers=options.workers) as own, _nodes_asked_for(options, say):
        where = "the Ray cluster" if own is None else "this machine"
        session = ComputeSession(_device(options.device, n_gpus=n_gpus(), where=where))
        if own is None:
            yield session
            return
        watch = DeathWatch(own.death)
        session.is_own, session.death = True, watch.death
        with _ending_with_ray(session, watch):
            yield session


@contextmanager
def _ending_with_ray(session: ComputeSession, watch: DeathWatch) -> Iterator[None]:
    try:
        with watch.watching(lambda words: session.give_up(words)):
            yield
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, UserError) or (reason := session.death()) is None:
            raise
        raise KeyboardInterrupt(_what_next(reason)) from error


def _nodes_asked_for(
    options: SearchOptions | ExtractOptions, say: Callable[[str], None]
) -> AbstractContextManager[None]:
    if options.wait_for_nodes is None:
        return nullcontext()
    from tune.cluster.growth import nodes_asked_for  # loads ray

    cpus, gpus, count = 1.0, float(options.device == "cuda"), 1
    if isinstance(options, SearchOptions):
        cpus, count = options.cpus_per_trial, options.max_concurrent or 1
        if isinstance(options.gpus_per_trial, int | float):
            gpus = options.gpus_per_trial
    asked = Placement(cpus_per_trial=cpus, gpus_per_trial=gpus)
    return nodes_asked_for(asked, count, wait_seconds=options.wait_for_nodes, say=say)


def check_device(options: SearchOptions | ExtractOptions) -> None:
    """Look for the GPU that `--device cuda` needs where it is this machine's, before anything is read.

    Raises: UserError when there is none. What a cluster has is known once it is joined.
    """
    if options.device == "cuda" and (options.local or not (options.address or os.environ.get("RAY_ADDRESS"))):
        local_device(options)


def local_device(options: MachineOptions) -> str:
    """The device of work in this process, "cpu" or "cuda".

    Raises: UserError when `--device cuda` finds no GPU.
    """
    import torch

    return _device(options.device, n_gpus=torch.cuda.device_count(), where="this machine")


def _device(wanted: str, *, n_gpus: float, where: str) -> str:
    if wanted == "cuda" and not n_gpus:
        raise UserError(f"`--device cuda` needs a GPU, but {where} has none; use `--device cpu` or `--device auto`")
    return "cuda" if wanted != "cpu" and n_gpus else "cpu"


def with_precision(options: P, device: str, *, trains_here: bool) -> P:
    """The options with what `--precision` comes to on the device.

    trains_here: this machine's processor is looked at; those of a cluster's nodes are by `check_nodes`.
    Raises: UserError where it has not the instructions.
    """
    from trainable.training.precision import Precision, products_of  # loads torch

    asked = options.precision
    products = Precision.on(device, asked).products if trains_here else products_of(asked, device)
    return replace(options, precision=products)


def request_for(
    options: DataOptions, specimens: "Specimens", *, n_blocks: tuple[int, ...], n_copies: int, device: str
) -> ExtractionRequest:
    """The extraction that these options and specimens ask for; n_blocks and n_copies as the request has them."""
    return ExtractionRequest(
        backbone=options.backbone,
        images=specimens.images,
        data_fingerprint=specimens.features_fingerprint,
        n_blocks=n_blocks,
        n_copies=n_copies,
        cache_dir=options.cache_folder,
        device=device,
        n_processes=options.workers if len(specimens.images) > FEW_IMAGES else 0,
        n_threads=options.workers,
        remote=options.features,
    )
