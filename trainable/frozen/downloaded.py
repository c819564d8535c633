"""What the Hugging Face hub said of a file when it was downloaded, so that a flipped bit of it is noticed."""

import re
from contextlib import suppress
from pathlib import Path

from trainable.errors import UserError
from trainable.frozen.shards import sha256_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_downloaded(file: Path) -> None:
    """Compare a file of the hub's cache, or of `hf download --local-dir`, with its sha256 there; others are let pass.

    Raises: UserError.
    """
    wanted = _sha256_at_the_hub(file)
    if wanted is not None and (found := sha256_of(file)) != wanted:
        raise UserError(
            f"{file} must have the sha256 that it was downloaded with, {wanted}, but has {found}; delete "
            f"{file.resolve()}, then fetch it again"
        )


def remedy(file: Path) -> str:
    """What to do about a file that `check_downloaded` let pass and that cannot be used all the same."""
    if _sha256_at_the_hub(file) is not None:
        return "it is as the hub has it, so fetching it again would not help: take another model, or tell its owner"
    if file.is_symlink():  # as the hub's cache has it
        return f"delete {file.resolve()}, then fetch it again"
    return "fetch it again"


def _sha256_at_the_hub(file: Path) -> str | None:
    """The cache names large files by their sha256; beside a folder's lie records: commit, sha256 and the time.

    A file that was changed after that time is the user's own, as it is for the hub (huggingface_hub 1.1,
    `_local_folder.py:read_download_metadata`).
    """
    record = file.parent / ".cache" / "huggingface" / "download" / f"{file.name}.metadata"
    name, changed_by = file.resolve().name, float("inf")
    with suppress(OSError, ValueError):
        _, name, seconds = record.read_text("utf-8").split()
        changed_by = float(seconds) + 1
    is_known = _SHA256.fullmatch(name) and file.stat().st_mtime <= changed_by
    return name if is_known else None
