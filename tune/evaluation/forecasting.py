"""A loaded model over labelled specimens: their images predicted, their events forecast."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainable.data.lazy_images import LazyImages
from trainable.plain_values import JsonObject
from trainable.scoring.evaluation import ModelForecasts
from trainable.scoring.targets import Targets

if TYPE_CHECKING:
    from trainable.data.specimens import Specimens
    from trainable.export.standalone import ExportedModel


def forecast_events(
    model: "ExportedModel",
    specimens: "Specimens",
    rows: NDArray[np.int64],
    *,
    progress: Callable[[int, int], None],
) -> ModelForecasts:
    """Predict the specimens of `rows`, ascending, and forecast their events as the model does.

    progress: called with (images predicted, images in all).
    """
    domains, events = specimens.ids("domain_id")[rows], specimens.ids("event_id")[rows]
    progress(0, len(rows))
    images = LazyImages(len(rows), lambda places: specimens.images.read(rows[list(places)].tolist()))
    species = specimens.ids("species")[rows].tolist()
    predictions = model.predict(images, domains.tolist(), species, known_numbers(specimens, rows), progress=progress)
    of_event = model.forecast(predictions, events.tolist(), domains.tolist())
    event_ids, first, event_of_image = np.unique(events, return_index=True, return_inverse=True)
    given = [of_event[event] for event in event_ids.tolist()]
    return ModelForecasts(
        event_ids=event_ids,
        sites=specimens.ids("site_id")[rows][first],
        domains=domains[first],
        is_known=np.isin(domains[first], model.known_domains),
        labels=specimens.labels[rows][first],
        mu=np.array([values["logits" if model.classes else "mu"] for values in given], dtype=np.float64),
        sigma=np.array([_calibration(values) for values in given], dtype=np.float64),
        event_of_image=event_of_image.astype(np.int64),
        image_predictions=predictions,
        targets=targets_of_model(model.config),
    )


def known_numbers(specimens: "Specimens", rows: NDArray[np.int64]) -> list[dict[str, float]] | None:
    """What is known of the specimens of `rows`, by name; NaN where missing."""
    if specimens.numbers is None:
        return None
    return [dict(zip(specimens.task.numbers, row, strict=True)) for row in specimens.numbers[rows].tolist()]


def _calibration(forecast: JsonObject) -> list[float]:
    """An event's sigmas, or its temperature."""
    return [forecast["temperature"]] if "temperature" in forecast else list(forecast["sigma"])


def targets_of_model(config: JsonObject) -> Targets:
    """What an exported model forecasts, by its `config.json`.

    Raises: UserError or ValueError as `Targets.from_dict`.
    """
    return Targets.from_dict(config["task"]) if "task" in config else Targets.beetles()
