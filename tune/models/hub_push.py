"""A model given on: an exported folder as one commit of a model repository of the Hugging Face hub.

Whatever can be known before is asked before anything is sent, the last of it whether the hub takes the card.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from trainable.data.task import TASK_FILE
from trainable.errors import UserError
from trainable.export import standalone
from trainable.export.exporter import CARD
from trainable.export.facts import ModelFacts
from trainable.export.hub_card import hub_card, licence_of
from trainable.export.placing import EXPORT_NAMES
from tune.command_line.hub_names import hub_token
from tune.evaluation.forecasting import targets_of_model
from tune.models.hub_repository import HubRepository, told_by_the_hub

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    from trainable.export.standalone import ExportedModel

LOADER = "standalone.py"
"""What loads the model where this program is not installed, as the card says; the model's own loading never runs it."""

_OURS = re.compile(rf"({EXPORT_NAMES}|{re.escape(TASK_FILE)}|{re.escape(LOADER)})(/.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """repository: OWNER/NAME. commit: its address. is_new: whether it was created. licence: that the card states."""

    repository: str
    commit: str
    is_new: bool
    licence: str


def push_model(
    model: "ExportedModel",
    folder: Path,
    repository: HubRepository,
    *,
    licence: str | None,
    private: bool,
    say: Callable[[str], None],
) -> Pushed:
    """Send the exported folder that `model` was loaded from; say: takes a line on what is done.

    private: of a new repository, whether it is to be shown to its owner alone.
    Raises: UserError where the hub does not answer, or refuses something.
    """
    from huggingface_hub import RepoCard

    name, api = repository.name, repository.api
    card = _card(model, folder, licence, repository)
    operations = _operations(model, folder, card, repository)
    with told_by_the_hub(name, hub_token()):
        RepoCard(card).validate(repo_type="model")
        if repository.is_new:
            say(f"creating {name}")
            api.create_repo(name, private=private or None, repo_type="model")
        else:
            say(f"{name} is there already: what it holds stays in its history, under one more commit")
        commit = api.create_commit(name, operations, commit_message=f"Push {_facts(model).name}")
    return Pushed(repository=name, commit=commit.commit_url, is_new=repository.is_new, licence=licence_of(card))


def _facts(model: "ExportedModel") -> ModelFacts:
    return ModelFacts.from_dict(model.config.get("facts", {}))


def _card(model: "ExportedModel", folder: Path, licence: str | None, repository: HubRepository) -> str:
    readme = folder / CARD
    try:
        return hub_card(
            readme.read_text(encoding="utf-8") if readme.is_file() else "",
            facts=_facts(model),
            task=targets_of_model(model.config).task,
            licence=licence,
            at_the_hub=repository.card,
        )
    except ValueError as error:
        raise UserError(f"{readme} must be a card that the hub reads, but {error}; mend it, or export again") from error


def _operations(
    model: "ExportedModel", folder: Path, card: str, repository: HubRepository
) -> "list[CommitOperationAdd | CommitOperationDelete]":
    """What is to be in the repository, and what is left there of an earlier model and has no place any more."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    task = yaml.safe_dump(targets_of_model(model.config).task.to_dict(), sort_keys=False, allow_unicode=True, width=110)
    contents: dict[str, Path | bytes] = {
        name: folder / name for name in sorted({*model.config["sha256"], standalone.CONFIG})
    }
    contents |= {CARD: card.encode(), TASK_FILE: task.encode(), LOADER: Path(standalone.__file__)}
    added = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in contents.items()]
    old = sorted(name for name in repository.files if _OURS.fullmatch(name) and name not in contents)
    return [*added, *(CommitOperationDelete(path_in_repo=name, is_folder=False) for name in old)]
