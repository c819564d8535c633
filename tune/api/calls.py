"""The verbs as functions: keyword arguments are the command line's options, errors are `UserError`.

Progress goes to stderr and the table at the end to stdout, as on a terminal; what is returned says the same in objects.
A first Ctrl-C, or a notebook's interrupt, ends a search in order after the running epochs.
"""

from os import PathLike
from typing import TYPE_CHECKING

from trainable.plain_values import JsonObject
from tune.api.loaded_study import LoadedStudy, load_study
from tune.api.run_verb import run_verb, without_widgets
from tune.command_line.model_options import EvaluateOptions
from tune.command_line.parsing import given_values
from tune.execution.session import local_device
from tune.models.model_source import open_model
from tune.report.console import Console

if TYPE_CHECKING:
    from trainable.export.standalone import ExportedModel

__all__ = ["evaluate", "load_model", "load_study", "search"]


def search(**options: object) -> LoadedStudy:
    """Search, and confirm unless `no_confirm=True`; the options are those of `sentinel-tune search`.

    Raises: UserError before anything is trained for what cannot be.
    """
    return load_study(run_verb("search", **options)["study"])


def evaluate(*models: str | PathLike[str], **options: object) -> JsonObject:
    """Score exported models on labelled data; the options are those of `sentinel-tune evaluate`.

    Returns scores, intervals and where the report lies, by model, and their comparison.
    """
    return run_verb("evaluate", models=list(models), **options)


def load_model(model: str | PathLike[str], **options: object) -> "ExportedModel":
    """An exported model that predicts: its folder, `runs:/RUN/model` or `models:/NAME@champion`.

    options: `tracking_uri`, `device` and `cache`, as `sentinel-tune evaluate` takes them.
    Raises: UserError when it is not there, or is no model of ours.
    """
    known: EvaluateOptions = given_values(EvaluateOptions, {"models": [model], **options}).options()
    with without_widgets():
        return open_model(
            known.models[0], known.tracking_uri, local_device(known), Console(json=False), cache=known.cache_folder
        )
