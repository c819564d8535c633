"""What of a configuration a task has no use for: codes of groups without a column, losses of other targets."""

from collections.abc import Mapping

from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.plain_values import JsonObject


def absent_settings(task: Task) -> dict[str, JsonObject]:
    """What the task lacks, in words -> the keys that concern it and what they are without."""
    columns = task.columns
    absent: dict[str, JsonObject] = {}
    if columns.domain is None:
        absent["domains"] = {"tail.domain_scale": 0.0, "augment.domain_dropout": 0.0}
    if not task.covariates:
        absent["covariates"] = {"tail.species_scale": 0.0, "augment.species_dropout": 0.0}
    if columns.domain is None and not task.covariates and not task.numbers:  # the rate of all codes
        absent["domains"]["optim.domain_multiplier"] = TrialConfig(epochs=1).optim.domain_multiplier
    if columns.event is None:  # each image is one
        absent["events of several images"] = {"loss.event_exponent": 0.0, "loss.bag_size": 1}
    if not task.numbers:
        absent["numbers"] = {"tail.number_scale": 0.0, "augment.number_dropout": 0.0}
    if task.has_classes:  # which have a loss of their own
        absent["real targets"] = {"loss.kind": "mse"}
    else:
        absent["classes"] = {"loss.label_smoothing": 0.0, "loss.class_exponent": 0.0}
    return absent


def settings_without(absent: Mapping[str, JsonObject]) -> JsonObject:
    """Key -> what it is without, of all that `absent_settings` found."""
    return {key: value for settings in absent.values() for key, value in settings.items()}


def without_absent(config: TrialConfig, task: Task) -> TrialConfig:
    """The configuration, all off that concerns what the task lacks."""
    return config.with_values(settings_without(absent_settings(task)))
