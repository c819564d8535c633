"""Words quoted for a shell, in one line that can be copied from any terminal."""

import os
import shlex
import sys
from collections.abc import Iterable

from trainable.shown import shown


def quoted(command: Iterable[object]) -> str:
    """Words as a shell takes them back: `shlex.join`, but in one line that any terminal shows as it is."""
    return " ".join(_quoted(str(word)) for word in command)


def _quoted(word: str) -> str:
    if shown(word) == word and _is_encodable(word):
        return shlex.quote(word)
    return "$'" + "".join(_in_ansi_quotes(byte) for byte in os.fsencode(word)) + "'"


def _is_encodable(word: str) -> bool:
    try:
        word.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _in_ansi_quotes(byte: int) -> str:
    """A byte within $'...', as Bash, Zsh and the shells of POSIX 2024 read it."""
    sign = chr(byte)
    if sign in "\\'":
        return f"\\{sign}"
    return sign if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
