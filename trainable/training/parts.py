"""A batch that is computed in parts drops what it drops as a whole: masks follow the specimen, not the call."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode


def masks_of_parts(sizes: Sequence[int], device: torch.device) -> Iterator[AbstractContextManager[object]]:
    """For each of a batch's consecutive parts, the context in which it goes forward.

    Dropout draws from the global generators as for a batch in one part, and leaves them as that does: each part begins
    where the first did, draws the masks of all specimens, and takes its own. In one part nothing is changed.
    """
    if len(sizes) == 1:
        yield nullcontext()
        return
    begin = _states(device)
    for start, stop in pairwise(accumulate(sizes, initial=0)):
        _set_states(begin, device)
        yield _RowsOfWholeMasks(start, stop, sum(sizes))


class _RowsOfWholeMasks(TorchFunctionMode):
    """Inside, `F.dropout` on rows `start` to `stop` of `n` is what it would be on them among all."""

    def __init__(self, start: int, stop: int, n: int) -> None:
        super().__init__()
        self._start, self._stop, self._n = start, stop, n

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return (self._dropout if func is F.dropout else func)(*args, **(kwargs or {}))

    def _dropout(
        self,
        input: Float[Tensor, "*shape"],  # noqa: A002 - as torch names it
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Float[Tensor, "*shape"]:
        if not training or p == 0:
            return F.dropout(input, p, training, inplace)
        each = len(input) // (self._stop - self._start)  # rows of a specimen, where its tokens lie in that dimension
        whole = F.dropout(input.new_ones((each * self._n, *input.shape[1:])), p, training=True)
        mask = whole[each * self._start : each * self._stop]
        return input.mul_(mask) if inplace else input * mask


def _states(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_states(states: Sequence[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)
