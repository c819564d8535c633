"""What mkdocs asks while it builds: the site has the repository's layout, so links lead where they do there.

Beside docs/ it holds README.md, as the first page, and whatever these pages link to, wherever that lies. The notebook
is a page, too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebook_page import notebook_page  # mkdocs looks for modules beside the hook

ROOT = Path(__file__).resolve().parents[2]
STYLE = ROOT / "docs" / "site" / "site.css"
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The site's files, each at its path in the repository."""
    own = [Path(str(file.abs_src_path)) for file in files.documentation_pages()]
    from_theme = [file for file in files if not str(file.abs_src_path).startswith(str(ROOT))]
    paths = sorted(reached([ROOT / "README.md", STYLE, *own]))
    page = File.generated(config, name_of(NOTEBOOK.with_suffix(".md")), content=notebook_page(NOTEBOOK))
    copied = [File.generated(config, name_of(path), abs_src_path=str(path)) for path in paths]
    return Files([*from_theme, *copied, page])


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page's text; what links to the notebook leads to its page."""
    return markdown.replace(f"{NOTEBOOK.name})", f"{NOTEBOOK.stem}.md)")


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
