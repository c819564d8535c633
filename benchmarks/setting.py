"""What all benchmarks of one run share: the device, how long to measure, which backbones."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "cuda"]

BACKBONES: dict[Device, tuple[str, ...]] = {"cpu": ("tiny", "vit-ti"), "cuda": ("vit-l",)}
"""What is measured where nothing else is asked for."""

_MIN_ROUNDS = 7


class NotHere(Exception):
    """This figure cannot be measured on this machine; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """quick: tiny sizes and few rounds, to see that everything runs; its numbers mean little."""

    device: Device = "cpu"
    quick: bool = False
    backbones: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.backbones:
            chosen = ("tiny",) if self.quick and self.device == "cpu" else BACKBONES[self.device]
            object.__setattr__(self, "backbones", chosen)

    @property
    def rounds(self) -> int:
        """How often each arm runs, alternating with the others."""
        return 2 if self.quick else _MIN_ROUNDS

    def sized(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full
