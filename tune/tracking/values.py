"""How configurations, headers and metric names are written in MLflow: short text, legal names, no credentials."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from trainable.config import PROJECTIONS, later_keys
from trainable.plain_values import flattened
from tune.decisions.trial_record import finite
from tune.printed.secrets_left_out import redact

MAX_KEY = 250
MAX_PARAM = 500  # what the oldest servers in use accept
MAX_TAG = 2000

_ADAPTER_ONLY = ("rank", "alpha", "rank_stabilized", "dropout", "targets")


@lru_cache(maxsize=4096)
def metric_key(name: str) -> str:
    """`name` as MLflow accepts it, with at most one slash so that the UI groups it: `a@1/b/c` -> `a_1/b_c`."""
    group, slash, leaf = str(name).strip("/ ").partition("/")
    parts = [re.sub(r"[^A-Za-z0-9_.\- ]+", "_", part.strip()).strip(".") or "_" for part in (group, leaf)]
    return f"{parts[0]}/{parts[1]}"[:MAX_KEY] if slash else parts[0][:MAX_KEY]


def tag_text(value: Any) -> str:
    """A tag's value: redacted, of a length that every server takes."""
    return redact(str(value))[:MAX_TAG]


def study_tags(study_id: str | None, header: Mapping[str, Any]) -> dict[str, str]:
    """The tags that a study's run and all its trials share, from the journal's header."""
    flat = _flat(header)
    found = {
        tag: next((flat[n] for n in names if flat.get(n) is not None), None) for tag, names in _TAG_SOURCES.items()
    }
    fixed = {"hpo.study": study_id, "mlflow.source.name": "sentinel-tune", "mlflow.source.type": "LOCAL"}
    return {tag: tag_text(value) for tag, value in (found | fixed).items() if value is not None}


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((values[name] for name in names if values.get(name) is not None), None)


_TAG_SOURCES = {
    "mlflow.source.git.commit": ("git_commit", "versions.git_commit", "versions.git"),
    "mlflow.user": ("user",),
    "hpo.data_fingerprint": ("data_fingerprint", "fingerprints.data", "fingerprints.specimens"),
    "hpo.data": ("data", "options.data"),
    "hpo.backbone": ("backbone", "options.backbone"),
    "hpo.space": ("space.name", "space", "options.space"),
    "hpo.holdout": ("holdout", "options.holdout"),
    "hpo.fold": ("fold", "options.fold"),
    "hpo.precision": ("options.precision",),
}
"""Tag -> where the study's header may hold its value, first found wins."""


def study_params(header: Mapping[str, Any]) -> dict[str, str]:
    """The header flattened with dots under `study.`; its space and what is run or known first are for `study.json`."""
    plain = {name: value for name, value in header.items() if name not in ("space", "queue", "warm_start")}
    return {f"study.{name}"[:MAX_KEY]: _param(value) for name, value in _flat(plain).items()}


def trial_params(config: Mapping[str, Any], log_scaled: Iterable[str]) -> dict[str, str]:
    """A trial's configuration flattened with dots, log10 beside log-scaled values, `none` for what has no effect."""
    values = {**later_keys(), **_flat(config)}
    for name in log_scaled:
        if name in values:
            group, dot, leaf = name.rpartition(".")
            number = finite(values[name])
            values[f"{group}{dot}log10_{leaf}"] = round(math.log10(number), 6) if number and number > 0 else None
    if values.get("adapter.kind") == "full":
        names = [*_ADAPTER_ONLY, *(f"log10_{leaf}" for leaf in _ADAPTER_ONLY)]
        values.update({name: None for leaf in names if (name := f"adapter.{leaf}") in values})
    return {name[:MAX_KEY]: _param(value) for name, value in values.items()}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Under names that MLflow takes."""
    return {re.sub(r"[^A-Za-z0-9_.\- ]+", "_", name): value for name, value in flattened(values).items()}


def _param(value: Any) -> str:
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


def log_scaled(space: Any) -> tuple[str, ...]:
    """Names of the space's log-scaled parameters."""
    parameters = space.get("parameters") if isinstance(space, Mapping) else None
    if isinstance(parameters, Mapping):
        return tuple(name for name, entry in parameters.items() if isinstance(entry, Mapping) and entry.get("log"))
    if isinstance(parameters, list):
        return tuple(entry["name"] for entry in parameters if isinstance(entry, Mapping) and entry.get("log"))
    return ()
