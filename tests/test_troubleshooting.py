"""docs/troubleshooting.md quotes messages as the code makes them."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [block.strip() for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]
VARIES = "\0"


@cache
def messages() -> tuple[str, ...]:
    """Every text of our packages, with a mark in place of what is put into it."""
    files = (path for package in ("tune", "trainable", "search_spaces") for path in (ROOT / package).rglob("*.py"))
    return tuple(text for path in files for text in texts(ast.parse(path.read_text(encoding="utf-8"))))


def texts(tree: ast.AST) -> list[str]:
    """Those of a file; of an f-string one, beside those of its parts."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else VARIES for part in node.values)
            found.append("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def is_made(quoted: str) -> bool:
    """Whether one text of the code has all its fixed words in this order, where it says `...` anything between them."""
    pattern = re.compile(".*".join(re.escape(part) for part in quoted.split("...")), re.DOTALL)
    return any(pattern.search(text) for text in messages())


@pytest.mark.seconds
@pytest.mark.parametrize("quoted", QUOTED, ids=lambda quoted: quoted[:60])
def test_the_message_is_one_of_the_codes(quoted):
    assert "\n" not in quoted, "a message is one line"
    assert is_made(quoted)


def test_another_message_would_be_noticed():
    assert len(QUOTED) > 20
    assert not is_made("`one process at a time may write a study`, but ...; call the police")
    assert not is_made("is being written by ...; `one process at a time may write a study`")
