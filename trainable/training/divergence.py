"""When training cannot go on: something is not finite any more, or the loss has exploded."""

import math

DIVERGED_FACTOR = 1000.0
"""A trial has diverged when an epoch's loss exceeds this many times the loss of always predicting 0."""


class TrialDiverged(Exception):
    """Training cannot go on: the loss or the predictions are not finite, or the loss has exploded."""

    def __init__(self, epoch: int, reason: str) -> None:
        self.epoch, self.reason = epoch, reason
        super().__init__(f"diverged in epoch {epoch}: {reason}")

    def __reduce__(self) -> tuple[type["TrialDiverged"], tuple[int, str]]:
        return (type(self), (self.epoch, self.reason))


def check_loss(loss: float, *, loss_of_zero: float, epoch: int) -> None:
    """loss: an epoch's. loss_of_zero: that of always predicting 0.

    Raises: TrialDiverged.
    """
    if not math.isfinite(loss):
        raise TrialDiverged(epoch, f"the training loss is {loss}; a lower learning rate may help")
    if loss > DIVERGED_FACTOR * loss_of_zero:
        reason = f"the training loss is {loss:.4g}, over {DIVERGED_FACTOR:g} times that of always predicting 0"
        raise TrialDiverged(epoch, f"{reason}; a lower learning rate may help")
