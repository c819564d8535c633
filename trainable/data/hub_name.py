"""Names of data sets of the Hugging Face hub.

hf://OWNER/NAME           the only or the usual configuration
hf://OWNER/NAME:CONFIG    another
"""

from trainable.errors import UserError

HUB = "hf://"
"""What begins the name of a data set, or a model, of the Hugging Face hub."""


def hub_parts(data: str) -> tuple[str, str | None]:
    """Repository and configuration of `hf://OWNER/NAME:CONFIG`; None where none is named."""
    place = data.removeprefix(HUB)
    if ":" not in place.rpartition("/")[2]:
        return place, None
    repository, _, config = place.rpartition(":")
    return repository, config


def not_loaded(data: str, error: Exception) -> UserError:
    """What the user is told where `datasets` raised: its types are many, all have the reason in the text."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"{data} must be a dataset that `datasets.load_dataset` can load, but it failed: {reason}; check the name, "
        "the network and, for a private dataset, `hf auth login`"
    )
