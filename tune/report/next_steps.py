"""What a user may run next, as each command prints it under "To go on:"."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainable.data.task import Task
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from tune.command_line.model_options import EvaluateOptions, RetrainOptions
from tune.command_line.options import SearchOptions, TrainOptions
from tune.printed.next_command import carried, next_command
from tune.printed.secrets_left_out import redact
from tune.tracking.saved_view import StudyViews
from tune.tracking.uri import OWN_SERVER, chosen_tracking_uri, ui_page

NOT_RETRAINED = ("epochs", "precision", "tracking_uri")
"""Options of `search` that `retrain` takes from the study, or in another sense."""


def after_search(
    options: SearchOptions,
    study: Place,
    *,
    is_confirmed: bool,
    n_trials: int | None,
    is_led: bool = False,
    has_best: bool = True,
    is_mendable: bool = False,
) -> list[str]:
    """Confirm or retrain, and search on; n_trials: to ask for, None where those that were asked for do.

    is_led: the default is kept, and another leads without proof, which can be retrained, too. has_best: whether any
    trial has a score; without one there is nothing to confirm. is_mendable: whether runs of the confirmation failed
    that are tried again once their cause is mended.
    """
    if is_confirmed:
        machine = carried(options, RetrainOptions, leave=NOT_RETRAINED) | _secret(options)
        then = [next_command("retrain", study, **machine)]
        then += [next_command("retrain", study, leading=True, **machine)] if is_led else []
    else:
        then = []
    if is_mendable or (has_best and not is_confirmed):
        then.insert(0, next_command("confirm", study, **of_session(options)))
    return [*then, next_command("search", resume=study, trials=n_trials, **of_session(options))]


def of_session(options: SearchOptions) -> JsonObject:
    """What a study does not keep, to be said again: how one session works, and a tracking URI with a password."""
    return {name: getattr(options, name) for name in ("local", "address", "wait_for_nodes")} | _secret(options)


def sync_command(options: SearchOptions, study: Place) -> str:
    """What brings MLflow up to the study's journal."""
    return next_command("sync", study, **_secret(options))


def to_look_at(options: SearchOptions, study: Place, tracking_uri: str, views: StudyViews | None) -> list[str]:
    """What shows the study's trials in MLflow: links, or a command that starts a server, and the links it has.

    views: None where MLflow never answered.
    """
    is_server = tracking_uri.startswith(("http://", "https://"))
    base = tracking_uri if is_server else OWN_SERVER
    command = next_command("ui", study, **_secret(options))
    if views is None:
        return [ui_page(base, None) if is_server else command]
    table = [ui_page(base, views.table)] if is_server else [command, f"# it opens {ui_page(base, views.table)}"]
    return [*table, f"# as charts: {ui_page(base, views.charts)}"]


def after_training(
    options: TrainOptions | RetrainOptions,
    model: Path,
    study: Mapping[str, Any] | None = None,
    *,
    task: Task | None = None,
) -> list[str]:
    """Evaluate a model, and export or use it; study: the options of that which it was retrained from.

    task: the challenge's where none is given; models of others are no submission.
    """
    known = carried(options, EvaluateOptions, leave=("tracking_uri",)) | _tracking(options, study or {})
    for name in ("data", "skip_bad_images", "drop_duplicates", "experiment"):
        if study is not None and study.get(name, (usual := getattr(SearchOptions, name))) not in (None, usual):
            known[name] = study[name]
    then = next_command("export", model, submission="submission")
    if task is not None and not task.is_beetles:
        then = next_command("predict", model, "photographs")
    return [next_command("evaluate", model, **known), then]


def _secret(options: SearchOptions) -> JsonObject:
    uri = options.tracking_uri or ""
    return {} if redact(uri) == uri else {"tracking_uri": uri}


def _tracking(options: TrainOptions | RetrainOptions, study: Mapping[str, Any]) -> JsonObject:
    """Where the study's records are, unless a command goes there by itself."""
    uri = getattr(options, "tracking_uri", None) or study.get("tracking_uri")
    try:
        return {} if uri is None or chosen_tracking_uri(uri) == chosen_tracking_uri(None) else {"tracking_uri": uri}
    except UserError:  # it cannot be used here
        return {}
