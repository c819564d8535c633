"""The card of a model on the Hugging Face hub: the exported folder's README.md under the metadata that the hub reads.

The keys are those of Imageomics' template for model cards (github.com/Imageomics/Imageomics-guide at 4b83e21,
docs/wiki-guide/HF_ModelCard_Template_Imageomics.md), and `base_model` of the hub's own.
"""

import re
from collections.abc import Iterator, Mapping

import yaml

from trainable.data.task import Task
from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from trainable.plain_values import JsonObject
from trainable.shown import shown
from trainable.yaml_source import parse_document

NO_LICENCE = "unknown"
"""What the hub calls a licence that nobody has chosen."""

_LICENCE_KEYS = ("license", "license_name", "license_link")

_HUB_METRICS = {
    "crps": "crps",
    "r2": "r_squared",
    "mae": "mae",
    "log_loss": "log_loss",
    "brier": "brier_score",
    "accuracy": "accuracy",
    "macro_f1": "f1",
}

_METADATA = re.compile(r"\A---\r?\n(.*?)^---\r?\n\s*", re.DOTALL | re.MULTILINE)
_HUB_BACKBONE, _HUB_DATA = "hf-hub:", "hf://"


def hub_card(
    readme: str, *, facts: ModelFacts, task: Task, licence: str | None = None, at_the_hub: Mapping[str, object] = {}
) -> str:
    """The README.md to push: metadata, then what is said of the model.

    readme: of the exported folder. Metadata that its owner wrote into it stay. licence: the hub's name of one; None for
    that of `readme`, else that of `at_the_hub`, the metadata of the card that is there now, else `NO_LICENCE`.
    Raises: ValueError naming the line where what stands between `---` at the top of `readme` is no plain YAML mapping.
    """
    own, body = _divided(readme)
    chosen = {"license": licence} if licence else _chosen(own) or _chosen(at_the_hub) or {"license": NO_LICENCE}
    others = {name: value for name, value in {**_metadata(facts, task), **own}.items() if name not in _LICENCE_KEYS}
    text = yaml.safe_dump({**chosen, **others}, sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{text}---\n\n{body}"


def licence_of(readme: str) -> str:
    """The hub's name of the licence that a card's metadata state; `NO_LICENCE` where none was chosen."""
    return _chosen(_divided(readme)[0]).get("license", NO_LICENCE)


def _divided(readme: str) -> tuple[JsonObject, str]:
    """Metadata and the rest."""
    found = _METADATA.match(readme)
    if found is None:
        return {}, readme
    try:
        values = parse_document("\n" + found[1], "its metadata").values  # a line for the `---`: lines as in the file
    except UserError as error:
        raise ValueError("; ".join(error.problems)) from error
    return dict(values), readme[found.end() :]


def _chosen(values: Mapping[str, object]) -> dict[str, str]:
    chosen = {name: str(values[name]) for name in _LICENCE_KEYS if values.get(name)}
    return {} if chosen.get("license", NO_LICENCE) == NO_LICENCE else chosen


def _metadata(facts: ModelFacts, task: Task) -> JsonObject:
    values: JsonObject = {
        "language": ["en"],
        "library_name": "sentinel-tune",
        "pipeline_tag": "image-classification" if task.has_classes else None,
        "tags": list(_tags(task)),
        "metrics": list(_metrics(facts)),
        "model_description": _description(facts, task),
    }
    if facts.data.startswith(_HUB_DATA):
        values["datasets"] = [facts.data.removeprefix(_HUB_DATA)]
    if facts.backbone.startswith(_HUB_BACKBONE):
        values["base_model"] = facts.backbone.removeprefix(_HUB_BACKBONE)
    return {name: value for name, value in values.items() if value}


def _tags(task: Task) -> Iterator[str]:
    yield from ("biology", "CV", "images")
    if task.is_beetles:
        yield from ("animals", "beetles", "drought")


def _metrics(facts: ModelFacts) -> Iterator[str]:
    """Those that were measured, by the hub's names where it has one of them."""
    for kind, name in _HUB_METRICS.items():
        if any(measured.startswith(f"{kind}_") for measured in facts.scores):
            yield name


def _description(facts: ModelFacts, task: Task) -> str:
    """One line."""
    about = f": {task.about}" if task.about else ""
    backbone = facts.backbone.removeprefix(_HUB_BACKBONE)
    return shown(f"Forecasts {', '.join(task.shown_targets)} from photographs{about}; fine-tuned from {backbone}")
