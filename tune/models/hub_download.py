"""A model of the Hugging Face hub, in the hub's own cache; nothing of it is executed."""

from collections.abc import Callable
from pathlib import Path

from trainable.data.hub_name import HUB
from trainable.errors import UserError
from trainable.shown import brief
from tune.printed.secrets_left_out import redact

_WANTED = ["config.json", "*.safetensors", "README.md", "confirmation.json", "training_data.json", "adapter*/*"]


def downloaded_model(spec: str, say: Callable[[str], None]) -> Path:
    """The exported folder of `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`; each version is downloaded once.

    say: takes a line on what is done.
    Raises: UserError where there is no such model, or the hub does not answer and the cache lacks it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    repository, _, revision = spec.removeprefix(HUB).partition("@")
    say(f"asking the hub for {spec}")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_WANTED))
    except HFValidationError as error:
        raise UserError(f"MODEL must be hf://OWNER/NAME, but got {brief(spec)}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{spec} must be a model of the hub, but was not found; check the name, or `hf auth login` if it is private"
        ) from error
    except Exception as error:  # the client raises types of its own, of its HTTP library and of Python
        reason = next(iter(redact(str(error)).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{spec} must be in the hub's cache or downloadable, but is neither: {reason}; without network, run "
            f"`hf download {repository} --local-dir DIR` where there is one, and give DIR"
        ) from error
