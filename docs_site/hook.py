"""What mkdocs asks while it builds: the site has the repository's layout, so links lead where they do there.

Beside docs/ it holds README.md, as the first page, and whatever these pages link to, wherever that lies.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
STYLE = ROOT / "docs_site" / "site.css"
LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The site's files, each at its path in the repository."""
    own = [Path(str(file.abs_src_path)) for file in files.documentation_pages()]
    from_theme = [file for file in files if not str(file.abs_src_path).startswith(str(ROOT))]
    paths = sorted(reached([ROOT / "README.md", STYLE, *own]))
    return Files([*from_theme, *(File.generated(config, name_of(path), abs_src_path=str(path)) for path in paths)])


def reached(pages: list[Path]) -> set[Path]:
    """The pages and every file that they, or the pages among those, link to."""
    found: set[Path] = set()
    left = list(pages)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += linked(path) if path.suffix == ".md" else []
    return found


def linked(page: Path) -> Iterator[Path]:
    """Files of the repository that a page links to."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if "://" not in target and path.is_relative_to(ROOT) and path.is_file():
            yield path


def name_of(path: Path) -> str:
    """A file's path in the repository, which is the one in the site."""
    return path.relative_to(ROOT).as_posix()
