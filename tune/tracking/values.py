"""How configurations, headers and metric names are written in MLflow: short text, legal names, no credentials."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from trainable.config import PROJECTIONS, later_keys
from trainable.plain_values import JsonObject, flattened
from tune.decisions.trial_record import TrialRecord
from tune.decisions.varied import Varied, shown_value
from tune.printed.secrets_left_out import redact

MAX_KEY = 250
MAX_PARAM = 500  # what the oldest servers in use accept
MAX_TAG = 2000

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\-/ ]+")

_ADAPTER_ONLY = ("rank", "alpha", "rank_stabilized", "dropout", "targets")


@lru_cache(maxsize=4096)
def metric_key(name: str) -> str:
    """`name` as MLflow accepts it, with at most one slash so that the UI groups it: `a@1/b/c` -> `a_1/b_c`."""
    group, slash, leaf = str(name).strip("/ ").partition("/")
    parts = [re.sub(r"[^A-Za-z0-9_.\- ]+", "_", part.strip()).strip(".") or "_" for part in (group, leaf)]
    return f"{parts[0]}/{parts[1]}"[:MAX_KEY] if slash else parts[0][:MAX_KEY]


def tag_text(value: object) -> str:
    """A tag's value: redacted, of a length that every server takes."""
    return redact(str(value))[:MAX_TAG]


def study_tags(study_id: str | None, header: Mapping[str, object]) -> dict[str, str]:
    """The tags that a study's run and all its trials share, from the journal's header."""
    flat = _flat(header)
    found = {
        tag: next((flat[n] for n in names if flat.get(n) is not None), None) for tag, names in _TAG_SOURCES.items()
    }
    fixed = {"hpo.study": study_id, "mlflow.source.name": "sentinel-tune", "mlflow.source.type": "LOCAL"}
    return {tag: tag_text(value) for tag, value in (found | fixed).items() if value is not None}


def _first(values: Mapping[str, object], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


_TAG_SOURCES = {
    "mlflow.source.git.commit": ("git_commit", "versions.git_commit", "versions.git"),
    "mlflow.user": ("user",),
    "hpo.data_fingerprint": ("data_fingerprint", "fingerprints.data", "fingerprints.specimens"),
    "hpo.data": ("data", "options.data"),
    "hpo.backbone": ("backbone", "options.backbone"),
    "hpo.space": ("space.name", "space", "options.space"),
    "hpo.holdout": ("holdout", "options.holdout"),
    "fold": ("fold", "options.fold"),
    "hpo.precision": ("options.precision",),
}
"""Tag -> where the study's header may hold its value, first found wins."""


_STUDY_PARAMS = ("space", "data", "backbone", "holdout", "fold", "search_folds", "seed", "trials", "epochs")
"""Options that tell studies apart; all of the header is in `study.json`."""


def study_params(header: JsonObject) -> dict[str, str]:
    """The few options by which studies are told apart in a table."""
    options = header.get("options") or {}
    return {name: _param(options[name]) for name in _STUDY_PARAMS if name in options}


def varied_params(trial: TrialRecord, varied: Iterable[Varied]) -> dict[str, str]:
    """What a study varies, by short names; `none` for what has no effect in this trial."""
    varied = tuple(varied)
    values = zip(varied_names(varied), (v.value(trial) for v in varied), strict=True)
    return {name: _param(None if value is None else shown_value(value)) for name, value in values}


def varied_names(varied: Iterable[Varied]) -> list[str]:
    """Names of what a study varies, as MLflow takes them."""
    return [_NOT_IN_NAMES.sub("_", v.label)[:MAX_KEY] for v in varied]


def configuration_params(config: Mapping[str, object]) -> dict[str, str]:
    """A whole configuration flattened with dots, `none` for what has no effect."""
    values = {**later_keys(), **_flat(config)}
    if values.get("adapter.kind") == "full":
        values.update({name: None for leaf in _ADAPTER_ONLY if (name := f"adapter.{leaf}") in values})
    return {name[:MAX_KEY]: _param(value) for name, value in values.items()}


def _flat(values: Mapping[str, object]) -> dict[str, Any]:
    """Under names that MLflow takes."""
    return {_NOT_IN_NAMES.sub("_", name): value for name, value in flattened(values).items()}


def _param(value: object) -> str:
    """Short text: charts drop runs that lack an axis, so an inactive value is the word `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "all" if set(value) == set(PROJECTIONS) else "+".join(map(str, value))[:MAX_PARAM] or "none"
    return redact(str(value))[:MAX_PARAM]
