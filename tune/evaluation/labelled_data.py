"""The specimens that models are scored on: data with labels, or one clear line on what is for data without."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from trainable.counts import counted
from trainable.data.odd_cells import NO_VALUE
from trainable.data.specimen_tables import read_table
from trainable.data.specimens import Specimens
from trainable.data.task import Task
from trainable.data.task_choice import named_task
from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from tune.command_line.model_options import EvaluateOptions
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.study.study_data import load_study_specimens


def load_labelled(
    options: EvaluateOptions, facts: Mapping[str, ModelFacts], tasks: Mapping[str, Task], console: Console
) -> Specimens:
    """Read and check the dataset that `--data` names, else that which the models were trained on.

    facts, tasks: by the model's name. The data are read by the models' task, or by that of `--task` where they have
    other columns.
    Raises: UserError with every problem of the data; a single one where labels are missing altogether, or the models'
    own data are not to be had, or the models' targets are not the same, or not those of `--task`.
    """
    task = _task(options, tasks)
    if options.data is None:
        return _own_data(options, facts, task, console)
    try:
        return load_study_specimens(options, console, task, to_learn=False)
    except UserError as error:
        if missing := _missing_labels(options, options.data, task, error):
            raise UserError(
                f"`evaluate` compares forecasts with labels, but {options.data} has no {', '.join(missing)}; "
                f"`{next_command('predict', options.models[0])} IMAGES...` forecasts without labels"
            ) from error
        raise


def _task(options: EvaluateOptions, tasks: Mapping[str, Task]) -> Task:
    (first, task), *others = tasks.items()
    if differing := [name for name, other in others if other.shown_targets != task.shown_targets]:
        shown = "; ".join(f"{name}: {', '.join(tasks[name].shown_targets)}" for name in (first, *differing))
        raise UserError(f"models must forecast the same targets to be compared, but do not: {shown}")
    if differing := [name for name, other in others if other.classes != task.classes]:
        raise UserError(
            f"models must forecast the same classes to be compared, but {', '.join(differing)} has other ones than "
            f"{first}; evaluate them one by one"
        )
    named = None if options.task is None else named_task(options.data or "demo", options.task)
    if named is not None and named.shown_targets != task.shown_targets:
        raise UserError(
            f"`--task` must have the targets of {first}, {', '.join(task.shown_targets)}, but {options.task} has "
            f"{', '.join(named.shown_targets)}"
        )
    if named is None:
        return task
    named = named.with_classes(task.classes)
    if named.classes != task.classes:
        raise UserError(
            f"`--task` must have the classes of {first} in the same order, but {options.task} has others; leave them "
            "to the model by `classes: auto`"
        )
    return named


def _own_data(options: EvaluateOptions, facts: Mapping[str, ModelFacts], task: Task, console: Console) -> Specimens:
    """The data that all models were trained on.

    Raises: UserError when there are none such, or they are not what they were.
    """
    if len({of.data_fingerprint for of in facts.values()}) > 1:
        of_each = ", ".join(f"{name} on {of.data}" for name, of in facts.items())
        raise UserError(
            f"models must be trained on the same data to be scored without --data, but they were not: {of_each}; "
            "give the --data to score them all on"
        )
    problems = []
    for data in dict.fromkeys(of.data for of in facts.values()):
        name, of = next((name, of) for name, of in facts.items() if of.data == data)
        rule = f"without --data, {name} is scored on what it was trained on, {data}"
        try:
            own = replace(options, data=data, skip_bad_images=True)
            specimens = _as_trained(own, of.data_fingerprint, task, console)
        except UserError as error:
            problems.append(f"{rule}, but {_in_one_line(error)}; give the --data to score it on")
            continue
        if specimens.fingerprint == of.data_fingerprint:
            return specimens
        problems.append(
            f"{rule} with the fingerprint {of.data_fingerprint[:12]}, but what is there has "
            f"{specimens.fingerprint[:12]}; give the --data to score it on, which may be {data}"
        )
    raise UserError(problems)


def _as_trained(options: EvaluateOptions, fingerprint: str, task: Task, console: Console) -> Specimens:
    """Without what the model was trained without, images that cannot be read and doubles: the fingerprint tells."""
    specimens = load_study_specimens(options, console, task)
    if specimens.fingerprint != fingerprint and not options.drop_duplicates:
        without = load_study_specimens(replace(options, drop_duplicates=True), console, task)
        return without if without.fingerprint == fingerprint else specimens
    return specimens


def _in_one_line(error: UserError) -> str:
    first, *more = error.problems
    return f"{first} (and {counted(len(more), 'more problem')})" if more else first


def _missing_labels(options: EvaluateOptions, data: str, task: Task, error: UserError) -> list[str]:
    """The targets' columns that the data do not have, or that have no value in them."""
    wanted = [target.column for target in task.targets]
    named = [re.search(r"column (.*) must be there", problem) for problem in error.problems]
    absent = {name for found in named if found for name in found[1].split(", ")} & set(wanted)
    if absent:
        return [column for column in wanted if column in absent]
    if not any(column in problem for problem in error.problems for column in wanted):
        return []

    try:
        rows = read_table(data, cache_dir=options.cache_folder, task=task, to_learn=False).rows
    except UserError:
        return []
    return [column for column in wanted if not _has_labels(rows[column], task)]


def _has_labels(values: pd.Series, task: Task) -> bool:
    given = values[values.notna()].astype(str).str.strip()
    given = given[given != ""]
    return bool(len(given)) if task.has_classes else not given.str.fullmatch(NO_VALUE).all()
