"""Numbers that lie so far from those of the training that the model does not read them as they are."""

from collections.abc import Mapping, Sequence

from trainable.plain_values import JsonObject
from trainable.training.number_units import MOST_SDS


def far_numbers_line(units: Sequence[JsonObject], numbers: Sequence[Mapping[str, float]] | None) -> str | None:
    """How many of which are counted as less far, and as what, in one line; None where none are.

    units: a model's, by number, as its `config.json` has them. numbers: by name, a photograph each; NaN where missing.
    """
    found = []
    for of in units:
        far = MOST_SDS * of["sd"]
        n_far = sum(abs(row[of["name"]] - of["mean"]) > far for row in numbers or () if of["name"] in row)
        if n_far:
            low, high = of["mean"] - far, of["mean"] + far
            found.append(f"{of['name']} of {n_far} of {len(numbers or ())} lies beyond {low:.4g} to {high:.4g}")
    if not found:
        return None
    return (
        f"{', '.join(found)}, {MOST_SDS:g} SDs around the training's mean, and is counted as no further: is it "
        "in the unit that the model was trained in?"
    )
