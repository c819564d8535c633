"""Text of others, such as file names, as it may be shown: in one line, and nothing in it that moves a cursor."""

import difflib
import re
import unicodedata
from collections.abc import Collection

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that are shown escaped: control and format characters, halves of pairs, separators of lines."""

_JOINERS = "\u200c\u200d"
"""Format characters that words and emoji are written with."""

_BYTES = re.compile("[\udc80-\udcff]+")  # as the system's calls give what they could not decode
_HALVES = re.compile("[\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@")


def shown(text: object, *, keep: str = "") -> str:
    r"""`text` with control characters escaped as in `\n` and `\x1b`, and bytes that are no UTF-8 as in `\xe4`.

    keep: control characters that stay, such as "\n" in a text of several lines.
    """
    whole = well_formed(str(text))
    if whole.isascii() and whole.isprintable():
        return whole
    return "".join(
        _escaped(c) if c not in keep and c not in _JOINERS and unicodedata.category(c) in _UNSEEN else c for c in whole
    )


def brief(value: object, *, longest: int = 80) -> str:
    """`repr(value)`, cut in its middle where it is longer than a line should be for it; true, false and nothing as
    users say them.
    """
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return cut(repr(value), longest=longest)


def cut(text: str, *, longest: int) -> str:
    """`text`, of which the beginning and the end are left where it is longer."""
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - end - 3]}...{text[-end:]}"


def meant(word: str, words: Collection[str]) -> str:
    """The end of a line about a word that there is not: the nearest one; empty where none is near."""
    close = nearest(word, words)
    return f"; did you mean `{close}`?" if close is not None else ""


def nearest(word: str, words: Collection[str]) -> str | None:
    """Of `words` the one that is most like `word`; None where none is like it."""
    return next(iter(difflib.get_close_matches(word, words, n=1)), None)


def size_text(n_bytes: float) -> str:
    """Such as `43.5 MiB`."""
    for unit in ("KiB", "MiB"):
        n_bytes /= 1024
        if n_bytes < 1024:
            return f"{n_bytes:.1f} {unit}"
    return f"{n_bytes / 1024:.1f} GiB"


def well_formed(text: str) -> str:
    r"""`text` as any encoding of Unicode can hold it: undecodable bytes of file names as in `\xe4`, the rest unchanged.

    What is UTF-8, but was read in a locale of another encoding, is decoded.
    """
    if text.isascii():
        return text
    return _HALVES.sub(lambda half: _escaped(half[0]), _BYTES.sub(_decoded, text))


def is_well_formed(text: str) -> bool:
    """Whether files of text, tables and safetensors can hold it as it is; not so bytes that could not be decoded."""
    return well_formed(text) == text


def spreadsheet_cell(text: object) -> str:
    """`text` as a cell of a CSV file, `shown`, and with a ' before what a spreadsheet would compute."""
    cell = shown(text)
    return f"'{cell}" if cell.lstrip().startswith(_FORMULA) else cell


def _decoded(found: re.Match[str]) -> str:
    return bytes(ord(c) - 0xDC00 for c in found[0]).decode("utf-8", errors="backslashreplace")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
