"""Random streams: one a purpose and epoch, each a function of the trial's seed alone.

Because no stream is carried from one epoch to the next, a resumed trial needs no generator state to draw what the
uninterrupted one draws, and switching one augmentation off leaves the draws of all others as they were.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch

Purpose = Literal[
    "adapter weights",
    "regressor weights",
    "domain weights",
    "order",
    "dropout",
    "specimens",
    "noise",
    "mixup",
    "domains",
    "probe",
    "species weights",
    "species",
    "number weights",
    "numbers",
    "copies",
]
_PURPOSES = get_args(Purpose)


def stream_seed(seed: int, purpose: Purpose, epoch: int = 0) -> int:
    """The seed of one stream: whole, non-negative, below 2^63; equal for equal arguments on every machine."""
    words = np.random.SeedSequence([seed, _PURPOSES.index(purpose), epoch]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def make_generator(seed: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator at the start of a stream."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose, epoch))


@contextmanager
def seeded_globally(seed: int, purpose: Purpose, epoch: int = 0, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's global generators (of the CPU and `device`) run this stream; afterwards they are as before.

    For library code that takes no generator: weight initialisation, dropout.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(stream_seed(seed, purpose, epoch))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(stream_seed(seed, purpose, epoch))
        yield
