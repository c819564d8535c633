"""Which task a dataset is of: as the user names it, or as a `task.yaml` beside the data says."""

import os
from pathlib import Path

from trainable.data.hub_name import HUB, hub_parts
from trainable.data.task import TASK_FILE, Task
from trainable.errors import UserError


def named_task(data: str, name: str | None) -> Task | None:
    """The task of `name` (built in, or a YAML file), else that of `data`; None where neither says one.

    data: as `load_specimens` takes it.
    Raises: UserError as `Task.load`.
    """
    if name is not None:
        return Task.load(name)
    file = _file_beside(data)
    return None if file is None else Task.load(file)


def _file_beside(data: str) -> Path | None:
    if data.partition(":")[0] == "demo":
        return None
    folder = Path(os.path.expanduser(data.removeprefix(HUB)))
    if data.startswith(HUB) and not folder.is_dir():  # `datasets` takes a folder by such a name too
        return _hub_file(hub_parts(data)[0])
    return folder / TASK_FILE if os.path.lexists(folder / TASK_FILE) else None


def _hub_file(repository: str) -> Path | None:
    """The repository's own, or its copy of before where the hub cannot be reached; None if there is neither."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    try:
        return Path(hf_hub_download(repository, TASK_FILE, repo_type="dataset"))
    except (EntryNotFoundError, HFValidationError, RepositoryNotFoundError):  # of the last two the data's reader tells
        return None
    except RuntimeError:  # huggingface_hub 1.3 closes its client between two tries to reach the hub
        return None
    except OSError as error:
        raise UserError(f"{HUB}{repository} must say whether it has a {TASK_FILE}, but: {error}; try again") from error
