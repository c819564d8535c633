"""Names that the Hugging Face hub takes, and the token without which it takes nothing."""

import re

from trainable.errors import UserError
from trainable.shown import brief

LONGEST_REPOSITORY = 96
"""Characters of OWNER/NAME (huggingface_hub 2.4, `utils/_validators.py:validate_repo_id`)."""

_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")


def repository_problem(name: str) -> str | None:
    """Why no repository of the hub can have this name; None when one can."""
    is_taken = _REPOSITORY.fullmatch(name) and not re.search(r"--|\.\.|\.git$", name)
    if is_taken and len(name) <= LONGEST_REPOSITORY:
        return None
    return (
        f"`--push` must be OWNER/NAME, each of letters, digits and any of . _ - between them, "
        f"{LONGEST_REPOSITORY} characters in all, but got {brief(name)}"
    )


def licence_problem(name: str) -> str | None:
    """Why the hub knows no licence of this name, as far as its form tells; None when it may."""
    if _LICENCE.fullmatch(name):
        return None
    return f"`--licence` must be a name of the hub's list, such as mit, cc0-1.0 or cc-by-4.0, but got {brief(name)}"


def hub_token() -> str:
    """The hub's token, of the environment (HF_TOKEN) or of `hf auth login`; never to be printed or kept.

    Raises: UserError where there is none.
    """
    from huggingface_hub import get_token

    token = get_token()
    if token is None:
        raise UserError(
            "`--push` must have a token of the hub, but there is none: set HF_TOKEN, or run `hf auth login`"
        )
    return token
