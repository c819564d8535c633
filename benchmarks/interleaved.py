"""Timing of several arms side by side: in turns within one process, so that a noisy machine is as unkind to each."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Arm = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each round by arm."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, arm: str) -> float:
        """Median seconds of an arm."""
        return statistics.median(self.seconds[arm])

    def ratio(self, over: str, under: str) -> float:
        """Median over the rounds of one arm's seconds in another's: what drifts with time hits both of a round."""
        return statistics.median(a / b for a, b in zip(self.seconds[over], self.seconds[under], strict=True))


def measure_in_turns(arms: Mapping[str, Arm], *, rounds: int, clock: Callable[[Arm], float], warm_up: int = 1) -> Times:
    """Run every arm once a round, in an order that rotates; the warm-up rounds are not kept.

    clock: seconds of one call: `cpu_seconds`, `wall_seconds` or `cuda_seconds`.
    """
    names = list(arms)
    found: dict[str, list[float]] = {name: [] for name in names}
    for i in range(-warm_up, rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            seconds = clock(arms[name])
            if i >= 0:
                found[name].append(seconds)
    return Times({name: tuple(values) for name, values in found.items()})


def cpu_seconds(arm: Arm) -> float:
    """CPU time of this process, all its threads: other processes' load does not show in it."""
    started = time.process_time()
    arm()
    return time.process_time() - started


def wall_seconds(arm: Arm) -> float:
    """Elapsed time."""
    started = time.perf_counter()
    arm()
    return time.perf_counter() - started


def cuda_seconds(arm: Arm) -> float:
    """Time between two events on the current CUDA stream, before and after what the arm put on it."""
    import torch

    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    before.record()
    arm()
    after.record()
    torch.cuda.synchronize()
    milliseconds: float = before.elapsed_time(after)
    return milliseconds / 1000


def clock_of(device: str) -> Callable[[Arm], float]:
    """How single-process work is timed on a device."""
    return cuda_seconds if device == "cuda" else cpu_seconds
