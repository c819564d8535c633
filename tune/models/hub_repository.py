"""A model repository of the Hugging Face hub that may be written to: whose token it is, what lies there now."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainable.data.hub_name import HUB
from trainable.errors import UserError
from tune.command_line.hub_names import hub_token
from tune.printed.secrets_left_out import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_MAY_WRITE = ("admin", "write", "contributor")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepository:
    """name: OWNER/NAME. is_new: whether it is still to be created. files: in it. card: metadata of its README.md."""

    name: str
    api: "HfApi"
    is_new: bool
    files: frozenset[str] = frozenset()
    card: Mapping[str, object]


def writable_repository(name: str, *, private: bool) -> HubRepository:
    """The repository as it is now; nothing is sent.

    private: whether it is to be shown to its owner alone.
    Raises: UserError where there is no token, it may not write there, the hub does not answer, or others see the
    repository that is to be private.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    token = hub_token()
    api = HfApi(token=token)
    with told_by_the_hub(name, token):
        _check_right(name, api.whoami())
        try:
            info = api.model_info(name)
        except RepositoryNotFoundError:
            return HubRepository(name=name, api=api, is_new=True, card={})
    if private and not info.private:
        raise UserError(
            f"`--private` must be asked of a new repository, but {name} is there, and public; make it private on its "
            "page first, or leave `--private` out"
        )
    return HubRepository(
        name=name,
        api=api,
        is_new=False,
        files=frozenset(file.rfilename for file in info.siblings or ()),
        card={} if info.card_data is None else info.card_data.to_dict(),
    )


@contextmanager
def told_by_the_hub(name: str, token: str) -> Iterator[None]:
    """Let what the hub's client raises be one line to the user, in which the token is not."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the client raises types of its own, of its HTTP library and of Python
        raise UserError(
            f"the hub must take {HUB}{name}, but it did not: {_reason(error).replace(token, '***')}; what was there is "
            "as it was: mend that, and try again"
        ) from error


def _check_right(name: str, account: Mapping[str, object]) -> None:
    """account: as the hub tells whose a token is.

    Raises: UserError where it is known that the token cannot write to the owner's repositories.
    """
    auth = account.get("auth")
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    if isinstance(token, dict) and token.get("role") == "read":
        raise UserError(
            "`--push` must have a token that may write, but this one may only read; make another at the hub's settings"
        )
    orgs = account.get("orgs")
    roles = {str(account.get("name")): "admin"} | {
        str(org.get("name")): str(org.get("roleInOrg", "write")) for org in (orgs if isinstance(orgs, list) else [])
    }
    owner = name.partition("/")[0]
    able = [name for name, role in roles.items() if role in _MAY_WRITE]
    if owner.lower() not in {name.lower() for name in able}:
        raise UserError(
            f"`--push OWNER/NAME` must name an owner for whom the token may write, which are {', '.join(able)}, but "
            f"got {owner!r}"
        )


def _reason(error: Exception) -> str:
    """One line: of a failure within a failure the inner one, of an answer in JSON what it says is wrong."""
    inner = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
    text = str(inner)
    with suppress(ValueError, TypeError, KeyError):
        text = "\n".join(str(found["message"]) for found in json.loads(text)["errors"])
    lines = [line.strip() for line in redact(text).splitlines() if line.strip()]
    return "; ".join(lines[:3]).rstrip(".;") or type(inner).__name__
