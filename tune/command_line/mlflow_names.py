"""Names that MLflow takes."""

import re

from trainable.shown import brief

LONGEST_EXPERIMENT = 500
"""Characters of an experiment's name (mlflow.utils.validation.MAX_EXPERIMENT_NAME_LENGTH)."""

_MODEL = re.compile(r"[\w.-][\w. -]{0,199}")
"""MLflow forbids / and :, a quote would end its filters' texts, and its database holds 256 characters."""

UI_PORT = 5000
"""Where `ui` starts a server of its own, if that port is free."""


def experiment_problem(name: str) -> str | None:
    """Why no experiment can have this name; None when one can."""
    if len(name) <= LONGEST_EXPERIMENT:
        return None
    return f"`--experiment` must have at most {LONGEST_EXPERIMENT} characters, but got {len(name)}: {brief(name)}"


def model_name_problem(name: str) -> str | None:
    """Why no registered model can have this name; None when one can."""
    if _MODEL.fullmatch(name):
        return None
    return f"`--name` must consist of 1 to 200 letters, digits, spaces and any of . _ -, but got {brief(name)}"
