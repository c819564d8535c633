"""docs/ and the pages beside README say nothing that is not so: commands are understood, links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs.site.reference import FOLDER, pages
from trainable.errors import UserError
from tune.cli import parse_command
from tune.command_line.parsing import Given

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *ROOT.glob("*.md")])
FILES = sorted([*(ROOT / "docs").rglob("*.yaml"), ROOT / "cluster.yaml"])
SCRIPTS = {"tune/search.py": "search", "tune/retrain.py": "retrain", "tune/evaluate.py": "evaluate"}


def lines() -> Iterator[tuple[str, str]]:
    """(page, line) of every bash block, and the commented command lines of example files."""
    for page in PAGES:
        for block in re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            yield from ((page.name, line) for line in block.replace("\\\n", " ").splitlines())
    for file in FILES:
        for line in re.findall(r"^#   (\S.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            yield file.name, line


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every command; `&&` and `;` divide."""
    for page, line in lines():
        words: list[str] = []
        for word in [*shlex.split(re.sub(r";(?=\s)", " ; ", line), comments=True), ";"]:
            if word in ("&&", ";"):
                if words:
                    yield page, words
                words = []
            else:
                words.append(word)


def ours(words: list[str]) -> list[str] | None:
    """The words behind `sentinel-tune` of a command that is ours, or sends ours somewhere; None for others."""
    if words[0] == "sentinel-tune":
        return words[1:]
    if words[:3] == ["python", "-m", "tune"]:
        return words[3:]
    if words[:2] == ["ray", "exec"]:
        return ours(shlex.split(words[3]))
    if words[:2] == ["ray", "submit"]:
        return [SCRIPTS[words[3]], *words[words.index("--") + 1 :]]
    if words[:3] == ["ray", "job", "submit"]:
        return ours(words[words.index("--") + 1 :])
    return None


OURS = [(f"{page}: {' '.join(found)}", found) for page, words in commands() if (found := ours(words)) is not None]


def understand(words: list[str]) -> None:
    _, given = parse_command(words)
    if isinstance(given, Given):
        given.options()


@pytest.mark.parametrize("words", [words for _, words in OURS], ids=[name for name, _ in OURS])
def test_the_command_line_understands(words):
    if "--help" in words:
        with pytest.raises(SystemExit):
            parse_command(words)
        return
    understand(words)


def test_commands_are_found_in_pages_and_in_the_heads_of_files():
    assert {"clusters.md", "cluster.yaml", "aws.yaml"} <= {name.partition(":")[0] for name, _ in OURS}
    with pytest.raises(UserError):
        understand(ours(shlex.split("ray submit cluster.yaml tune/search.py -- --trails 64")) or [])


def test_files_that_commands_name_are_there():
    for page, words in commands():
        for word in words:
            if re.fullmatch(r"(docs/|tune/)?[\w./-]+\.(yaml|py)", word):
                assert (ROOT / word).is_file(), (page, word)


def anchors(page: Path) -> set[str]:
    """What links may name of a page: its headings, as GitHub writes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.seconds
@pytest.mark.parametrize("name", pages())
def test_the_reference_says_what_the_code_says(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run `python -m docs.site.reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target
    for name in re.findall(r"`((?:docs|tune|trainable|tests|search_spaces)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


def test_pictures_are_small_and_shown_somewhere():
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture.stat().st_size < 200_000, picture
        assert f"images/{picture.name})" in text, picture


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_are_yaml(file):
    assert [document for document in yaml.safe_load_all(file.read_text(encoding="utf-8")) if document]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_in_pages_is_yaml(page):
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        assert yaml.safe_load(block)
