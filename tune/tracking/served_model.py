"""The model as MLflow serves it: a script that MLflow stores with the model and runs to load it ("models from code").

It travels without this project: beside it MLflow keeps the exported folder (weights as safetensors, no pickle) and the
one file that reads it.

Input, a row a specimen:
    image    base64 text of an encoded image (JPEG, PNG, ...); never a path
    domain   its domain's number; missing, or left out: unknown
    event    what event it belongs to; missing, or left out: an event of its own
Output, a row a specimen, in the input's order and with its index:
    SPEI_30d, SPEI_1y, SPEI_2y       predicted from this specimen alone
    SPEI_30d_mu, SPEI_30d_sigma, ... the forecast for its event: a normal, equal on all rows of the event
"""

import base64
import io
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from PIL import Image


class ServedModel(mlflow.pyfunc.PythonModel):
    """Forecasts from a frame of images."""

    def load_context(self, context: Any) -> None:
        """Load the exported folder, on a GPU where there is one."""
        import torch
        from sentinel_export import ExportedModel  # type: ignore[import-not-found] # travels with the model

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = ExportedModel.load(context.artifacts["model"], device=device)

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """See the module's docstring.

        Raises: ValueError naming every row whose image or domain cannot be read.
        """
        images, domains, events = _read(model_input)
        predictions = self.model.predict(images, domains)
        forecasts = self.model.forecast(predictions, events, domains)
        targets = self.model.config["targets"]
        columns = {target: predictions[:, i] for i, target in enumerate(targets)}
        for i, target in enumerate(targets):
            for kind in ("mu", "sigma"):
                columns[f"{target}_{kind}"] = np.array(
                    [forecasts[event][kind][i] for event in events], dtype=np.float64
                )
        return pd.DataFrame(columns, index=model_input.index)


def _read(frame: pd.DataFrame) -> tuple[list[bytes], list[int | None], list[int]]:
    """Images, domains (None: unknown), and the number of each row's event."""
    problems: list[str] = []
    images = [_image(value, row, problems) for row, value in enumerate(frame["image"])]
    given = frame["domain"] if "domain" in frame else [None] * len(frame)
    domains = [_domain(value, row, problems) for row, value in enumerate(given)]
    if problems:
        raise ValueError("; ".join(problems))
    if "event" not in frame:
        return images, domains, list(range(len(frame)))
    codes, _ = pd.factorize(frame["event"])
    own = iter(range(len(frame), 2 * len(frame)))  # a row without an event gets a number that no event has
    return images, domains, [int(code) if code >= 0 else next(own) for code in codes]


def _image(value: Any, row: int, problems: list[str]) -> bytes:
    content = b""
    try:
        content = base64.b64decode(value, validate=True)
        with Image.open(io.BytesIO(content)):  # the header alone
            return content
    except (OSError, ValueError, TypeError):  # of base64, of PIL, of what is no text
        problems.append(f"row {row}: `image` must be base64 text of an encoded image, but got {str(value)[:40]!r}")
    return content


def _domain(value: Any, row: int, problems: list[str]) -> int | None:
    if value is None or pd.isna(value):
        return None
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number != value:
        problems.append(f"row {row}: `domain` must be a whole number or missing, but got {value!r}")
    return number


mlflow.models.set_model(ServedModel())
