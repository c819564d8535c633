"""The sampler's side of the decisions: what it is told of trials, its proposals, strict reading of given values.

Every proposal is a function of the study's journal and of a seed derived from the study's seed and the trial's number,
so a study rebuilt from its journal proposes what it would have proposed had it never stopped.
"""

import contextlib
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.parameter import Draws, Plain
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.failure import FailureKind
from trainable.plain_values import JsonObject
from tune.decisions.define_by_run import StandIn, any_value
from tune.decisions.observations import Observations
from tune.decisions.tpe import ARGUMENTS, Tpe, draw_uniform
from tune.decisions.trial_record import TrialRecord

STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""Our words for how a trial ended -> Optuna's."""


class Space(Protocol):
    """What the decisions need of a search space; `search_spaces.space.SearchSpace` has it."""

    def suggest(self, trial: Draws) -> dict[str, Plain]:
        """Draw every active parameter from `trial`, as Optuna's define-by-run."""

    def check(self, values: Mapping[str, Plain]) -> None:
        """Raises: UserError naming every value that is missing, out of range, or of no active parameter."""

    def config(self, values: Mapping[str, Plain], epochs: int) -> TrialConfig:
        """The complete configuration of drawn values; raises as `check`."""


class Ranges:
    """The ranges that apply to a space's values; values of the same parameters share them."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._found: dict[tuple[str, ...], dict[str, BaseDistribution]] = {}

    def of(self, values: Mapping[str, Plain]) -> dict[str, BaseDistribution]:
        """Name -> range, in the space's order; not to be changed.

        Raises: UserError naming every value that is missing, out of range, or of no active parameter.
        """
        self._space.check(values)
        names = tuple(values)
        if names not in self._found:
            trial = StandIn(lambda name, _: values[name])
            self._space.suggest(trial)
            self._found[names] = trial.distributions
        return self._found[names]


def sampler_description() -> JsonObject:
    """The sampler with its arguments and Optuna's version, for the study's header; a resumed study keeps to its own.

    Univariate TPE with constant liar: in a 12-dimensional mixed space Optuna 5's multivariate default did worse than
    random search under ASHA. Pruned trials count as observations, ranked by how far they came; those that
    failed for their configuration rank last, so that others keep away from it.
    """
    return {"name": "TPESampler", "arguments": dict(ARGUMENTS), "optuna": optuna.__version__, "failed": "last"}


@dataclass(slots=True)
class _Known:
    """A trial as the sampler knows it; row: its place among the observations."""

    row: int
    params: dict[str, Plain]
    distributions: dict[str, BaseDistribution]
    state: TrialState = TrialState.RUNNING
    value: float | None = None
    scores: dict[int, float] = field(default_factory=dict)


class Proposer:
    """Proposes values from what was told of other trials."""

    def __init__(self, space: Space, *, seed: int, description: JsonObject) -> None:
        """description: as `sampler_description` gives it; without `failed`, failed trials stay unknown.

        Raises: UserError if `description` names another sampler than TPE, or a form of it that is not built here.
        """
        if description["name"] != "TPESampler":
            raise UserError(f"`sampler` must be TPESampler, but the study was begun with {description['name']!r}")
        arguments = description["arguments"]
        if unlike := [
            name for name in ("multivariate", "group", "constant_liar") if arguments[name] != ARGUMENTS[name]
        ]:
            shown = ", ".join(f"{name}={arguments[name]}" for name in unlike)
            raise UserError(
                f"`sampler` must be univariate TPE with constant liar, but the study was begun with {shown}"
            )
        self._space, self._ranges = space, Ranges(space)
        self._seed = seed
        self._arguments = arguments
        self._failed_rank_last = description.get("failed") == "last"
        self._observations = Observations()
        self._known: list[_Known] = []
        self._running: dict[str, _Known] = {}

    def propose(self, number: int, *, attempt: int, uniform: bool = False) -> dict[str, Plain]:
        """Values for trial `number`, drawn by TPE, or from the ranges alone if `uniform`; changes nothing."""
        seed = _derived_seed(self._seed, number, attempt)
        draw: Callable[[str, BaseDistribution], Plain]
        if uniform:
            draw = partial(draw_uniform, RandomSampler(seed=seed))
        else:
            draw = Tpe(self._observations, self._arguments, seed=seed).draw

        def choose(name: str, distribution: BaseDistribution) -> Plain:
            return any_value(distribution) if distribution.single() else draw(name, distribution)

        return self._space.suggest(StandIn(choose))

    def begin(self, trial_id: str, values: Mapping[str, Plain]) -> None:
        """A trial runs with these values; until it is told, the constant liar keeps others away from it."""
        self._running[trial_id] = self._add(values)

    def tell(self, record: TrialRecord) -> None:
        """A trial ended; a pruned one is told as such, with all its epochs and its best score."""
        known = self._running.pop(record.trial_id)
        known.scores = {epoch: score for epoch, score in record.scores.items() if math.isfinite(score)}
        self._end(known, STATES[record.state], record.best_score, to_blame=_is_to_blame(record))

    def add_history(self, trial: JsonObject) -> None:
        """A finished trial of an earlier study: `{"values", "state", "value", "intermediate": [[epoch, score], ...]}`.

        Raises: UserError if its values do not lie in the space.
        """
        known = self._add(trial["values"])
        known.scores = {int(epoch): score for epoch, score in trial["intermediate"]}
        self._end(known, STATES[trial["state"]], trial["value"], to_blame=False)

    def trials(self) -> list[FrozenTrial]:
        """What the sampler knows, in order, as Optuna's trials."""
        return [
            create_trial(
                state=known.state,
                value=known.value,
                params=known.params,
                distributions=known.distributions,
                intermediate_values=known.scores,
            )
            for known in self._known
        ]

    def _add(self, values: Mapping[str, Plain]) -> _Known:
        params, distributions = dict(values), self._ranges.of(values)
        known = _Known(self._observations.begin(params, distributions), params, distributions)
        self._known.append(known)
        return known

    def _end(self, known: _Known, state: TrialState, value: float | None, *, to_blame: bool) -> None:
        known.state = state
        if state == TrialState.FAIL or value is None:
            self._observations.fail(known.row, ranks_last=self._failed_rank_last and to_blame)
            return
        known.value = value
        if state == TrialState.COMPLETE:
            self._observations.complete(known.row, value)
        else:
            self._observations.prune(known.row, known.scores)


def _is_to_blame(record: TrialRecord) -> bool:
    """Whether a trial failed for its configuration: it diverged, had a score that is not finite, or took too much
    memory, also with its batch in parts; a bug, a disk or a dead worker says nothing of it.
    """
    return record.state == "failed" and (
        record.error is None or record.error.kind in (FailureKind.DIVERGED, FailureKind.MEMORY)
    )


def _derived_seed(seed: int, number: int, attempt: int) -> int:
    digest = hashlib.sha256(f"{seed}/{number}/{attempt}".encode()).digest()
    return int.from_bytes(digest[:4])  # numpy's generator takes 32 bits


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Without Optuna's log line for a study in memory, and its warnings that options we name are experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
