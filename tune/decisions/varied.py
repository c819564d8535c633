"""What a study varies: its space's parameters, and their values in any trial, sampled or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.parameter import Parameter, encode
from search_spaces.space import SearchSpace
from trainable.config import PROJECTIONS, later_keys
from trainable.errors import UserError
from trainable.plain_values import flattened
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord

_ALL = encode(PROJECTIONS)


@dataclass(frozen=True, slots=True)
class Varied:
    """A parameter of the study's space. label: short and unlike those of the study's others."""

    parameter: Parameter
    label: str

    @property
    def is_log(self) -> bool:
        """Whether it is to be drawn on a logarithmic axis."""
        return self.parameter.kind != "categorical" and self.parameter.log

    def value(self, trial: TrialRecord) -> Any:
        """What the trial has: the sampler's value, else its configuration's; None where it has no effect.

        A trial outside the space, as a comparison may be, has its own value all the same.
        """
        parameter = self.parameter
        if trial.values is not None:
            return trial.values.get(parameter.name)
        flat = {**later_keys(), **flattened(trial.config)}  # a journal leaves out what came later and is off
        if not all(key in flat for key in (*parameter.when, parameter.key)) or not parameter.is_active(flat):
            return None
        value = flat[parameter.key]
        if parameter.times:
            factor = flat.get(parameter.times)
            return value / factor if factor else None
        return encode(value)


def varied_parameters(standings: Standings) -> tuple[Varied, ...]:
    """The parameters of a study's space, in its order; none where its journal holds no space that can be read here."""
    plain = standings.header.get("space")
    if not isinstance(plain, Mapping):
        return ()
    try:
        parameters = SearchSpace.from_dict(plain).parameters
    except UserError:  # of a later version
        return ()
    return tuple(Varied(p, label) for p, label in zip(parameters, _labels(parameters), strict=True))


def shown_value(value: Any) -> str:
    """A parameter's value in few characters: four digits of a number, `all` of all projections."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "all" if value == _ALL else str(value)


def _labels(parameters: Sequence[Parameter]) -> list[str]:
    """What each key is about, where that is one parameter's alone; else the key."""
    short = [_short(p) for p in parameters]
    return [label if short.count(label) == 1 else p.name for label, p in zip(short, parameters, strict=True)]


def _short(parameter: Parameter) -> str:
    """`lr` of `optim.lr`, `adapter` of `adapter.kind`, `alpha/rank` where a factor on the rank is sampled."""
    group, _, leaf = parameter.key.rpartition(".")
    if group and leaf in ("kind", "name"):
        return group
    return f"{leaf}/{parameter.times.rpartition('.')[2]}" if parameter.times else leaf
