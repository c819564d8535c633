"""Results must outlive the folder that Ray unpacks a job's files into, and removes after the job."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from trainable.errors import UserError
from tune.command_line.declaration import OptionValues
from tune.command_line.parsing import Given

RESULTS = {"search": "study", "train": "out", "retrain": "out", "evaluate": "out"}
"""Verb -> the option that names where its results go; left out, that is below the working folder."""


STARTS_OVER = ("plan", "evaluate")
"""Verbs that keep nothing of an interrupted run."""


def is_job_folder(folder: Path) -> bool:
    """Whether Ray made `folder` for one job."""
    return "working_dir_files" in folder.parts


def check_results_last(verb: str, given: Given, cwd: Path) -> None:
    """In a job's own folder, refuse to write results or MLflow's records there.

    Raises: UserError with each place that would be lost.
    """
    if is_job_folder(cwd):
        problems = [*lost_results(verb, given.values), *_lost_records(verb, given.values, os.environ)]
        if problems:
            raise UserError(problems)


def lost_results(verb: str, values: OptionValues) -> list[str]:
    """What is wrong with a command, run as a job, that would leave its results in the job's own folder."""
    name = RESULTS.get(verb)
    if name is None or values.get("resume") is not None or _lasts(values.get(name)):
        return []
    if verb == "evaluate" and name not in values and all(Path(model).is_absolute() for model in values["models"]):
        return []  # the report lies in the model's folder
    got = values.get(name, "none")
    return [
        f"`--{name}` must be a path or URI that outlives the job, but got {got}: Ray removes a job's folder after it; "
        f"give one that all nodes share, such as --{name} /shared/{verb}/first"
    ]


def _lost_records(verb: str, values: OptionValues, environment: Mapping[str, str]) -> list[str]:
    if verb not in ("search", "evaluate") or values.get("resume") is not None or values.get("no_track"):
        return []
    uri = values.get("tracking_uri") or environment.get("MLFLOW_TRACKING_URI")
    if uri is not None and not re.match(r"sqlite:///(?!/)", uri):
        return []
    got = uri or "none"
    return [
        f"the MLflow tracking URI must outlive the job, but got {got}: Ray removes a job's folder after it; give "
        "--tracking-uri, or set MLFLOW_TRACKING_URI on the head, such as http://HOST:5000 or sqlite:////shared/mlflow.db"
    ]


def _lasts(place: object) -> bool:
    """Whether an absolute path, or a folder of object storage."""
    return place is not None and (place.is_absolute() if isinstance(place, Path) else True)
