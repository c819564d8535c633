"""The specimens that models are scored on: data with labels, or one clear line on what is for data without."""

import re
from typing import TYPE_CHECKING

import pandas as pd

from trainable.config import TARGETS
from trainable.errors import UserError
from tune.command_line.model_options import EvaluateOptions
from tune.study.study_data import load_study_specimens

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens
    from tune.report.console import Console


def load_labelled(options: EvaluateOptions, console: "Console") -> "Specimens":
    """Read and check the dataset.

    Raises: UserError with every problem of the data; a single one where labels are missing altogether.
    """
    try:
        return load_study_specimens(options, console)
    except UserError as error:
        if missing := _missing_labels(options, error):
            raise UserError(
                f"`evaluate` compares forecasts with labels, but {options.data} has no {', '.join(missing)}; "
                "`sentinel-tune predict MODEL IMAGES...` forecasts without labels"
            ) from error
        raise


def _missing_labels(options: EvaluateOptions, error: UserError) -> list[str]:
    """The targets that the data have no column for, or no value in it."""
    named = [re.search(r"column (.*) must be there", problem) for problem in error.problems]
    absent = {name for found in named if found for name in found[1].split(", ")} & set(TARGETS)
    if absent:
        return [target for target in TARGETS if target in absent]
    if not any(target in problem for problem in error.problems for target in TARGETS):
        return []
    from trainable.data.specimen_tables import read_table

    try:
        rows = read_table(options.data, cache_dir=options.cache_folder).rows
    except UserError:
        return []
    return [target for target in TARGETS if pd.to_numeric(rows[target], errors="coerce").isna().all()]
