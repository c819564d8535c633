"""docs/notebook.ipynb shows what its cells do, and they still do it."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from docs.site.notebook import FILE, SHOWN_FOLDER, executed
from docs.site.notebook_page import notebook_page

MOST_BYTES = 300_000


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> set[str]:
    """What a cell showed: errors, tables, pictures, values."""
    outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return {kind for output in outputs for kind in output.get("data", {output.output_type: ""})}


def test_the_kept_notebook_was_run_from_top_to_bottom_without_an_error():
    kept = nbformat.read(FILE, as_version=4)
    nbformat.validate(kept)
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kind for cell in cells for kind in kinds(cell)]
    assert "error" not in shown
    assert {"image/png", "text/html"} <= set(shown)
    text = FILE.read_text(encoding="utf-8")
    assert SHOWN_FOLDER in text
    assert "/tmp/" not in text
    assert len(text) < MOST_BYTES


def test_its_page_in_the_site_has_code_pictures_and_what_was_printed():
    page = notebook_page(FILE)
    assert "```python\nimport tune\n" in page
    assert 'src="data:image/png;base64,' in page
    assert "Verdict:" in page


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs_and_shows_what_it_showed(tmp_path: Path):
    kept, now = nbformat.read(FILE, as_version=4), executed(tmp_path)
    for before, after in zip(code_cells(kept), code_cells(now), strict=True):
        assert kinds(after) == kinds(before), before.source
