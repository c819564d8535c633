"""In which number format a trial multiplies its matrices: chosen, checked against the processor, applied.

With bfloat16 the matrix products of the tail's blocks are taken in it, in training and in validation alike. Weights,
residual stream, norms, class-token attention, regressor, loss, optimizer and scores are float32 either way, and no loss
is scaled. The float32 products that remain beside bfloat16 ones are TF32 on CUDA; with float32 asked for, none are.
"""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch

from trainable.errors import UserError

Products = Literal["float32", "bfloat16"]

CPU_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Each multiplies bfloat16; the first two are of x86-64, the others of Arm. Without one torch does so far slower."""

NEED = {
    "cpu": "`--precision bfloat16` must have CPUs that multiply it",
    "cuda": "bfloat16, which `--precision auto` is on CUDA, must have GPUs of compute capability 8.0 or higher",
}
REMEDY = "use --precision float32, or other machines for a study that was begun with bfloat16"


@dataclass(frozen=True, slots=True)
class Precision:
    """products: format of the blocks' matrix products. device: "cpu" or "cuda"."""

    products: Products
    device: str

    def __str__(self) -> str:
        if self.products == "float32":
            return "float32"
        return "bfloat16 products, TF32" if self.device == "cuda" else "bfloat16 products"

    @classmethod
    def on(cls, device: str, asked: str = "auto", *, lack: str | None = None) -> "Precision":
        """What is asked for, on a device of this machine: "cpu" or "cuda".

        lack: as `lack_of_bfloat16` says; None asks it.
        Raises: UserError where the processor has no instructions for it.
        """
        precision = cls(products_of(asked, device), device)
        if precision.products == "bfloat16":
            lack = lack_of_bfloat16(device) if lack is None else lack
            if lack:
                raise UserError(f"{NEED[device]}, but this machine {lack}; {REMEDY}")
        return precision

    def forward(self) -> AbstractContextManager[object]:
        """Around a forward pass, not the way back, whose products are taken as they were forward."""
        return torch.autocast(self.device, torch.bfloat16) if self.products == "bfloat16" else nullcontext()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around forward and backward pass: on CUDA, whether float32 products may be TF32; afterwards as before."""
        if self.device != "cuda":
            yield
            return
        before = _swap_cuda_float32("tf32" if self.products == "bfloat16" else "ieee")
        try:
            yield
        finally:
            _swap_cuda_float32(before)


def products_of(asked: str, device: str) -> Products:
    """`auto` is bfloat16 on CUDA and float32 on a CPU; whether the processor can is not looked at."""
    if asked not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"`precision` must be auto, float32 or bfloat16, but got {asked!r}")
    if asked == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return cast(Products, asked)


def lack_of_bfloat16(device: str) -> str:
    """What this machine, or one of its GPUs, has instead of what `NEED` says; empty if it lacks nothing."""
    if device == "cpu":
        return lack_of_cpu(_cpu_capabilities())
    if torch.version.hip is not None:
        return ""
    gpus = range(torch.cuda.device_count())
    return lack_of_gpus([(torch.cuda.get_device_name(gpu), torch.cuda.get_device_capability(gpu)) for gpu in gpus])


def lack_of_cpu(capabilities: Mapping[str, Any]) -> str:
    """capabilities: as `torch.cpu.get_capabilities` has them."""
    if any(capabilities.get(name, False) for name in CPU_INSTRUCTIONS):
        return ""
    return f"has none of {', '.join(CPU_INSTRUCTIONS)} ({capabilities.get('cpu_name', platform.machine())})"


def lack_of_gpus(gpus: Sequence[tuple[str, tuple[int, int]]]) -> str:
    """gpus: name and compute capability of each."""
    older = dict.fromkeys(f"{name} of {major}.{minor}" for name, (major, minor) in gpus if (major, minor) < (8, 0))
    return f"has {', '.join(older)}" if older else ""


def _cpu_capabilities() -> Mapping[str, Any]:
    cpu: Any = torch.cpu
    if hasattr(cpu, "get_capabilities"):
        return cast(Mapping[str, Any], cpu.get_capabilities())
    return {"avx512_bf16": cpu._is_avx512_bf16_supported()}  # all that older versions of torch tell


def _swap_cuda_float32(level: str) -> str:
    """Set how CUDA multiplies float32 matrices; returns what was set, to be set again."""
    matmul: Any = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # torch 2.9 and later, where the older call warns
        before, matmul.fp32_precision = matmul.fp32_precision, level
        return str(before)
    was = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision({"tf32": "high", "ieee": "highest"}.get(level, level))
    return was
