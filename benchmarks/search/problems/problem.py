"""What a problem is: a space, what training a configuration brings, and what that configuration is truly worth."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler

from search_spaces.parameter import Draws, Plain
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.decisions.define_by_run import StandIn
from tune.decisions.sampler import Space
from tune.decisions.tpe import draw_uniform

Values = Mapping[str, Plain]
"""A configuration, as a space draws it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What training one configuration brings.

    scores: one an epoch, lower is better; NaN in the last one where the training diverges. epoch_seconds: of each, in
    virtual seconds.
    """

    scores: Sequence[float]
    epoch_seconds: float


class Problem(Protocol):
    """One instance. The same configuration trains to the same scores, whoever asks and whenever."""

    def __hash__(self) -> int:
        """Equal ones are the same instance."""

    @property
    def max_epochs(self) -> int:
        """Of a trial of full length."""

    @property
    def space(self) -> Space:
        """What a search draws from."""

    def train(self, values: Values) -> Training:
        """What the search sees."""

    def truth(self, values: Values) -> float:
        """What it never sees: the score without noise at the best epoch of a whole training, on data that it did not
        choose by. Finite.
        """


class ProblemOfFolds(Problem, Protocol):
    """One as this program's users have it: with configurations to begin with, and scored on folds, of which there are
    more.
    """

    @property
    def starts(self) -> Mapping[str, JsonObject]:
        """By name, the default first."""

    def train_elsewhere(self, values: Values, fold: int) -> Training:
        """What a training on another fold brings, which holds out other data; fold: its number."""


@dataclass(frozen=True, slots=True)
class DrawnSpace:
    """A space that is a function from Optuna's define-by-run trial to values.

    The program's decisions carry a configuration with every trial and compare them, but never look at what is in it,
    the number of epochs apart; here it is a fingerprint of the values.
    """

    draw: Callable[[Draws], dict[str, Plain]]

    def suggest(self, trial: Draws) -> dict[str, Plain]:
        """As a search space."""
        return self.draw(trial)

    def check(self, values: Values) -> None:
        """Raises: UserError when the values are not those that the function draws."""
        try:
            found = self.draw(StandIn(lambda name, _: values[name]))
        except KeyError as lacking:
            raise UserError(f"`values` must hold every active parameter, but {lacking} is not among them") from None
        if unknown := set(values) - set(found):
            raise UserError(f"`values` must hold active parameters alone, but got {', '.join(sorted(unknown))}")

    def config(self, values: Values, epochs: int) -> TrialConfig:
        """Two are equal when their values are."""
        return TrialConfig(epochs=epochs).with_values({"optim.weight_decay": fingerprint(values) / 2**53})


def fingerprint(values: Values) -> int:
    """53 bits, the same in every process."""
    digest = hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:7]) >> 3


def noise_of(values: Values, *key: int) -> np.random.Generator:
    """Random numbers that belong to a configuration and to nothing else but `key`."""
    return np.random.default_rng([fingerprint(values), *key])


def drawn_at_random(space: Space, seed: int) -> dict[str, Plain]:
    """One configuration, evenly from the ranges."""
    sampler = RandomSampler(seed=seed)

    def choose(name: str, distribution: BaseDistribution) -> Plain:
        return draw_uniform(sampler, name, distribution)

    return space.suggest(StandIn(choose))
