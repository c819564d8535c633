"""The average of a trial's weights over its steps, which predicts in their place (Polyak & Juditsky 1992)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


def newest_share(step: int, n_steps: int, *, average: Literal["ema", "last"], fraction: float) -> float:
    """The part that the weights after step `step` (from 0) of `n_steps` have in the average; the rest is as before.

    "ema": an exponential average over `fraction` of the steps, of all weights alike until there are as many. "last":
    the mean over the last `fraction` of the steps, the newest weights alone before those begin.
    """
    span = max(fraction * n_steps, 1.0)
    if average == "ema":
        return max(1 / (step + 1), 1 / span)
    n_averaged = step - (n_steps - round(span)) + 1
    return 1 / max(n_averaged, 1)


class WeightAverage:
    """The parameters hold the average, so that whoever predicts, keeps or exports them does it with the average; only
    inside of `training` they hold what the optimizer moves.

    trained: what the optimizer moves, in the order of the parameters, while they hold the average.
    """

    def __init__(
        self, parameters: Sequence[Tensor], *, average: Literal["ema", "last"], fraction: float, n_steps: int
    ) -> None:
        """parameters: as they are before the first step. n_steps: of the whole training. Others: as `newest_share`."""
        self.trained = [p.detach().clone() for p in parameters]
        self._parameters = parameters
        self._average, self._fraction, self._n_steps = average, fraction, n_steps

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside, the parameters are what the optimizer moves, and `take_in` follows them. Costs no copy."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def take_in(self, step: int) -> None:
        """After step `step` (from 0) of the training: what the parameters are now becomes part of the average."""
        share = newest_share(step, self._n_steps, average=self._average, fraction=self._fraction)
        move = get_ema_multi_avg_fn(1 - share)  # all parameters in one operation; at a share of 1 it copies
        move(self.trained, list(self._parameters), 0)  # exchanged: it is `trained` that holds the average here

    def _exchange(self) -> None:
        for i, parameter in enumerate(self._parameters):
            parameter.data, self.trained[i] = self.trained[i], parameter.data
