"""Names of data sets of the Hugging Face hub.

hf://OWNER/NAME           the only or the usual configuration
hf://OWNER/NAME:CONFIG    another
"""

HUB = "hf://"
"""What begins the name of a data set, or a model, of the Hugging Face hub."""


def hub_parts(data: str) -> tuple[str, str | None]:
    """Repository and configuration of `hf://OWNER/NAME:CONFIG`; None where none is named."""
    place = data.removeprefix(HUB)
    if ":" not in place.rpartition("/")[2]:
        return place, None
    repository, _, config = place.rpartition(":")
    return repository, config
