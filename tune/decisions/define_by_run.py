"""Optuna's define-by-run without Optuna's trials: whoever knows the values answers what a search space suggests."""

from collections.abc import Callable, Sequence
from functools import cache

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.parameter import Plain


class StandIn:
    """Stands where a search space expects Optuna's trial: ranges go to a function, values come back.

    params, distributions: of each name that was suggested, its value and its range.
    """

    def __init__(self, choose: Callable[[str, BaseDistribution], Plain]) -> None:
        """choose: takes a name and its range; is asked once a name."""
        self._choose = choose
        self.params: dict[str, Plain] = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """As `optuna.Trial` has it."""
        return float(self._value(name, _floats(low, high, log)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """As `optuna.Trial` has it."""
        return int(self._value(name, _whole_numbers(low, high, log, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Plain]) -> Plain:
        """As `optuna.Trial` has it."""
        return self._value(name, CategoricalDistribution(choices))

    def _value(self, name: str, distribution: BaseDistribution) -> Plain:
        if name not in self.params:
            self.distributions[name] = distribution
            self.params[name] = self._choose(name, distribution)
        return self.params[name]


@cache
def _floats(low: float, high: float, log: bool) -> FloatDistribution:
    """One object a range, however many trials have it."""
    return FloatDistribution(low, high, log=log)


@cache
def _whole_numbers(low: int, high: int, log: bool, step: int) -> IntDistribution:
    return IntDistribution(low, high, log=log, step=step)


def any_value(distribution: BaseDistribution) -> Plain:
    """The first choice, or the lowest number."""
    if isinstance(distribution, CategoricalDistribution):
        first = distribution.choices[0]
        assert first is not None  # which Optuna knows as a choice, and spaces do not
        return first
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low
