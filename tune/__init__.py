"""Who runs what where: verbs of the command line in `verbs/`, the same as functions here, their parts in the rooms.

import tune
study = tune.search(trials=24, epochs=20)        # as `sentinel-tune search --trials 24 --epochs 20`
study.trials(), study.best, study.verdict, study.report()
model = tune.load_model(study.retrain()["model"])
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tune.api.calls import evaluate, load_model, load_study, search

__all__ = ["evaluate", "load_model", "load_study", "search"]


def __getattr__(name: str) -> object:
    """The functions load their parts when they are asked for: every worker imports this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("tune.api.calls"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
