"""From two measured configurations to the cost of any other: each figure on the line between the two."""

from collections.abc import Callable
from dataclasses import dataclass

from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from tune.measuring.demand import Demand, demand


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredConfig:
    """One configuration as a few real steps of it were.

    step_seconds: of one step of the optimizer. predict_seconds: a held-out specimen. build_seconds: from a free worker
    to the first step. save_seconds: of one checkpoint. peak_bytes: most memory of the worker, on the device that it
    computes on. checkpoint_bytes: of one file.
    """

    config: TrialConfig
    step_seconds: float
    predict_seconds: float
    build_seconds: float
    save_seconds: float
    peak_bytes: int
    n_trainable: int
    checkpoint_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """value = start + slope * x; neither is negative, since more work never costs less."""

    start: float
    slope: float

    @classmethod
    def through(cls, x: tuple[float, float], y: tuple[float, float]) -> "Line":
        """The line through two measured points; where noise would have it fall, or start below 0, it is bent level."""
        (x_1, x_2), (y_1, y_2) = x, y
        if x_1 == x_2:
            return cls(start=max(y), slope=0.0)
        slope = max((y_2 - y_1) / (x_2 - x_1), 0.0)
        start = y_1 - slope * x_1
        if start < 0:
            return cls(start=0.0, slope=y_2 / x_2 if x_2 > x_1 else y_1 / x_1)
        return cls(start=start, slope=slope)

    def at(self, x: float) -> float:
        """The value there."""
        return self.start + self.slope * x


@dataclass(frozen=True, slots=True)
class Costs:
    """What trials of a space cost on the machine that two of them were measured on."""

    architecture: VisionArchitecture
    smallest: MeasuredConfig
    largest: MeasuredConfig

    def epoch_seconds(self, config: TrialConfig, *, n_train: int, n_held_out: int) -> float:
        """Training on `n_train` specimens, predicting the held-out ones, and checkpoints at their pace."""
        from trainable.training.checkpoint import TIME_SHARE  # loads torch

        own = self._demand(config)
        step = self._line(lambda d: d.step_flops, lambda m: m.step_seconds).at(own.step_flops)
        predict = self._line(lambda d: d.predict_flops, lambda m: m.predict_seconds).at(own.predict_flops)
        save = self._line(lambda d: d.n_trainable, lambda m: m.save_seconds).at(own.n_trainable)
        n_steps = -(-n_train // config.optim.batch_size)
        n_views = 1 + config.augment.test_flips
        learning = n_steps * step + n_held_out * n_views * predict
        return learning + min(save, TIME_SHARE * learning)

    def probe_seconds(self, config: TrialConfig, *, n_train: int) -> float:
        """What a probe takes before the first epoch: one pass of the blocks; what follows on it is a row a specimen."""
        own = self._demand(config)
        predict = self._line(lambda d: d.predict_flops, lambda m: m.predict_seconds).at(own.predict_flops)
        return n_train * predict if config.tail.probe_first else 0.0

    def build_seconds(self, config: TrialConfig) -> float:
        """What every trial takes besides its epochs: from a free worker to its first step, and its last checkpoint."""
        own = self._demand(config).n_trainable
        return self._line(lambda d: d.n_trainable, lambda m: m.build_seconds + m.save_seconds).at(own)

    def memory_bytes(self, config: TrialConfig) -> float:
        """Most memory of its worker."""
        return self._line(lambda d: d.bytes, lambda m: float(m.peak_bytes)).at(self._demand(config).bytes)

    def checkpoint_bytes(self, config: TrialConfig) -> float:
        """One of its checkpoints."""
        n_trainable = self._demand(config).n_trainable
        return self._line(lambda d: d.n_trainable, lambda m: float(m.checkpoint_bytes)).at(n_trainable)

    def _demand(self, config: TrialConfig) -> Demand:
        return demand(config, self.architecture)

    def _line(self, of_demand: Callable[[Demand], float], of_measured: Callable[[MeasuredConfig], float]) -> Line:
        ends = (self.smallest, self.largest)
        x_1, x_2 = (of_demand(self._demand(end.config)) for end in ends)
        y_1, y_2 = (of_measured(end) for end in ends)
        return Line.through((x_1, x_2), (y_1, y_2))
