"""The specimens that models are scored on: data with labels, or one clear line on what is for data without."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from trainable.config import TARGETS
from trainable.counts import counted
from trainable.data.specimen_tables import read_table
from trainable.data.specimens import Specimens
from trainable.data.task import beetles
from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from tune.command_line.model_options import EvaluateOptions
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.study.study_data import load_study_specimens


def load_labelled(options: EvaluateOptions, facts: Mapping[str, ModelFacts], console: Console) -> Specimens:
    """Read and check the dataset that `--data` names, else that which the models were trained on.

    facts: by the model's name.
    Raises: UserError with every problem of the data; a single one where labels are missing altogether, or the models'
    own data are not to be had.
    """
    if options.data is None:
        return _own_data(options, facts, console)
    try:
        return load_study_specimens(options, console)
    except UserError as error:
        if missing := _missing_labels(options, options.data, error):
            raise UserError(
                f"`evaluate` compares forecasts with labels, but {options.data} has no {', '.join(missing)}; "
                f"`{next_command('predict', options.models[0])} IMAGES...` forecasts without labels"
            ) from error
        raise


def _own_data(options: EvaluateOptions, facts: Mapping[str, ModelFacts], console: Console) -> Specimens:
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
            specimens = _as_trained(replace(options, data=data, skip_bad_images=True), of.data_fingerprint, console)
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


def _as_trained(options: EvaluateOptions, fingerprint: str, console: Console) -> Specimens:
    """Without what the model was trained without, images that cannot be read and doubles: the fingerprint tells."""
    specimens = load_study_specimens(options, console)
    if specimens.fingerprint != fingerprint and not options.drop_duplicates:
        without = load_study_specimens(replace(options, drop_duplicates=True), console)
        return without if without.fingerprint == fingerprint else specimens
    return specimens


def _in_one_line(error: UserError) -> str:
    first, *more = error.problems
    return f"{first} (and {counted(len(more), 'more problem')})" if more else first


def _missing_labels(options: EvaluateOptions, data: str, error: UserError) -> list[str]:
    """The targets that the data have no column for, or no value in it."""
    named = [re.search(r"column (.*) must be there", problem) for problem in error.problems]
    absent = {name for found in named if found for name in found[1].split(", ")} & set(TARGETS)
    if absent:
        return [target for target in TARGETS if target in absent]
    if not any(target in problem for problem in error.problems for target in TARGETS):
        return []

    try:
        rows = read_table(data, cache_dir=options.cache_folder, task=beetles()).rows
    except UserError:
        return []
    return [target for target in TARGETS if pd.to_numeric(rows[target], errors="coerce").isna().all()]
