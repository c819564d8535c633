"""A folder written under a temporary name and moved to its place, whole or not at all."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from trainable.errors import UserError
from trainable.whole_file import sync

EXPORT = "an export"
EXPORT_NAMES = (
    r"config\.json|model\.safetensors|README\.md|confirmation\.json|training_data\.json|adapter(_\d+)?"
    r"|results\.json|evaluation"  # these an evaluation adds
)


def check_export_place(folder: Path) -> None:
    """Raises: UserError unless a model can be exported to `folder`: a new or empty one, or an export to replace."""
    _check_replaceable(Path(folder), EXPORT_NAMES, EXPORT)


def place_folder(folder: Path, write: Callable[[Path], None], *, own_names: str, what: str) -> Path:
    """Let `write` fill an empty folder beside `folder`, then move it there; on an error nothing is left behind.

    An earlier one is replaced: moved away, and deleted only after. own_names: a regular expression of all names that
    may lie in such a folder. Returns `folder`, absolute.
    Raises: UserError when `folder` exists and is neither empty nor one of ours, or holds other names too; what `write`
    raises.
    """
    folder = Path(os.path.abspath(folder))
    _check_replaceable(folder, own_names, what)
    temporary, replaced = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("partial", "replaced"))
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        if folder.exists():
            folder.rename(replaced)
        try:
            temporary.rename(folder)
        except OSError:
            if replaced.exists():
                replaced.rename(folder)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    return folder


def archive_of(folder: Path) -> Path:
    """The zip beside a submission's folder, which is what is uploaded."""
    place = folder.absolute()
    return place.with_name(f"{place.name}.zip")


def _check_replaceable(folder: Path, own_names: str, what: str) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{what} is written to a folder, but {folder} is a file; give another place")
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return
    if not _is_ours(folder):
        raise UserError(
            f"{what} is written to a new or empty folder, or over {what} of before, but {folder} holds "
            f"{', '.join(names[:5])}; give another place"
        )
    if strange := [name for name in names if not re.fullmatch(own_names, name)]:
        raise UserError(
            f"{folder} must hold nothing but {what} to be replaced, but holds {', '.join(strange[:5])} too; "
            "move that away, or give another place"
        )


def _is_ours(folder: Path) -> bool:
    from trainable.export.standalone import CONFIG, KIND, read_json  # brings torch and open_clip

    try:
        found = read_json(folder / CONFIG)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("kind") == KIND
