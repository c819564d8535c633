"""Where a command computes: Ray around it or not, on which device, in which number format."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from trainable.errors import UserError
from tune.cluster.placement import Placement
from tune.command_line.options import DataOptions, ExtractOptions, MachineOptions, PrecisionOptions, SearchOptions

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens
    from tune.extraction.request import ExtractionRequest

P = TypeVar("P", bound=PrecisionOptions)

FEW_IMAGES = 5_000
"""Up to so many images, starting decoding processes costs more than it saves (demo: 1.4 s without, 1.6 s with)."""


@contextmanager
def compute_session(options: SearchOptions | ExtractOptions, say: Callable[[str], None]) -> Iterator[str]:
    """Join or start Ray (unless `--local`) and yield the device, "cpu" or "cuda"; leave Ray at the end.

    say: takes one line for the user before a wait.
    Raises: UserError when `--device cuda` finds no GPU, or `--wait-for-nodes` no node.
    """
    if options.local:
        yield local_device(options)
        return
    from tune.cluster.ray_cluster import n_gpus, start_ray, stop_ray

    start_ray(address=options.address, n_workers=options.workers)
    try:
        with _nodes_asked_for(options, say):
            yield _device(options.device, n_gpus=n_gpus(), where="the Ray cluster")
    finally:
        stop_ray()


def _nodes_asked_for(
    options: SearchOptions | ExtractOptions, say: Callable[[str], None]
) -> AbstractContextManager[None]:
    if options.wait_for_nodes is None:
        return nullcontext()
    from tune.cluster.growth import nodes_asked_for

    cpus, gpus, count = 1.0, float(options.device == "cuda"), 1
    if isinstance(options, SearchOptions):
        cpus, count = options.cpus_per_trial, options.max_concurrent or 1
        if isinstance(options.gpus_per_trial, int | float):
            gpus = options.gpus_per_trial
    asked = Placement(cpus_per_trial=cpus, gpus_per_trial=gpus)
    return nodes_asked_for(asked, count, wait_seconds=options.wait_for_nodes, say=say)


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
    from trainable.training.precision import Precision, products_of

    asked = options.precision
    products = Precision.on(device, asked).products if trains_here else products_of(asked, device)
    return replace(options, precision=products)


def request_for(
    options: DataOptions, specimens: "Specimens", *, n_blocks: tuple[int, ...], device: str
) -> "ExtractionRequest":
    """The extraction that these options and specimens ask for."""
    from tune.extraction.request import ExtractionRequest

    return ExtractionRequest(
        backbone=options.backbone,
        images=specimens.images,
        data_fingerprint=specimens.fingerprint,
        n_blocks=n_blocks,
        cache_dir=options.cache_folder,
        device=device,
        n_processes=options.workers if len(specimens.images) > FEW_IMAGES else 0,
        n_threads=options.workers,
        remote=options.features,
    )
