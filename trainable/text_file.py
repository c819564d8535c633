"""Text files that people write: plain files of a bounded size in UTF-8, or a line that says what they are instead."""

import codecs
import os
import stat
from pathlib import Path

from trainable.errors import UserError

LONGEST_BYTES = 256 * 2**10
"""Ten times the longest file that anybody wrote for this program; what is longer is another file, taken by mistake."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text_file(path: Path, label: str, *, longest_bytes: int = LONGEST_BYTES) -> str:
    """The text of a plain file in UTF-8, without the mark of its encoding.

    label: what messages call it.
    Raises: UserError for what is missing, closed, no plain file (folder, pipe, device), too long, or no such text.
    """
    content = _read(path, label, longest_bytes)
    if (mark := next((name for bom, name in _MARKS if content.startswith(bom)), None)) is not None:
        raise UserError(f"{label}: must be a readable text file (UTF-8), but is {mark}; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = _encoding(content, error.start)
        raise UserError(f"{label}:{line}: must be a readable text file (UTF-8), but is {found}") from None


def _read(path: Path, label: str, longest_bytes: int) -> bytes:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise UserError(f"{label}: must be a plain file, but is {_kind(found.st_mode)}")
        with path.open("rb") as file:
            content = file.read(longest_bytes + 1)
    except (OSError, ValueError) as error:  # the second is what a name with a NUL gets
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"{label}: must be a readable text file, but is not: {reason}") from None
    if len(content) > longest_bytes:
        size = f"{found.st_size} bytes" if found.st_size > longest_bytes else "more"
        raise UserError(f"{label}: must be at most {longest_bytes} bytes long, but has {size}; is it the right file?")
    return content


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _encoding(content: bytes, at: int) -> str:
    """A guess, for the user to check."""
    if content.count(0) > len(content) // 4:
        return "UTF-16 or UTF-32; save it as UTF-8"
    if 0 in content:
        return f"no text (it holds the byte 0x{content[at]:02x})"
    return f"probably Latin-1 or Windows-1252 (it holds the byte 0x{content[at]:02x}); save it as UTF-8"
