"""The floors of a confirmation: forecasts without images, scored on the events that its configurations were."""

from trainable.errors import UserError
from trainable.storage.place import Place
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import Confirmed
from tune.confirming.predicted import scored


def floors_on(held_out: HeldOutFolds) -> dict[str, dict[str, float]]:
    """Name -> metrics, pooled over the folds as those of a configuration."""
    names = next(iter(held_out.floors.values()))
    return {
        name: scored(held_out, {fold: [of[name]] for fold, of in held_out.floors.items()}).metrics for name in names
    }


def floors_of(study_folder: Place, confirmed: Confirmed) -> dict[str, dict[str, float]]:
    """Those of a verdict; of one of before they were kept, from its folds, where these can still be read, else none."""
    if confirmed.floors:
        return confirmed.floors
    try:
        held_out = HeldOutFolds.load(study_folder, confirmed.folds)
    except UserError:
        return {}
    return floors_on(held_out if confirmed.fresh_only else held_out.with_seen())
