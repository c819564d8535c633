"""Where a model is: an exported folder, or one that MLflow or the hub holds, downloaded to a cache.

FOLDER              as it is
hf://OWNER/NAME     one that was pushed to the Hugging Face hub; hf://OWNER/NAME@REVISION a commit, tag or branch
runs:/RUN/model     the model that a run logged
models:/NAME/3      a registered version; models:/NAME@champion the one that an alias points to

Nothing of a downloaded model is executed: what is read of it is the exported folder in it.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.data.hub_name import HUB
from trainable.errors import UserError
from tune.command_line.options import MachineOptions
from tune.models.hub_download import downloaded_model
from tune.models.logged_export import ARTIFACT
from tune.printed.secrets_left_out import redact
from tune.report.console import Console
from tune.tracking.client import answered_or_told, open_client
from tune.tracking.uri import chosen_tracking_uri

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

    from trainable.export.standalone import ExportedModel

_FORMS = "an exported folder, hf://OWNER/NAME, runs:/RUN/model, models:/NAME/VERSION or models:/NAME@ALIAS"


def local_model(spec: str, *, tracking_uri: str | None, console: Console, cache: Path | None = None) -> Path:
    """The exported folder that `spec` names; one of MLflow's is downloaded once, since it never changes.

    tracking_uri: None for MLFLOW_TRACKING_URI, else the working folder's SQLite. cache: None for the default one.
    Raises: UserError when it is not there (saying what is), when MLflow does not answer, or when what it holds is no
    model of ours.
    """
    if spec.startswith(HUB):
        return downloaded_model(spec, console.say)
    scheme, _, name = spec.partition(":/")
    if _is_path(spec):
        if (problem := absent_model(spec)) is not None:
            raise UserError(problem)
        folder = Path(os.path.expanduser(spec))
        if not (folder / "config.json").exists() and (folder / "model" / "config.json").is_file():
            raise UserError(f"MODEL must be an exported folder, but {folder} holds one: give {folder / 'model'}")
        return folder
    uri = chosen_tracking_uri(tracking_uri)
    client = open_client(uri)
    with answered_or_told(uri, "start it, or give another --tracking-uri"):
        location, key = _run_model(client, name) if scheme == "runs" else _version(client, name)
    place = (cache or MachineOptions().cache_folder) / "models"
    digest = hashlib.sha256(f"{redact(uri)} {location} {key}".encode()).hexdigest()[:16]
    return _downloaded(location, place / digest, uri, spec, console)


def absent_model(spec: str) -> str | None:
    """The problem of a path where no folder is; None for all else. Nothing is asked of MLflow or the hub."""
    if not _is_path(spec) or Path(os.path.expanduser(spec)).is_dir():
        return None
    return f"MODEL must be {_FORMS}, but got {spec!r}, which is not there"


def _is_path(spec: str) -> bool:
    return not spec.startswith((HUB, "runs:/", "models:/"))


def open_model(
    spec: str, tracking_uri: str | None, device: str, console: Console, cache: Path | None = None
) -> "ExportedModel":
    """The model that `spec` names, ready to predict.

    Raises: UserError as `local_model`, and with every problem of the folder (missing or altered files, a pickle, a
    newer format).
    """
    from trainable.export.standalone import ExportedModel, ModelFolderError  # loads torch and open_clip

    folder = local_model(spec, tracking_uri=tracking_uri, console=console, cache=cache)
    try:
        return ExportedModel.load(folder, device=device)
    except ModelFolderError as error:
        raise UserError(error.problems) from error


def find_version(client: "MlflowClient", name: str, alias_or_version: str, *, is_alias: bool) -> "ModelVersion":
    """The registered model version.

    Raises: UserError saying which names, aliases or versions there are; mlflow's exceptions.
    """
    names = [model.name for model in client.search_registered_models(max_results=100)]
    if name not in names and not _is_registered(client, name):
        raise UserError(f"models:/NAME must be a registered model, but got {name!r}; registered: {_listed(names)}")
    if is_alias:
        aliases = client.get_registered_model(name).aliases
        if alias_or_version not in aliases:
            raise UserError(
                f"models:/{name}@ALIAS must be an alias of that model, but got {alias_or_version!r}; it has: "
                f"{_listed(f'{alias} (version {version})' for alias, version in sorted(aliases.items()))}"
            )
        return client.get_model_version(name, str(aliases[alias_or_version]))
    found = {str(version.version): version for version in client.search_model_versions(f"name = '{name}'")}
    if alias_or_version not in found:
        raise UserError(
            f"models:/{name}/VERSION must be a version of that model, but got {alias_or_version!r}; it has: "
            f"{_listed(sorted(found, key=int))}"
        )
    return found[alias_or_version]


def _is_registered(client: "MlflowClient", name: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise
    return True


def _version(client: "MlflowClient", name: str) -> tuple[str, str]:
    """Where the files of NAME@ALIAS or NAME/VERSION are, and what tells them from others once there."""
    name = name.strip("/")
    is_alias = "@" in name
    model, mark, which = name.partition("@" if is_alias else "/")
    if not (model and mark and which) or "/" in which:
        raise UserError(f"MODEL must be {_FORMS}, but got {'models:/' + name!r}")
    version = find_version(client, model, which, is_alias=is_alias)
    location = client.get_model_version_download_uri(model, str(version.version))
    return str(location), f"{version.version} {version.creation_timestamp}"


def _run_model(client: "MlflowClient", name: str) -> tuple[str, str]:
    """Where the files of the model that RUN/NAME logged are, and its identity."""
    from mlflow.exceptions import MlflowException

    run_id, _, model_name = name.strip("/").partition("/")
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise UserError(f"runs:/RUN/model must name a run in MLflow, but there is no run {run_id!r} there") from error
    outputs = run.outputs.model_outputs if run.outputs is not None else []
    models = [client.get_logged_model(output.model_id) for output in outputs]
    found = [model for model in models if model.name == model_name]
    if not found:
        raise UserError(
            f"runs:/RUN/model must name a model that the run logged, but got {model_name!r}; run {run_id} has: "
            f"{_listed(model.name for model in models)}"
        )
    return str(found[-1].artifact_location), str(found[-1].model_id)


def _downloaded(location: str, place: Path, uri: str, spec: str, console: Console) -> Path:
    """The exported folder in `place`, downloaded whole or not at all."""
    exported = place / "artifacts" / ARTIFACT
    if exported.is_dir():
        return exported
    from mlflow.artifacts import download_artifacts

    console.say(f"downloading {spec} from {redact(uri)}")
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with answered_or_told(uri, "check that its artifact store is reachable"):
            download_artifacts(artifact_uri=location, dst_path=str(temporary), tracking_uri=uri)
        roots = [folder for folder in (temporary, *temporary.iterdir()) if (folder / "artifacts" / ARTIFACT).is_dir()]
        if not roots:
            raise UserError(
                f"{spec} must be a model that `sentinel-tune retrain` registered, but it holds no exported folder "
                f"artifacts/{ARTIFACT}"
            )
        if not exported.is_dir():
            roots[0].replace(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return exported


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
