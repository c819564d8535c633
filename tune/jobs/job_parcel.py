"""What a job takes along: the files of a folder, and variables of the environment; no secrets among them.

Ray keeps a job's command, its environment and its files where everyone who may use the cluster can read them.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from trainable.counts import counted
from trainable.errors import UserError
from trainable.shown import size_text
from tune.printed.secrets_left_out import redact

MAX_MIB = 100
"""Ray's job server takes no more, files and their names together."""

ZIP_ENTRY_BYTES = 150
"""About what each file adds to its own bytes, which are not compressed, and twice its name."""

SECRET_FILES = (".env", ".env.*", "*.pem", "auth_token", "id_rsa*", "id_ed25519*", ".netrc", ".pypirc", ".aws", ".ssh")
OTHER_EXCLUDES = (".git", ".venv", "venv", "__pycache__", "mlruns", "mlflow.db*")
EXCLUDES = (*SECRET_FILES, *OTHER_EXCLUDES)
"""Patterns, as in .gitignore, that are left out of every upload."""

SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|CONNECTION_STRING|COOKIE"
    r"|(^|_)(API|ACCESS)?KEYS?(_|$)|(^|_)(AUTH|DSN|SAS)(_|$)|_PWD(_|$)"
)
"""Of environment variables, in capitals."""

ON_THE_NODES = "set it on the nodes instead, before `ray start` (docs/clusters.md, Secrets)"


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a folder that go to the cluster: names within it and bytes; left_out: those that look secret."""

    folder: Path
    sizes: Mapping[str, int]
    left_out: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Of the archive that is sent."""
        return sum(size + ZIP_ENTRY_BYTES + 2 * len(name) for name, size in self.sizes.items())


def find_upload(folder: Path) -> Upload:
    """List what of a folder Ray would upload.

    Raises: UserError when that is nothing or too much, naming the largest files.
    """
    if not folder.is_dir():
        raise UserError(f"`--working-dir` must be a folder, but {folder} is none")
    folder = folder.resolve()
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in _kept_by_ray(folder)}
    secret = sorted(path.name for path in folder.iterdir() if any(fnmatch(path.name, p) for p in SECRET_FILES))
    upload = Upload(folder, sizes, tuple(secret))
    if not sizes:
        raise UserError(f"`--working-dir` must hold files to run, but .gitignore and .rayignore leave none of {folder}")
    if upload.n_bytes > MAX_MIB * 2**20:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
        shown = ", ".join(f"{name} ({size_text(sizes[name])})" for name in largest)
        raise UserError(
            f"an upload must be at most {MAX_MIB} MiB, but {folder} holds {size_text(upload.n_bytes)} in "
            f"{counted(len(sizes), 'file')}, the largest: {shown}; "
            f"name what the job does not need in {folder / '.rayignore'}, one pattern a line"
        )
    return upload


def _kept_by_ray(folder: Path) -> list[Path]:
    """The files of a folder that Ray packs, by its own walk, so that what is checked is what is sent."""
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    found: list[Path] = []
    excludes = [_get_excludes(folder, list(EXCLUDES))]
    _dir_travel(folder, excludes, found.append, include_gitignore=True, logger=_Silent())
    return [path for path in found if path.is_file()]


class _Silent:
    """Takes Ray's remarks on ignore files, which it makes again when it packs."""

    def info(self, *_: object) -> None: ...

    def error(self, *_: object) -> None: ...


def chosen_variables(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of these names with their values.

    Raises: UserError naming each that is not set or looks like a secret; no value is shown.
    """
    problems = []
    for name in names:
        if name not in environment:
            problems.append(f"`--env` must name variables that are set here, but {name} is not")
        elif SECRET_NAME.search(name.upper()):
            problems.append(f"`--env` must pass on no secrets, since Ray shows them, but got {name}; {ON_THE_NODES}")
        elif redact(environment[name]) != environment[name]:
            problems.append(f"`--env` must pass on no passwords, but the value of {name} holds one; {ON_THE_NODES}")
    if problems:
        raise UserError(problems)
    return {name: environment[name] for name in names}


def entrypoint(command: Sequence[str]) -> str:
    """The shell command of the job.

    Raises: UserError when a word of it holds a password: Ray shows a job's command.
    """
    problems = [
        f"a job's command must hold no password, since Ray shows it, but got {redact(word)}; give it by an "
        f"environment variable, and {ON_THE_NODES}"
        for word in command
        if redact(word) != word
    ]
    if problems:
        raise UserError(problems)
    return shlex.join(["python", "-m", "tune", *command])
