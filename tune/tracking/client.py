"""How this program opens MLflow: quietly, impatiently, at an explicit address; the global address is never set."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainable.errors import UserError
from tune.printed.secrets_left_out import redact
from tune.tracking.uri import artifact_location, database_file

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing about a search leaves the machine unasked
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # migrations of a fresh database are no news
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to --json
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # stderr has our own progress
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the default blocks one call for 4 minutes on a dead server
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


_CAUSE = re.compile(r"Caused by \w+\(.*?\): (.+?)['\"]?\)")
_UNKNOWN_USER = re.compile(r"failed with error code 401\b")

_NOT_ALLOWED = re.compile(r"failed with error code 403\b.*Permission denied", re.DOTALL)
UPLOAD_SECONDS = 1800
"""For one file: 1.2 GB of a large model at 1 MB/s, with room to spare (assumption)."""


def settle_mlflow() -> None:
    """Settings of this process for MLflow, before its first import; those in the environment hold."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("urllib3.connectionpool", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # an outage is told once, by who meets it


def open_client(uri: str) -> Any:
    """An `MlflowClient` of a store that is there; uri: as `check_uri` returns it.

    Raises: UserError for an SQLite file that does not exist: reading must not make one.
    """
    file = database_file(uri)
    if file is not None and not file.is_file():
        raise UserError(
            f"the tracking database must exist, but {file} does not; give the --tracking-uri that the model was "
            "registered at"
        )
    settle_mlflow()
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def answered_or_told(uri: str, remedy: str) -> Iterator[None]:
    """Within the block, which is to hold calls of MLflow alone, MLflow answers.

    Raises: UserError with `remedy` for whatever MLflow, its store or the way to it raises.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"MLflow at {redact(uri)} must answer and do what it is asked, but: {describe(error)}; {remedy}"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of mlflow's own modules, on import and on use, that a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def while_files_travel() -> Iterator[None]:
    """Within the block a request may take long: a server that stores files elsewhere answers when they are there."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.get(name)
    os.environ[name] = str(max(UPLOAD_SECONDS, int(before or 0)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def describe(error: Exception) -> str:
    """One short line without credentials."""
    text = redact(str(error)).strip()
    if _UNKNOWN_USER.search(text):
        return (
            "it does not know the user or the password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in "
            "the environment"
        )
    if _NOT_ALLOWED.search(text):
        return "this user may not write there; give another --experiment or --name, or have its owner grant it"
    if cause := _CAUSE.search(text):  # of urllib3, behind the whole request's address
        text = cause.group(1)
    return f"{type(error).__name__}: {text.splitlines()[0][:300]}" if text else type(error).__name__


def open_experiment(client: Any, uri: str, name: str) -> str:
    """Id of the experiment, made if there is none.

    Raises: UserError when it is deleted; mlflow's exceptions.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(client.create_experiment(name, artifact_location=artifact_location(uri, name)))
    if experiment.lifecycle_stage != "active":
        raise UserError(
            f"the experiment must exist or be new, but {name!r} is deleted in MLflow; give another name or "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)
