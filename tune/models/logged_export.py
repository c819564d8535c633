"""An exported folder as a model that MLflow logs: models from code and safetensors, nothing pickled.

artifacts/model/       the exported folder, as it is
code/                  the one file that reads it
served_model.py        what MLflow runs to load it
requirements.txt       what that needs

MLflow's own `log_model` follows the process's global address; the same steps are taken here with a client of one.
"""

import base64
import importlib.util
import io
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.plain_values import JsonObject, parse_json
from tune.tracking.client import quietly, while_files_travel

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

ARTIFACT = "model"
"""Name of a logged model, and of the exported folder among its artifacts."""

REQUIREMENTS = (
    "mlflow>=3.5,<4",
    "torch>=2.6",
    "torchvision>=0.21",
    "open_clip_torch>=3.3,<3.4",
    "safetensors>=0.5",
    "pillow>=12",
    "numpy>=1.26",
    "pandas>=2.2",
)
"""Of a loaded model; the ranges are this project's own."""

_READER = "trainable.export.standalone"
_READER_NAME = "sentinel_export.py"
"""As it travels: a name that nothing else on the path of whoever loads the model is likely to have."""


def log_export(
    client: "MlflowClient", folder: Path, *, experiment_id: str, run_id: str, tags: dict[str, str]
) -> "LoggedModel":
    """Log `folder`, which is to be named `model`, as that run's model; returns MLflow's `LoggedModel`, ready.

    Raises: mlflow's exceptions; what was made until then is deleted.
    """
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(experiment_id, name=ARTIFACT, source_run_id=run_id, tags=tags)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".logged-") as scratch:  # it holds the weights
            written = Path(scratch, "written")
            _write(written, folder, model, run_id=run_id, scratch=Path(scratch))
            with while_files_travel():
                client.log_model_artifacts(model.model_id, str(written))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return client.finalize_logged_model(model.model_id, "READY")
    except BaseException:
        client.delete_logged_model(model.model_id)
        raise


def _write(place: Path, folder: Path, model: "LoggedModel", *, run_id: str, scratch: Path) -> None:
    if folder.name != ARTIFACT:  # MLflow names an artifact after its folder
        raise ValueError(f"the exported folder must be named {ARTIFACT!r}, but got {folder}")
    with quietly():
        import mlflow.pyfunc
        from mlflow.models import Model

        reader = importlib.util.find_spec(_READER)
        assert reader is not None
        assert reader.origin is not None
        shutil.copy(reader.origin, scratch / _READER_NAME)
        config = parse_json((folder / "config.json").read_bytes())
        mlflow.pyfunc.save_model(
            path=str(place),
            python_model=str(Path(__file__).with_name("served_model.py")),
            code_paths=[str(scratch / _READER_NAME)],
            artifacts={ARTIFACT: str(folder)},
            signature=_signature(config),
            input_example=_example(config),
            pip_requirements=list(REQUIREMENTS),
            mlflow_model=Model(
                artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
            ),
        )


def _signature(config: JsonObject) -> "ModelSignature":
    """All but `image` are of any type, since a value that is missing changes the type of a column."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    inputs = [
        ColSpec(DataType.string, "image"),
        ColSpec(AnyType(), "domain", required=False),
        ColSpec(AnyType(), "species", required=False),
        ColSpec(AnyType(), "event", required=False),
        *(ColSpec(AnyType(), of["name"], required=False) for of in config.get("numbers", ())),
    ]
    outputs = [ColSpec(DataType[kind], column) for column, kind in _output_columns(config).items()]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _output_columns(config: JsonObject) -> dict[str, str]:
    """Of `served_model.py`, with MLflow's names of their types."""
    targets = config["targets"]
    if "classes" not in config:
        columns = [*targets, *(f"{target}_{kind}" for target in targets for kind in ("mu", "sigma"))]
        return dict.fromkeys(columns, "double")
    (target,) = targets
    probabilities = [f"{target}_event_probability", *(f"{target}: {name}" for name in config["classes"])]
    return {target: "string", f"{target}_event": "string"} | dict.fromkeys(probabilities, "double")


def _example(config: JsonObject) -> "pd.DataFrame":
    """Two specimens of one event, one of another, of one species, each number as it usually is."""
    import pandas as pd
    from PIL import Image

    images = []
    for shade in (90, 120, 150):
        buffer = io.BytesIO()
        Image.new("RGB", (24, 24), (shade, shade // 2, 40)).save(buffer, "PNG")
        images.append(base64.b64encode(buffer.getvalue()).decode())
    usual = {of["name"]: [of["mean"]] * 3 for of in config.get("numbers", ())}
    names = {"species": ["Carabus nemoralis"] * 3, "event": ["a", "a", "b"]}
    return pd.DataFrame({"image": images, "domain": [1, 1, 3], **names, **usual})
