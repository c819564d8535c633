"""The model as MLflow serves it: a script that MLflow stores with the model and runs to load it ("models from code").

It travels without this project: beside it MLflow keeps the exported folder (weights as safetensors, no pickle) and the
one file that reads it.

Input, a row a specimen:
    image    base64 text of an encoded image (JPEG, PNG, ...); never a path
    domain   its domain's number, or name where the model's domains are named; missing, or left out: unknown
    species  its scientific name; missing, or left out: unknown; not read by models without a code for it
    event    what event it belongs to; missing, or left out: an event of its own
    NUMBER   for each number that the model reads, by its name; missing, or left out: not known
Output, a row a specimen, in the input's order and with its index:
    TARGET                           for each of the model's targets, predicted from this specimen alone
    TARGET_mu, TARGET_sigma          the forecast for its event: a normal, equal on all rows of the event
Of a model of classes:
    TARGET                           the most probable class of this specimen alone
    TARGET_event                     the most probable class of its event, equal on all rows of the event
    TARGET_event_probability         how probable that is
    TARGET: CLASS                    the probability of each class for its event
"""

import base64
from collections.abc import Sequence
from typing import Any

import mlflow
import numpy as np
import pandas as pd


class ServedModel(mlflow.pyfunc.PythonModel):
    """Forecasts from a frame of images."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load the exported folder, on a GPU where there is one."""
        import torch
        from sentinel_export import ExportedModel  # type: ignore[import-not-found] # travels with the model

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = ExportedModel.load(context.artifacts["model"], device=device)

    def predict(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """See the module's docstring.

        Raises: ValueError naming every row whose image, domain, species, event or number cannot be read, in one line.
        """
        images, domains, species, events, numbers = _read(
            model_input,
            are_names=any(isinstance(domain, str) for domain in self.model.known_domains),
            names=self.model.numbers,
        )
        predictions = self.model.predict(images, domains, species, numbers)
        forecasts = self.model.forecast(predictions, events, domains)
        if self.model.classes:
            found = np.array([forecasts[event]["probabilities"] for event in events], dtype=np.float64)
            return pd.DataFrame(self._of_classes(predictions, found), index=model_input.index)
        targets = self.model.config["targets"]
        columns = {target: predictions[:, i] for i, target in enumerate(targets)}
        for i, target in enumerate(targets):
            for kind in ("mu", "sigma"):
                columns[f"{target}_{kind}"] = np.array(
                    [forecasts[event][kind][i] for event in events], dtype=np.float64
                )
        return pd.DataFrame(columns, index=model_input.index)

    def _of_classes(self, logits: Any, of_events: Any) -> dict[str, Any]:
        """Columns; logits, of_events: [rows, classes], the second a row's event's probabilities."""
        names = np.array(self.model.classes, dtype=object)
        (target,) = self.model.targets
        shape = (len(of_events), len(names))  # of no rows, too
        columns = {
            target: names[logits.argmax(axis=1)],
            f"{target}_event": names[of_events.reshape(shape).argmax(axis=1)],
            f"{target}_event_probability": of_events.reshape(shape).max(axis=1),
        }
        return columns | {f"{target}: {name}": of_events.reshape(shape)[:, i] for i, name in enumerate(names)}


def _read(
    frame: pd.DataFrame, *, are_names: bool, names: Sequence[str] = ()
) -> tuple[list[bytes], list[int | str | None], list[str | None], list[int], list[dict[str, float | None]]]:
    """Images, domains and species (None: unknown), the number of each row's event, and what is known of it by name.

    are_names: of domains. names: of the numbers that the model reads.
    """
    read_domain = _domain_name if are_names else _domain
    problems: list[str] = []
    nothing = [None] * len(frame)
    images = [_image(value, row, problems) for row, value in enumerate(frame["image"])]
    domains = [read_domain(value, row, problems) for row, value in enumerate(frame.get("domain", nothing))]
    species = [_species(value, row, problems) for row, value in enumerate(frame.get("species", nothing))]
    events = [_event(value, row, problems) for row, value in enumerate(frame.get("event", nothing))]
    known = {
        name: [_number(value, name, row, problems) for row, value in enumerate(frame.get(name, nothing))]
        for name in names
    }
    if problems:
        raise ValueError("; ".join(problems))
    numbers = [{name: column[row] for name, column in known.items()} for row in range(len(frame))]
    codes, _ = pd.factorize(pd.Series(events, dtype=object))
    own = iter(range(len(frame), 2 * len(frame)))  # a row without an event gets a number that no event has
    return images, domains, species, [int(code) if code >= 0 else next(own) for code in codes], numbers


def _image(value: Any, row: int, problems: list[str]) -> bytes:
    from sentinel_export import open_image  # travels with the model

    content = b""
    try:
        content = base64.b64decode(value, validate=True)
        with open_image(content) as image:
            image.draft("RGB", (1, 1))  # all of a JPEG is read, at the coarsest scale
            image.load()
    except Exception:  # base64 and decoders raise whatever a broken or giant image, or what is no text, makes them
        problems.append(f"row {row}: `image` must be base64 text of an encoded image, but got {_shown(value)}")
    return content


def _domain(value: Any, row: int, problems: list[str]) -> int | None:
    if _is_missing(value):
        return None
    try:
        number = int(value) if pd.api.types.is_scalar(value) else None
    except (TypeError, ValueError, OverflowError):  # OverflowError: of an infinite one
        number = None
    if number is None or number != value:
        problems.append(f"row {row}: `domain` must be a whole number or missing, but got {_shown(value)}")
    return number


def _domain_name(value: object, row: int, problems: list[str]) -> str | None:
    if _is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        problems.append(f"row {row}: `domain` must be a name or missing, but got {_shown(value)}")
    return str(value)


def _species(value: object, row: int, problems: list[str]) -> str | None:
    if _is_missing(value):
        return None
    if not isinstance(value, str):
        problems.append(f"row {row}: `species` must be text or missing, but got {_shown(value)}")
        return None
    return value


def _number(value: object, name: str, row: int, problems: list[str]) -> float | None:
    if _is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        problems.append(f"row {row}: `{name}` must be a number or missing, but got {_shown(value)}")
        return None
    return float(value)


def _event(value: object, row: int, problems: list[str]) -> Any:
    if _is_missing(value):
        return None
    if not pd.api.types.is_scalar(value):
        problems.append(f"row {row}: `event` must be text, a number or missing, but got {_shown(value)}")
    return value


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))  # of a list pandas answers with an array


def _shown(value: object) -> str:
    return ascii(value)[:60]


mlflow.models.set_model(ServedModel())
