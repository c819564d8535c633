"""A search space as a task has use for it: what concerns groups or targets that it has not does not vary."""

from dataclasses import replace

from search_spaces.parameter import Parameter, encode, is_among
from search_spaces.space import NamedConfig, SearchSpace
from trainable.absent_settings import absent_settings, settings_without
from trainable.counts import counted
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.plain_values import JsonObject


def fit_to_task(space: SearchSpace, task: Task) -> tuple[SearchSpace, str | None]:
    """The space without parameters that make no difference, and a line that says which, if there are any.

    Raises: UserError if nothing is left that varies.
    """
    absent = absent_settings(task)
    fixed = settings_without(absent)
    kept: list[Parameter] = []
    without: list[str] = []
    for parameter in space.parameters:
        if parameter.key not in fixed and _applies(parameter, fixed):
            kept.append(_unconditional(parameter, fixed))
        else:
            fixed.setdefault(parameter.key, parameter.otherwise)
            without.append(parameter.key)
    lacking = f"the task has no {', no '.join(absent)}"
    if not kept:
        raise UserError(f"a search space must vary what makes a difference, but {lacking}, and {space.name} no other")
    fitted = replace(
        space,
        base=_with(space.base, fixed),
        parameters=tuple(kept),
        start_from=tuple(_with(point, fixed) for point in space.start_from),
        compare_with=tuple(_with(point, fixed) for point in space.compare_with),
    )
    if not without:
        return fitted, None
    return fitted, f"{lacking}: {counted(len(without), 'parameter')} of {space.name} drop out: {', '.join(without)}"


def _with(point: NamedConfig, fixed: JsonObject) -> NamedConfig:
    return replace(point, config=point.config.with_values(fixed))


def _applies(parameter: Parameter, fixed: JsonObject) -> bool:
    return all(is_among(encode(fixed[key]), allowed) for key, allowed in parameter.when.items() if key in fixed)


def _unconditional(parameter: Parameter, fixed: JsonObject) -> Parameter:
    """Without conditions on keys that do not vary any more."""
    return replace(parameter, when={key: allowed for key, allowed in parameter.when.items() if key not in fixed})
