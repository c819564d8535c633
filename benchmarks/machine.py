"""Which machine, software and commit a figure was measured with."""

import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainable.allowance import usable_cpus

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """cores: those that this process may use. commit: "+" behind it when files differ from it."""

    cores: int
    processor: str
    gpu: str
    python: str
    torch: str
    date: str
    commit: str

    def __str__(self) -> str:
        gpu = f", {self.gpu}" if self.gpu else ""
        software = f"Python {self.python}, torch {self.torch}"
        return f"{self.cores} cores, {self.processor}{gpu}, {software}, {self.date}, commit {self.commit}"


def this_machine(device: str) -> Machine:
    """The machine that this runs on."""
    return Machine(
        cores=usable_cpus(),
        processor=_processor(),
        gpu=_gpu() if device == "cuda" else "",
        python=platform.python_version(),
        torch=_torch_version(),
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
    )


def _torch_version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return "none"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _commit() -> str:
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
