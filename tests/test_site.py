"""The documentation as a site: every page is found, every link leads somewhere, and nothing comes from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FETCHED = re.compile(
    r"""<(?:script|img|iframe)\b[^>]*\bsrc=["']?(?:https?:)?//|<link\b[^>]*\bhref=["']?(?:https?:)?//"""
)
"""What a browser fetches by itself; links that a reader may follow are none of it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_page_of_the_repository_is_in_the_site_as_in_the_repository(site):
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    assert len(pages) > 20
    for page in pages:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").is_file(), page
    assert "data:image/png" in (site / "docs" / "notebook.html").read_text(encoding="utf-8")
    assert "What success looks like" in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "docs" / "flow.svg").read_bytes() == (ROOT / "docs" / "flow.svg").read_bytes()


@pytest.mark.slow
def test_no_page_fetches_anything_from_elsewhere(site):
    pages = [file for file in site.rglob("*") if file.suffix in (".html", ".css")]
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not FETCHED.search(text), page
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", text), page
    assert FETCHED.search('<script async src="https://elsewhere.example/a.js">')
